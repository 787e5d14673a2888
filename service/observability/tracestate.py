"""The header `tracestate` of W3C Trace Context, which is passed on to Triton only as far as the standard allows."""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 512
"""What every participant of a trace must pass on; this service passes on no more."""
_MAX_MEMBERS: Final = 32
_NAME: Final = r"[a-z0-9_*/-]"
_MEMBER: Final = re.compile(
    rf"([a-z]{_NAME}{{0,255}}|[a-z0-9]{_NAME}{{0,240}}@[a-z]{_NAME}{{0,13}})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def valid_tracestate(text: str) -> str:
    """The list of members, without the white space between them; empty where the standard has it dropped."""
    members = [member for part in text.split(",", _MAX_MEMBERS * 2) if (member := part.strip(" \t"))]
    clean = ",".join(members)
    names = {member.partition("=")[0] for member in members}
    few = len(names) == len(members) <= _MAX_MEMBERS and len(clean) <= MAX_LENGTH
    return clean if few and all(map(_MEMBER.fullmatch, members)) else ""
