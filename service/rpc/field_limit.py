"""A bound on the fields of a protobuf message before it is parsed, because a field may take 50 times its bytes then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from service.limits import MAX_FIELDS

_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4, _START_GROUP: 0, _END_GROUP: 0}


Nested: TypeAlias = "Mapping[int, Nested]"
"""Numbers of fields that hold messages whose fields count too, and which of theirs do."""


def has_too_many_fields(data: bytes, nested: Nested | None = None, limit: int = MAX_FIELDS) -> bool:
    """Whether `data` has more than `limit` fields, with those of its submessages in the fields of `nested`.

    Malformed data are left to the parser, which stops where they are not valid.
    """
    position = count = 0
    inside = nested or {}
    around: list[tuple[int, Nested]] = []  # the end of each submessage that has begun, and what counts after it
    try:
        while position < len(data):
            while around and position >= around[-1][0]:
                inside = around.pop()[1]
            count += 1
            if count > limit:
                return True
            key, position = _varint(data, position)
            kind = key & 7
            if kind == _VARINT:
                _, position = _varint(data, position)
            elif kind == _BYTES:
                length, position = _varint(data, position)
                if key >> 3 in inside:
                    around.append((position + length, inside))
                    inside = inside[key >> 3]  # its fields come next
                else:
                    position += length
            else:
                position += _FIXED[kind]
    except (IndexError, KeyError, ValueError):
        pass
    return False


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer of seven bits per byte, and the position after it. Raises IndexError or ValueError without an end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("an integer has more than ten bytes")
