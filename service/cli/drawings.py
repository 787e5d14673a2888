"""The images that `landmarks detect --overlay` writes: how they are told from those that it is to read."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final, Literal

import cv2

from service.cli.answering import ImageError
from service.images.pixels import Pixels

MARK: Final = b"landmarks detect --overlay"
"""Among the first SIGNATURE_BYTES of every PNG and JPEG file that is drawn: as the text `Software` or the comment."""
_PNG_HEADER: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_HEADER_END: Final = 33
_JPEG_HEADER: Final = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
_JPEG_HEADER_END: Final = 20


def marked(file: bytes) -> bytes:
    """A PNG or JPEG file with MARK after its header; a file of another format as it is."""
    if file.startswith(_PNG_HEADER):
        chunk = b"tEXtSoftware\0" + MARK
        size, checksum = len(chunk) - len(b"tEXt"), zlib.crc32(chunk)
        mark, end = size.to_bytes(4, "big") + chunk + checksum.to_bytes(4, "big"), _PNG_HEADER_END
    elif file.startswith(_JPEG_HEADER):
        mark, end = b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK, _JPEG_HEADER_END
    else:
        return file
    return file[:end] + mark + file[end:]


def write_image(image: Pixels, path: Path, mode: Literal["wb", "xb"]) -> None:
    """Writes it in the format of the path's suffix. Raises ImageError.

    OpenCV encodes it, and does not write the file: a name that is not UTF-8 crashes `cv2.imwrite`.
    """
    try:
        if not path.suffix.isascii():
            raise ValueError
        _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        with path.open(mode) as file:
            file.write(marked(encoded.tobytes()))
    except (cv2.error, ValueError) as error:  # the name ends like no image format, or the image is too large for it
        raise ImageError("unwritable", f"cannot write {path}: is it named .png or .jpg?") from error
    except OSError as error:
        raise ImageError("unwritable", f"cannot write {path}: {error.strerror}") from error
