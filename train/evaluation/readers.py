"""A network and the decoders that read its maps: crops in, points out; every map is computed once for all of them.

The decoders are those that are served (`landmarks.decoders`), so an error measured here is the error that is served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, Decoded, NetworkOutput, decode_output
from landmarks.flip import average, average_maps, with_mirrored
from landmarks.layout import PointLayout

Crops = NDArray[np.uint8]

HeatmapNetwork = Callable[[Crops], NetworkOutput]
"""RGB crops uint8 [N, H, W, 3] -> log-activations float32 [N, P, rows, columns] (see `train.objectives`), and
visibility where the network states it."""

DecoderName = int | str
"""A name of `landmarks.decoders.DECODERS`; or a number k, for decoder "topk" with that k."""

Flip = Literal["points", "maps"]
"""What is averaged over a crop and its mirror image: decoded points, as the service does it and the code released with
the paper, or activations before they are decoded, as HRNet's code does. (The paper's section 5.3 says "predictions".)
"""

CropDecoder = Callable[[Crops], dict[DecoderName, Decoded]]
"""RGB crops uint8 [N, H, W, 3] -> what each decoder makes of them, in crop pixels."""


def make_decoder(
    network: HeatmapNetwork, codec: CodecSpec, decoders: Sequence[DecoderName], correction: float = 0.0
) -> CropDecoder:
    """Decodes a network's maps by every decoder; points move by `correction` cells (`train.objectives.correction`).

    Raises CodecError for an unknown decoder, or a k that the codec cannot have.
    """
    choices = {each: codec.choose_decoder(*_name_and_k(each)) for each in decoders}

    def decode_crops(crops: Crops) -> dict[DecoderName, Decoded]:
        output = network(crops)
        return {each: moved(_decode(output, codec, each), codec.stride * correction) for each in choices}

    return decode_crops


def make_flip_averaging_decoder(
    network: HeatmapNetwork,
    codec: CodecSpec,
    decoders: Sequence[DecoderName],
    layout: PointLayout,
    correction: float = 0.0,
    flip: Flip = "points",
) -> CropDecoder:
    """As `make_decoder`, averaged with the mirrored crops: see `Flip`."""
    if flip == "maps":
        return make_decoder(_averaged(network, codec, layout), codec, decoders, correction)
    decode_crops = make_decoder(network, codec, decoders, correction)

    def decode_both(crops: Crops) -> dict[DecoderName, Decoded]:
        both = decode_crops(with_mirrored(crops))
        return {each: average(decoded, codec.input_size.width, layout) for each, decoded in both.items()}

    return decode_both


def _averaged(network: HeatmapNetwork, codec: CodecSpec, layout: PointLayout) -> HeatmapNetwork:
    """The network with its maps averaged over each crop and its mirror image."""

    def run(crops: Crops) -> NetworkOutput:
        both = network(with_mirrored(crops))
        return NetworkOutput(average_maps(both.heatmaps, codec, layout), both.visibility[: len(crops)])

    return run


def moved(decoded: Decoded, pixels: float) -> Decoded:
    """Points moved right and down; bit-identical when moved by 0."""
    return decoded._replace(points=decoded.points + np.float32(pixels)) if pixels else decoded


def label(decoder: DecoderName) -> str:
    """The decoder in a table: "top9", "argmax"."""
    return f"top{decoder}" if isinstance(decoder, int) else decoder


def _decode(output: NetworkOutput, codec: CodecSpec, decoder: DecoderName) -> Decoded:
    name, k = _name_and_k(decoder)
    return decode_output(output, codec, k, name)


def _name_and_k(decoder: DecoderName) -> tuple[str, int | None]:
    return ("topk", decoder) if isinstance(decoder, int) else (decoder, None)
