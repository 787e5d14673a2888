"""Decoded images, kept in memory between epochs."""

from __future__ import annotations

from typing import Final

from train.datasets.image import ImageSource, RgbImage, read_image

CACHE_BYTES: Final = 6 << 30
"""Bytes of decoded images that the worker processes of one training keep, all together."""


class ImageCache:
    """Images as RGB uint8 [H, W, 3], kept decoded until `limit` bytes are used; later ones are read every time.

    Each of `workers` processes has a cache of its own, with an equal share of the limit.
    """

    def __init__(self, limit: int = CACHE_BYTES, workers: int = 0) -> None:
        self._limit = limit // max(1, workers)
        self._used = 0
        self._images: dict[ImageSource, RgbImage] = {}

    def load(self, source: ImageSource) -> RgbImage:
        """RGB uint8 [H, W, 3]; callers must not change it. Raises DataError when the image cannot be read."""
        if source in self._images:
            return self._images[source]
        image = read_image(source)
        if self._used + image.nbytes <= self._limit:
            self._images[source] = image
            self._used += image.nbytes
        return image
