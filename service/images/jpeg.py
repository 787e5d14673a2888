"""JPEG files: their segments (ITU T.81, annex B), and their pixels by libjpeg-turbo.

simplejpeg is the decoder because it reports the warnings of libjpeg-turbo, with which damaged data are decoded to some
image all the same (docs/decisions/0029).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
import simplejpeg

from service.errors import ErrorKind, ServiceError
from service.images.header import Colors, Header, Source, damaged, unsupported
from service.images.ifd import directories, exif_orientation
from service.images.pixels import Pixels
from service.search import search

MAX_SCANS: Final = 100
"""A progressive file has about ten. Every scan costs a pass over the whole image, even one of a few bytes."""
_USUAL_SCANS: Final = 20
"""That are read of an image of any size."""
_SCANNED: Final = 2 * 10**9
"""Pixels of all scans together, beyond that."""
_MAX_SEGMENTS: Final = 10_000

# a marker that is not a stuffed byte, a restart or padding
_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SOI, _EOI, _SOS, _TEM, _COM = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APPLICATION: Final = range(0xE0, 0xF0)
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_JFIF: Final = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"

_LOSSLESS: Final = 3
_PROCESSES: Final = (0, 1, 2, _LOSSLESS, 9, 10)
"""Sequential, progressive and lossless Huffman coding; sequential and progressive arithmetic coding."""

_PROGRESSIVE: Final = (2, 10)

_COLORS: Final[Mapping[int, Colors]] = {1: "grey", 3: "rgb", 4: "cmyk"}
"""By the number of components."""

_SURPLUS: Final = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_MAX_SURPLUS: Final = 16
"""Bytes between the coded data and the end marker that some cameras write. Damaged data leave hundreds."""
_HARMLESS: Final = re.compile("Invalid SOS parameters|Inconsistent progression|Unknown Adobe")
"""Warnings about how a file is written. Browsers ignore them as well."""


class _Segment(NamedTuple):
    marker: int
    start: int
    """Offset of the marker."""
    payload: int
    """Offset behind the length."""
    end: int


class _Frame(NamedTuple):
    process: int
    """The marker's low digit: 0 and 1 for sequential, 2 for progressive, 3 for lossless coding, ..."""
    precision: int
    height: int
    width: int
    components: int


@dataclass
class _File:
    """What a walk over the segments finds."""

    frame: _Frame | None = None
    scans: int = 0
    exif: bytes = b""
    profile_parts: dict[int, bytes] = field(default_factory=dict)
    profile_count: int = 0
    multi_picture: int | None = None
    """Offset of the block of the multi-picture format."""
    essential: list[bytes] = field(default_factory=list)
    """The parts of the file that decide about the pixels."""
    is_complete: bool = False


def read_jpeg(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    file = _walk(data)
    if file.frame is None or not file.scans or not file.is_complete:
        raise damaged("JPEG")
    frame = file.frame
    if frame.process not in _PROCESSES:
        raise unsupported("JPEG", "hierarchical or lossless arithmetic coding")
    if frame.precision != 8:
        raise unsupported("JPEG", f"{frame.precision} bits per channel")
    if frame.components not in _COLORS:
        raise unsupported("JPEG", f"{frame.components} channels")
    if not frame.height:
        raise unsupported("JPEG", "its height behind the pixels")
    most = min(MAX_SCANS, max(_USUAL_SCANS, _SCANNED // max(1, frame.width * frame.height)))
    if file.scans > most:
        raise ServiceError(
            ErrorKind.UNSUPPORTED_IMAGE,
            f"the JPEG file has {file.scans} scans, at most {most} are read; save it as a baseline JPEG file",
        )
    header = Header(
        "JPEG",
        frame.width,
        frame.height,
        _COLORS[frame.components],
        exif_orientation(file.exif),
        _profile(file),
        file.multi_picture is not None and _has_several_images(data, file.multi_picture, frame),
    )
    return Source(
        header, lambda: _decode(b"".join(file.essential), header.colors, frame.process), _bytes_per_pixel(file, frame)
    )


def _bytes_per_pixel(file: _File, frame: _Frame) -> int:
    """The pixels as stored, then as RGB; of files of several scans libjpeg-turbo keeps the coefficients, of 16 bits."""
    has_coefficients = file.scans > 1 or frame.process in _PROGRESSIVE
    stored = 4 if frame.components == 4 else 3
    return 1 + stored + max(2 * frame.components if has_coefficients else 0, 3 if stored == 4 else 0)


def _segments(data: bytes, position: int = 2) -> Iterator[_Segment]:
    """The segments up to the end-of-image marker. Bytes between them are skipped, as decoders do.

    A plain search for markers could find those of an embedded thumbnail.
    """
    for _ in range(_MAX_SEGMENTS):
        match = search(_MARKER, data, position)
        if match is None:
            return
        marker, position = match[1][0], match.end()
        if marker in (_SOI, _EOI, _TEM):  # these have no length
            yield _Segment(marker, match.start(), position, position)
            if marker == _EOI:
                return
            continue
        payload = position + 2
        position = max(payload, position + int.from_bytes(data[position:payload], "big"))
        yield _Segment(marker, match.start(), payload, position)
    raise unsupported("JPEG", f"more than {_MAX_SEGMENTS} segments")


def _walk(data: bytes) -> _File:
    file = _File(essential=[data[:2]])
    first_scan = 0
    for segment in _segments(data):
        if segment.marker == _EOI:
            file.is_complete = True
            file.essential.append(data[first_scan : segment.end])
        elif segment.marker == _SOS:
            first_scan = first_scan or segment.start
            file.scans += 1
        elif first_scan:
            continue  # tables between scans are part of the coded data
        elif segment.marker in _APPLICATION:
            _read_application(file, data, segment)
        elif segment.marker != _COM:
            if segment.marker in _FRAMES and file.frame is None:
                file.frame = _frame(data, segment)
            file.essential.append(data[segment.start : segment.end])
    return file


def _frame(data: bytes, segment: _Segment) -> _Frame:
    head = data[segment.payload : segment.payload + 6]
    if len(head) < 6:
        raise damaged("JPEG")
    return _Frame(
        segment.marker & 0x0F,
        head[0],
        int.from_bytes(head[1:3], "big"),
        int.from_bytes(head[3:5], "big"),
        head[5],
    )


def _read_application(file: _File, data: bytes, segment: _Segment) -> None:
    """Takes from an APPn segment what is of use.

    The decoder gets those alone that say how colours are coded. A malformed one of another kind, which browsers ignore,
    would be a warning or an error.
    """
    content = data[segment.payload : segment.end]
    if segment.marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        file.essential.append(_JFIF)
    elif segment.marker == _APP1 and content.startswith(b"Exif\0") and not file.exif:
        file.exif = content
    elif segment.marker == _APP2 and content.startswith(b"ICC_PROFILE\0") and len(content) >= 14:
        file.profile_parts[content[12]] = content[14:]
        file.profile_count = content[13]
    elif segment.marker == _APP2 and content.startswith(b"MPF\0"):
        file.multi_picture = segment.payload + 4
    elif segment.marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
        file.essential.append(data[segment.start : segment.end])


def _profile(file: _File) -> bytes | None:
    if not file.profile_parts:
        return None
    if sorted(file.profile_parts) != list(range(1, file.profile_count + 1)):
        return b""
    return b"".join(file.profile_parts[part] for part in sorted(file.profile_parts))


_IMAGES: Final = 0xB002
"""The tag of MPF that lists the images: an attribute, a size, an offset and eight bytes more for each (CIPA DC-007)."""
_MULTI_FRAME: Final = 0x02
"""The type of panoramas, stereo pairs and the like, above two bytes of details. 0 is an undefined type."""


def _has_several_images(data: bytes, start: int, frame: _Frame) -> bool:
    """Whether the multi-picture block lists another image to be looked at.

    Gain maps and depth maps are of an undefined type. They are told from images by their smaller size.
    """
    first = next(directories(data[start : start + 65_536]), None)
    if first is None:
        return False
    order: Literal["little", "big"] = "little" if first.order == "<" else "big"
    images = first.data(_IMAGES)
    for position in range(16, min(len(images), 1600), 16):
        kind = int.from_bytes(images[position : position + 4], order) & 0xFFFFFF
        offset = start + int.from_bytes(images[position + 8 : position + 12], order)
        if kind >> 16 == _MULTI_FRAME or (kind == 0 and _size(data, offset) == (frame.width, frame.height)):
            return True
    return False


def _size(data: bytes, offset: int) -> tuple[int, int] | None:
    """Width and height of the JPEG file that begins at `offset` of the data."""
    for segment in _segments(data, offset + 2):
        if segment.marker in _FRAMES:
            frame = _frame(data, segment)
            return frame.width, frame.height
        if segment.marker in (_SOS, _EOI):
            break
    return None


def _decode(data: bytes, colors: Colors, process: int) -> Pixels:
    if colors == "cmyk":
        inks = _decode_to(data, "CMYK")
        return np.invert(inks, out=inks)  # Adobe's programs, which all others follow, store 255 for no ink
    if colors == "grey" and process == _LOSSLESS:  # libjpeg-turbo converts no colours of lossless files
        return np.repeat(_decode_to(data, "GRAY"), 3, axis=2)
    return _decode_to(data, "RGB")


def _decode_to(data: bytes, space: str) -> Pixels:
    """The pixels in this colour space of simplejpeg. A warning about the coded data is an error."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space), np.uint8)
    except ValueError as error:
        message = str(error)
        if message.startswith("Unsupported"):
            raise unsupported("JPEG", "a rare kind of coding") from error
        surplus = _SURPLUS.match(message)
        if not _HARMLESS.match(message) and (surplus is None or int(surplus[1]) > _MAX_SURPLUS):
            raise damaged("JPEG") from error
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space, strict=False), np.uint8)
    except ValueError as error:
        raise damaged("JPEG") from error
