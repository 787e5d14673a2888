"""The pixels of PNG and WebP files by OpenCV, which is faster than Pillow and stricter about PNG's checksums."""

from __future__ import annotations

import cv2
import numpy as np

from service.images.header import damaged
from service.images.pixels import Pixels


def decode_by_opencv(name: str, data: bytes) -> Pixels:
    """The RGB pixels as stored, of 8 bits. Raises ServiceError of kind DAMAGED_IMAGE."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise damaged(name) from error
    if pixels is None:
        raise damaged(name)
    return np.asarray(pixels, np.uint8)
