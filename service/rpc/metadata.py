"""What a gRPC call carries beside its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.gateway import request_id
from service.rpc.errors import REQUEST_ID_KEY


def text_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """The values that are text, by key; the first one of a key that is given twice."""
    values: dict[str, str] = {}
    for name, value in metadata or ():
        if isinstance(value, str):
            values.setdefault(name, value)
    return values


def call_request_id(context: Any) -> str:
    """The client's own request id where it is valid, otherwise a new one."""
    return request_id(text_metadata(context.invocation_metadata()).get(REQUEST_ID_KEY))
