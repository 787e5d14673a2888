"""WebP files: their chunks (RFC 9649), and their pixels by OpenCV."""

from __future__ import annotations

from service.images.header import Header, Source, damaged
from service.images.ifd import exif_orientation
from service.images.opencv import decode_by_opencv

_MAX_CHUNKS = 100_000


def read_webp(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE."""
    size, profile, orientation, frames = None, None, 1, 0
    position = 12
    for _ in range(_MAX_CHUNKS):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        start, position = position + 8, position + 8 + length + length % 2
        if len(kind) < 4:
            break
        if kind in (b"VP8X", b"VP8 ", b"VP8L") and size is None:
            size = _size(kind, data[start : start + 10])
        elif kind == b"ICCP":
            profile = data[start : start + length]
        elif kind == b"EXIF":
            orientation = exif_orientation(data[start : start + length])
        elif kind == b"ANMF":
            frames += 1
    if size is None or 0 in size:
        raise damaged("WebP")
    header = Header("WebP", *size, "rgb", orientation, profile, frames > 1)
    return Source(header, lambda: decode_by_opencv("WebP", data), bytes_per_pixel=16 if frames else 8)


def _size(kind: bytes, head: bytes) -> tuple[int, int]:
    """Width and height in the first 10 bytes of a chunk that has them."""
    if len(head) < 10:
        raise damaged("WebP")
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    bits = int.from_bytes(head[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
