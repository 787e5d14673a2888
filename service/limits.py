"""What bounds settings and requests, shared by other modules. It imports nothing, so that settings load fast."""

from __future__ import annotations

from typing import Final

MAX_ITEMS: Final = 4096
"""Boxes of one image, or images of one batch, that the settings may allow at most."""

MAX_FIELDS: Final = 16 * MAX_ITEMS
"""Fields of a protobuf message, with those of a batch's images, or values of JSON: several times what the most boxes or
images need. They are counted before they are parsed, because each may take 50 times its bytes then."""

DEFAULT_MIN_SCORE: Final = 0.25
"""Least score of a detected face that is answered. docs/model-card.md has the scores of faces and of other boxes."""

IMAGE_FORMATS: Final = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")
"""The formats of image files that are read, as messages name them. `service.images.formats` reads them."""
IMAGE_FORMATS_TEXT: Final = f"{', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]}"
