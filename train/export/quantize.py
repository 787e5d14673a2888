"""An exported network -> the same in 8-bit integers, beside it in its repository; what that costs and gains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.metadata import ModelMetadata
from landmarks.repository import model_path
from train.errors import TrainingError

if TYPE_CHECKING:
    import onnx

    from landmarks.runtime import Network
    from train.datasets.source import DataSource

SUFFIX: Final = "-int8"
"""What the name of a quantized model ends in."""
SPARED: Final = "/tilt/"
"""Beginning of the names of the operations that stay in float32: those of `train.backbones.refinement`."""
ROUNDS: Final = 100
"""Crops that each network is timed on, in turn."""

Crops = NDArray[np.uint8]


def quantize(repository: Path, source: DataSource, samples: int) -> dict[str, Any]:
    """Adds to a repository its network in 8 bits, in place of one it may have; returns how the two compare.

    The ranges of activations are taken from `samples` training faces, evenly chosen; of `source`'s test split the
    errors are reported, by the runtime that serves. Raises TrainingError when NNCF is not installed, or when the
    network is quantized already.
    """
    from landmarks.repository import add_int8, remove_int8
    from landmarks.runtime import Network
    from train.export.onnx_file import install, save_stamped

    plain = Network(model_path(repository))
    if plain.metadata.name.endswith(SUFFIX):
        raise TrainingError(f"{repository} holds {plain.metadata.name}, which is quantized already")
    crops = training_crops(plain.metadata, source, samples)
    quantized = quantized_model(model_path(repository), crops)
    metadata = with_own_answer(quantized, replace(plain.metadata, name=plain.metadata.name + SUFFIX))
    try:
        add_int8(repository)
        install(repository, metadata, lambda path: save_stamped(quantized, metadata, path), "int8")
    except BaseException:
        remove_int8(repository)
        raise
    networks = {"float32": plain, "int8": Network(model_path(repository, precision="int8"))}
    return compared(networks, source, crops)


def with_own_answer(model: onnx.ModelProto, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata with the golden points that the model itself gives, by the runtime that serves it."""
    from landmarks.runtime import Network
    from train.export.onnx_file import save_stamped
    from train.export.torch_to_onnx import golden_points

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_stamped(model, metadata, path)
        return replace(metadata, golden_points=golden_points(Network(path), metadata.codec))


def training_crops(metadata: ModelMetadata, source: DataSource, samples: int) -> Crops:
    """Crops [N, S, S, 3] of so many faces of the split for training, or of all where there are fewer."""
    from train.evaluation.predict import crops_of
    from train.samples.image_cache import ImageCache

    faces = source.train_faces()
    chosen = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, samples).round().astype(int))]
    batches = crops_of(chosen, metadata.crop_scale, metadata.codec.input_size, "P2", ImageCache(limit=0))
    return np.concatenate([crops for crops, _ in batches])


def quantized_model(path: Path, crops: Crops) -> onnx.ModelProto:
    """By post-training quantization of weights and activations. Raises TrainingError when NNCF is not installed."""
    try:
        with redirect_stdout(sys.stderr):
            import nncf
            from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    except ImportError as error:
        raise TrainingError("NNCF is not installed: pip install 'h3r-landmarks[train]'") from error
    import onnx

    data = nncf.Dataset(list(crops), lambda crop: {"crops": crop[None]})
    device = nncf.TargetDevice.CPU
    # its log and its progress bars would stand among the figures that the command prints
    with redirect_stdout(sys.stderr):
        # the layer of `train.backbones.refinement`, where there is one, takes differences of places
        spared = nncf.IgnoredScope(patterns=[f"{SPARED}.*"], validate=False)
        # seven bits of each weight: with eight, sums of products overflow the sixteen bits of CPUs without VNNI, whose
        # answer then differs by up to a pixel; so every CPU gives the same one
        portable = AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE)
        quantized: onnx.ModelProto = nncf.quantize(
            onnx.load(path),
            data,
            subset_size=len(crops),
            target_device=device,
            ignored_scope=spared,
            advanced_parameters=portable,
        )
    return quantized


# ---------------------------------------------------------------- what it costs and gains


def compared(networks: Mapping[str, Network], source: DataSource, crops: Crops) -> dict[str, Any]:
    """NME on the test split and milliseconds a crop of float32 and int8, timed in turn, and how they compare."""
    from train.evaluation.predict import predict

    milliseconds = timed(networks, crops)
    figures: dict[str, Any] = {}
    for name, network in networks.items():
        codec, scale = network.metadata.codec, network.metadata.crop_scale
        predictions = predict(network, source.test_faces(), codec, scale, [codec.topk], progress=True, label=name)
        figures[name] = {"nme": predictions.report(codec.topk).nme, "milliseconds": milliseconds[name]}
    first, last = figures["float32"], figures["int8"]
    return {
        **figures,
        "faces": len(source.test_faces()),
        "nme_added": last["nme"] - first["nme"],
        "speedup": first["milliseconds"] / last["milliseconds"],
    }


def timed(networks: Mapping[str, Callable[[Crops], Any]], crops: Crops, rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds for one crop of each network, which take turns, so that a busy machine is busy for all."""
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for i in range(rounds):
        crop = crops[i % len(crops)][None]
        for name, network in networks.items():
            start = time.perf_counter()
            network(crop)
            spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in spent.items()}
