"""The formats of image files that are read. Another one is a row of `FORMATS` and a name in `limits.IMAGE_FORMATS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from service.errors import ErrorKind, ServiceError
from service.images.bmp import read_bmp
from service.images.gif import read_gif
from service.images.header import Source
from service.images.heif import read_avif, read_heic
from service.images.jpeg import read_jpeg
from service.images.png import read_png
from service.images.tiff import read_tiff
from service.images.webp import read_webp
from service.limits import IMAGE_FORMATS_TEXT


class Format(NamedTuple):
    """How files of one format are recognised, and what reads their header."""

    signature: re.Pattern[bytes]
    """Matches the first bytes of every file of the format."""
    read: Callable[[bytes], Source]
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""


FORMATS: Final[Mapping[str, Format]] = {
    "JPEG": Format(re.compile(rb"\xff\xd8\xff"), read_jpeg),
    "PNG": Format(re.compile(rb"\x89PNG\r\n\x1a\n"), read_png),
    "WebP": Format(re.compile(rb"RIFF....WEBP", re.DOTALL), read_webp),
    "GIF": Format(re.compile(rb"GIF8[79]a"), read_gif),
    "BMP": Format(re.compile(rb"BM"), read_bmp),
    "TIFF": Format(re.compile(rb"II[*+]\x00|MM\x00[*+]"), read_tiff),
    # a file type box with the brand of AVIF; or with the brand of any such file, and that of AVIF among the compatible
    "AVIF": Format(
        re.compile(rb"....ftyp(?:avi[fs]|m[is]f1....(?:....){0,16}avi[fs])", re.DOTALL),
        read_avif,
    ),
    "HEIC": Format(
        re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|m[is]f1)", re.DOTALL),
        read_heic,
    ),
}


SIGNATURE_BYTES: Final = 96
"""The first bytes of a file among which every signature is found."""


def has_signature(head: bytes) -> bool:
    """Whether a file that begins with these bytes, SIGNATURE_BYTES of them, is of one of the formats."""
    return any(form.signature.match(head) for form in FORMATS.values())


def open_image(data: bytes) -> Source:
    """Reads an image file's header. Raises ServiceError of kind NOT_AN_IMAGE, DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    for form in FORMATS.values():
        if form.signature.match(data):
            return form.read(data)
    problem = "these bytes are not an image that is read here" if data else "the file is empty"
    raise ServiceError(ErrorKind.NOT_AN_IMAGE, f"{problem}; send a {IMAGE_FORMATS_TEXT} file")
