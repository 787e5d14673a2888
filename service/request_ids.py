"""Ids of requests, by which a client, the log and a trace refer to the same one."""

from __future__ import annotations

import re
import uuid
from typing import Final

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_or_new(given: str | None) -> str:
    """The client's own id if it is 1 to 128 characters of letters, digits and ._:/+=@-, else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def image_ids(request_id: str, count: int) -> list[str]:
    """The ids of a batch's images."""
    return [f"{request_id}/{number}" for number in range(count)]
