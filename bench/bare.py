"""From the bytes of an image to the points of one face, in one thread of this process, without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.services import Box, Request
from landmarks.codec import CodecSpec, NetworkOutput, decode_output
from landmarks.crop import Crop, transform_points, warp
from landmarks.runtime import Network
from service.images.decode import decode_srgb
from service.images.limits import ImageLimits

Find = Callable[[NDArray[np.uint8], Box], NDArray[Any]]
"""An RGB image [H, W, 3] and the box of a face in it -> its points [P, 2] in pixels of the image."""

_LIMITS: Final = ImageLimits(1 << 30, 1 << 30)


def finder(network: Callable[[NDArray[np.uint8]], NetworkOutput], codec: CodecSpec, crop_scale: float) -> Find:
    """Crops, runs a network of heatmaps and decodes these."""

    def find(image: NDArray[np.uint8], box: Box) -> NDArray[Any]:
        crop = Crop.around(box, crop_scale, codec.input_size)
        pixels = warp(image, crop.image_to_crop(), crop.size)
        decoded = decode_output(network(pixels[None]), codec)
        return transform_points(crop.crop_to_image(), decoded.points[0])

    return find


def shipped_finder(network: Network) -> Find:
    """That of an exported network, by the functions that the service runs."""
    return finder(network, network.metadata.codec, network.metadata.crop_scale)


def bare_request(find: Find, jpeg: bytes, box: Box) -> Request:
    """Decodes the image and finds the points, as a request to the service does."""

    def request() -> None:
        points = find(decode_srgb(jpeg, _LIMITS), box)
        assert np.isfinite(points).all()

    return request
