"""What the tests of the image readers share."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images.decode import decode_srgb
from service.images.limits import ImageLimits
from tests.fakes import gradient_image

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6)
RGB = PillowImage.fromarray(gradient_image(64, 48))


def failure(data: bytes, limits: ImageLimits = LIMITS) -> ErrorKind:
    """The kind of the error with which the file is refused."""
    with pytest.raises(ServiceError) as caught:
        decode_srgb(data, limits)
    return caught.value.kind


def saved(image: PillowImage.Image, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = PillowImage.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def xmp(orientation: int) -> bytes:
    """A packet with the orientation, which browsers do not read."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % orientation
    )


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def rgb(image: PillowImage.Image) -> np.ndarray:
    return np.array(image.convert("RGB"))
