"""An exported network -> the same network in 8-bit integers, in the same repository, and how the two compare."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from landmarks.golden import with_golden_answer
from landmarks.metadata import ModelMetadata
from landmarks.repository import add_int8, model_path, remove_int8
from landmarks.runtime import Network
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.predict import crops_of, predict
from train.export.onnx_file import install, save_with_metadata
from train.export.torch_to_onnx import golden_answer
from train.samples.image_cache import ImageCache

SUFFIX: Final = "-int8"
"""Ending of the name of a quantized model."""
FLOAT32_SCOPES: Final = ("/tilt/", "/visibility/")
"""Prefixes of the names of the operations that stay in float32: those of `train.backbones.refinement`."""
TIMED_CROPS: Final = 100
"""Crops that each network is timed on."""

Crops = NDArray[np.uint8]


def quantize(repository: Path, source: DataSource, samples: int) -> dict[str, Any]:
    """Adds the 8-bit version of a repository's network to it, replacing an earlier one; returns how the two compare.

    The ranges of activations are measured on `samples` training faces, evenly chosen, and errors on the test split of
    `source`, by the runtime that serves. Raises TrainingError when NNCF is not installed, or when the network is
    quantized already.
    """
    original = Network(model_path(repository))
    if original.metadata.name.endswith(SUFFIX):
        raise TrainingError(f"{repository} holds {original.metadata.name}, which is quantized already")
    crops = training_crops(original.metadata, source, samples)
    quantized = quantized_model(model_path(repository), crops)
    metadata = with_own_golden_answer(quantized, replace(original.metadata, name=original.metadata.name + SUFFIX))
    try:
        add_int8(repository)
        install(repository, metadata, lambda path: save_with_metadata(quantized, metadata, path), "int8")
    except BaseException:
        remove_int8(repository)
        raise
    networks = {"float32": original, "int8": Network(model_path(repository, precision="int8"))}
    return compare(networks, source, crops)


def with_own_golden_answer(model: onnx.ModelProto, metadata: ModelMetadata) -> ModelMetadata:
    """The metadata with the model's own answer to the golden crop in the runtime that serves it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_with_metadata(model, metadata, path)
        return with_golden_answer(metadata, golden_answer(Network(path), metadata.codec))


def training_crops(metadata: ModelMetadata, source: DataSource, samples: int) -> Crops:
    """Crops [N, H, W, 3] of `samples` faces of the split for training, or of all where there are fewer."""
    faces = source.train_faces()
    chosen = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, samples).round().astype(int))]
    batches = crops_of(chosen, metadata.crop_scale, metadata.codec.input_size, "P2", ImageCache(limit=0))
    return np.concatenate([crops for crops, _ in batches])


def quantized_model(path: Path, crops: Crops) -> onnx.ModelProto:
    """By post-training quantization of weights and activations. Raises TrainingError when NNCF is not installed."""
    # imported here alone: NNCF changes PyTorch, so that training in the same process crashes, and it may be missing
    try:
        with redirect_stdout(sys.stderr):
            import nncf
            from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    except ImportError as error:
        raise TrainingError("NNCF is not installed: pip install 'h3r-landmarks[train]'") from error

    data = nncf.Dataset(list(crops), lambda crop: {"crops": crop[None]})
    device = nncf.TargetDevice.CPU
    # its log and its progress bars would mix with the figures that the command prints
    with redirect_stdout(sys.stderr):
        # the layers of `train.backbones.refinement`, where there are any, subtract coordinates
        in_float32 = nncf.IgnoredScope(patterns=[f"{scope}.*" for scope in FLOAT32_SCOPES], validate=False)
        # seven bits of each weight: with eight, sums of products overflow the sixteen bits of CPUs without VNNI, and
        # their points differ by up to a pixel. With seven, every CPU gives the same points.
        portable = AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE)
        quantized: onnx.ModelProto = nncf.quantize(
            onnx.load(path),
            data,
            subset_size=len(crops),
            target_device=device,
            ignored_scope=in_float32,
            advanced_parameters=portable,
        )
    return quantized


# ---------------------------------------------------------------- comparison


def compare(networks: Mapping[str, Network], source: DataSource, crops: Crops) -> dict[str, Any]:
    """NME in percent on the test split and milliseconds per crop of "float32" and "int8", and how they compare."""
    milliseconds = time_networks(networks, crops)
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


def time_networks(
    networks: Mapping[str, Callable[[Crops], Any]], crops: Crops, rounds: int = TIMED_CROPS
) -> dict[str, float]:
    """Median milliseconds for one crop of each network. They take turns, so that other load affects them alike."""
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for i in range(rounds):
        crop = crops[i % len(crops)][None]
        for name, network in networks.items():
            start = time.perf_counter()
            network(crop)
            spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in spent.items()}
