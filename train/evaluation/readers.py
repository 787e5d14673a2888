"""A network and the ways its maps are read: crops in, points out; every map is computed once.

A way of reading is a number k, for the decoder that is served (`landmarks.codec.decode`) averaging k cells, or the
name of another decoder (`train.objectives.decoder`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, Decoded, decode
from landmarks.flip import average, with_mirrored
from landmarks.layout import PointLayout
from train.objectives import Maps, decode_points, decoder

Crops = NDArray[np.uint8]

Network = Callable[[Crops], Maps]
"""Crops uint8 [N, S, S, 3] -> log-activations [N, P, cells, cells]."""

Reading = int | str
"""k of the served decoder, or another decoder's name: "argmax", "quarter", "3x3", "all", "topK"."""

Reader = Callable[[Crops], dict[Reading, Decoded]]
"""Crops uint8 [N, S, S, 3] -> what each reading makes of them, in crop pixels."""


def reader(network: Network, codec: CodecSpec, readings: Sequence[Reading], correction: float = 0.0) -> Reader:
    """Reads a network's maps, each point moved by `correction` cells (see `train.objectives.correction`).

    Scores and covariances of a named decoder are those of the codec's own k, as only the served decoder has any.
    Raises CodecError for an unknown decoder, or a k that the codec cannot have.
    """
    named = {name: decoder(name) for name in readings if isinstance(name, str)}
    ks = [codec.check_topk(k) for k in readings if isinstance(k, int)]

    def read(crops: Crops) -> dict[Reading, Decoded]:
        maps = network(crops)
        by_k = {k: decode(maps, codec, k) for k in {*ks, *([codec.topk] if named else [])}}
        found: dict[Reading, Decoded] = {k: moved(by_k[k], codec.stride * correction) for k in ks}
        for name, by_name in named.items():
            points = decode_points(maps, codec, by_name, correction).astype(np.float32)
            found[name] = by_k[codec.topk]._replace(points=points)
        return found

    return read


def moved(decoded: Decoded, pixels: float) -> Decoded:
    """Points moved right and down; to the last bit the same when by nothing."""
    return decoded._replace(points=decoded.points + np.float32(pixels)) if pixels else decoded


def flip_averaging_reader(
    network: Network, codec: CodecSpec, readings: Sequence[Reading], layout: PointLayout, correction: float = 0.0
) -> Reader:
    """A reader that averages with the mirrored crop as the service does."""
    read = reader(network, codec, readings, correction)

    def read_both(crops: Crops) -> dict[Reading, Decoded]:
        return {way: average(both, codec.input_size, layout) for way, both in read(with_mirrored(crops)).items()}

    return read_both
