"""PNG files: their chunks (W3C PNG, third edition, section 5), and their pixels by OpenCV."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from service.images.header import Header, Source, damaged, unsupported
from service.images.ifd import exif_orientation
from service.images.opencv import decode_by_opencv

MAX_PROFILE_BYTES: Final = 4 * 2**20
"""Bytes of an ICC profile once inflated. Those of printers, the largest, have about 2 MiB."""
_MAX_CHUNKS: Final = 100_000

_GREY: Final = (0, 4)
"""The colour types of grey, without and with alpha."""
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"


def read_png(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE.

    The decoder gets the critical chunks alone, with their checksums checked. Ancillary ones may be malformed, large or
    unknown, as in browsers; of transparency nothing is used.
    """
    essential: list[memoryview] = []
    profile, orientation, several = None, 1, False
    width = height = color_type = 0
    has_pixels = False
    for kind, chunk in _chunks(data):
        content = chunk[8:-4]
        if not essential and kind != b"IHDR":
            raise unsupported("PNG", "Apple's own coding") if kind == b"CgBI" else damaged("PNG")
        if kind[0:1].isupper():
            if kind not in (b"IHDR", b"PLTE", b"IDAT") or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise damaged("PNG")
            essential.append(chunk)
        if kind == b"IHDR" and len(content) == 13:
            width, height, _, color_type = struct.unpack_from(">IIBB", content)
        elif kind == b"IDAT":
            has_pixels = True
        elif has_pixels:
            continue
        elif kind == b"iCCP":
            profile = _inflate_profile(bytes(content))
        elif kind == b"eXIf":
            orientation = exif_orientation(bytes(content))
        elif kind == b"acTL":
            several = int.from_bytes(content[:4], "big") > 1
    if not has_pixels or not width or not height:
        raise damaged("PNG")
    is_grey = color_type in _GREY
    header = Header("PNG", width, height, "grey" if is_grey else "rgb", orientation, profile, several)
    return Source(
        header,
        lambda: decode_by_opencv("PNG", b"".join([data[:8], *essential, _END]), is_grey=is_grey),
        bytes_per_pixel=7,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes of every chunk before the end chunk, or before what is cut off."""
    view, position = memoryview(data), 8
    for _ in range(_MAX_CHUNKS):
        kind = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND" or len(kind) < 4:
            return
        if end > len(data):
            raise damaged("PNG")
        yield kind, view[position:end]
        position = end
    raise unsupported("PNG", f"more than {_MAX_CHUNKS} chunks")


def _inflate_profile(content: bytes) -> bytes:
    """The profile of an iCCP chunk: a name, a zero, the method, deflated data. Empty when it cannot be read."""
    deflated = content.partition(b"\0")[2]
    if deflated[:1] != b"\0":
        return b""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(deflated[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""
