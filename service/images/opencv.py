"""The pixels of PNG and WebP files by OpenCV, which is faster than Pillow and stricter about PNG's checksums."""

from __future__ import annotations

import cv2
import numpy as np

from service.images.header import damaged
from service.images.pixels import Pixels


def silence_opencv() -> None:
    """OpenCV writes nothing to standard error about damaged images, which are reported to the client."""
    # the first is that of OpenCV 4.11, the second that of 4.12 and later
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # type: ignore[attr-defined]
    set_log_level(0)


def decode_by_opencv(name: str, data: bytes, *, is_grey: bool = False) -> Pixels:
    """The RGB pixels as stored, of 8 bits. Raises ServiceError of kind DAMAGED_IMAGE.

    OpenCV needs twice the memory of its result. A grey file is therefore decoded to one channel.
    """
    flags = (cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR_RGB) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise damaged(name) from error
    if pixels is None:
        raise damaged(name)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if is_grey else pixels, np.uint8)
