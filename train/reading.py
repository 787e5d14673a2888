"""A network and the ways its maps are read: crops in, points out; every map is computed once.

A way of reading is a number k, for the decoder that is served (`landmarks.codec.decode`) averaging k cells, or the
name of another decoder (`train.codecs.decoder`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.layout import FLIP
from train.codecs import Maps, decode_points, decoder

Crops = NDArray[np.uint8]

Network = Callable[[Crops], Maps]
"""Crops uint8 [N, S, S, 3] -> log-activations [N, P, cells, cells]."""

Reading = int | str
"""k of the served decoder, or another decoder's name: "argmax", "quarter", "3x3", "all", "topK"."""

Reader = Callable[[Crops], dict[Reading, Decoded]]
"""Crops uint8 [N, S, S, 3] -> what each reading makes of them, in crop pixels."""


def reader(network: Network, codec: CodecSpec, readings: Sequence[Reading], correction: float = 0.0) -> Reader:
    """Reads a network's maps, each point moved by `correction` cells (see `train.codecs.correction`).

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


# ---------------------------------------------------------------- flip-averaged testing


def flip_averaging_reader(
    network: Network, codec: CodecSpec, readings: Sequence[Reading], pairs: Sequence[int], correction: float = 0.0
) -> Reader:
    """A reader that averages with the mirrored crop, `pairs` being the layout's flip: twice the cost.

    It averages maps where mirrored crops have mirrored maps, which takes pixel rule "center" and a quantizer that
    treats both sides alike; elsewhere it averages points.
    """
    if codec.pixel_rule == "center" and not correction:
        return reader(flip_averaged(network, codec, pairs), codec, readings)
    plain = reader(network, codec, readings, correction)

    def read(crops: Crops) -> dict[Reading, Decoded]:
        straight, mirrored = plain(crops), plain(np.ascontiguousarray(crops[:, :, ::-1]))
        return {way: flip_averaged_points(straight[way], mirrored[way], codec, pairs) for way in readings}

    return read


def flip_averaged(network: Network, spec: CodecSpec, pairs: Sequence[int] = FLIP) -> Network:
    """A network that averages its maps with those of the mirrored crop, mirrored back. It costs twice as much.

    Only under pixel rule "center" do mirrored crops have mirrored maps; CodecError otherwise (`flip_averaged_points`
    serves both rules).
    """
    if spec.pixel_rule != "center":
        raise CodecError('averaging the maps of a mirrored crop needs pixel_rule "center": average the points instead')

    def averaged(crops: Crops) -> Maps:
        mirrored = network(np.ascontiguousarray(crops[:, :, ::-1]))
        return (network(crops) + mirrored[:, list(pairs), :, ::-1]) / np.float32(2)

    return averaged


def flip_averaged_points(decoded: Decoded, mirrored: Decoded, spec: CodecSpec, pairs: Sequence[int] = FLIP) -> Decoded:
    """What was read from crops and what was read from the same crops mirrored -> their mean.

    A covariance is that of the two answers' mixture: the mean of both, and what the points' disagreement adds. It
    serves both pixel rules, and networks whose decoding needs a correction.
    """
    points, scores, covariances = (values[:, list(pairs)] for values in mirrored)
    sign = np.array([-1, 1], np.float32)
    back = np.array([spec.input_size - 1, 0], np.float32) + sign * points
    apart = (decoded.points - back) / 2
    mean = (decoded.covariances + sign[:, None] * sign * covariances) / 2
    mixture = mean + apart[..., :, None] * apart[..., None, :]
    return Decoded((decoded.points + back) / 2, (decoded.scores + scores) / 2, mixture)
