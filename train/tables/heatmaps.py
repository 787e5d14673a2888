"""The quantizers of training, and the kinds of heatmap. These are not tables of the paper.

One protocol for both: the compact backbone, trained from random weights at 64 pixels, then at 128 and at 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from landmarks.size import Size
from train.config import Config, load_config
from train.errors import TrainingError
from train.evaluation.readers import DecoderName, label
from train.tables.context import RunSpec, Table, TableContext
from train.tables.plots import bars

EPOCHS: Final[Mapping[Size, int]] = {Size.square(64): 24, Size.square(128): 6, Size.square(256): 3}
"""Epochs at each crop size, each with a learning rate that decays to zero."""


@dataclass(frozen=True)
class Method:
    """One way to train, compared with the others."""

    label: str
    folder: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the configuration, beside the default ones."""
    corrected: bool = True
    """Whether decoding corrects for the quantizer's bias."""

    def run_spec(self, size: Size, runs: Path) -> RunSpec:
        """Its run at one crop size, which starts from that at the next smaller one. `runs`: the folder of all runs."""
        smaller = [other for other in EPOCHS if other < size]
        start = self.run_spec(max(smaller), runs) if smaller else None
        schedule = {"learning_rate": 1e-3, "warmup_epochs": 0.5} if start else {}
        stages = [{"epochs": EPOCHS[size], "input_size": size.plain}]
        config = load_config(Config, "compact", {"stages": stages, **schedule, **self.changes})
        former = FORMER_FOLDERS.get(self.folder)
        known = former is not None and (runs / f"{former}-{size}").is_dir()
        return RunSpec(f"{former if known else self.folder}-{size}", config, start)


FORMER_FOLDERS: Final[Mapping[str, str]] = {"cell_sigmoid-random": "binary-random"}
"""Folders of earlier versions, whose runs are still used where they exist."""
RANDOM: Final = Method("random", "cells-random")
QUANTIZERS: Final = (
    Method("floor", "cells-floor", {"quantizer": "floor"}, corrected=False),
    Method("floor, corrected by +0.5", "cells-floor", {"quantizer": "floor"}),
    Method("ceil", "cells-ceil", {"quantizer": "ceil"}, corrected=False),
    Method("ceil, corrected by -0.5", "cells-ceil", {"quantizer": "ceil"}),
    Method("round", "cells-round", {"quantizer": "round"}),
    RANDOM,
)


def gaussian(sigma: float, quantizer: str) -> Method:
    """Squared error against a Gaussian."""
    how = {"none": "not rounded", "random": "random", "round": "round"}[quantizer]
    changes = {"objective": "gaussian", "sigma": sigma, "quantizer": quantizer}
    return Method(f"Gaussian, sigma {sigma:g}, {how}", f"gaussian{sigma:g}-{quantizer}", changes)


HEATMAPS: Final = (
    Method("one cell, softmax over cells (binary heatmap), random", RANDOM.folder),
    Method("one cell, sigmoid per cell, random", "cell_sigmoid-random", {"objective": "cell_sigmoid"}),
    gaussian(1.0, "round"),
    gaussian(1.0, "random"),
    gaussian(1.0, "none"),
    gaussian(2.0, "none"),
)


def quantizers(context: TableContext) -> None:
    """The error by the quantizer of training."""
    compare(
        context,
        QUANTIZERS,
        ("argmax", 9),
        "quantizers",
        "The error by quantizer",
        "P2 boxes, the compact backbone; by how a coordinate is rounded to a cell in training. The correction (eq. "
        "13 of the paper) moves every decoded point by t - 0.5 cells, t being the fraction from which the quantizer "
        "rounds up.",
    )


def heatmaps(context: TableContext) -> None:
    """The error by the kind of heatmap."""
    compare(
        context,
        HEATMAPS,
        ("argmax", "quarter", 9, "all"),
        "heatmaps",
        "The error by kind of heatmap",
        "P2 boxes, the compact backbone; by what the network's maps are trained towards, and how the center is "
        "rounded. Columns are decoders: `quarter` moves the strongest cell by 1/4 towards its stronger neighbour, "
        "`all` averages the whole map.",
    )


def compare(
    context: TableContext,
    methods: Sequence[Method],
    decoders: Sequence[DecoderName],
    name: str,
    title: str,
    subject: str,
) -> None:
    """Writes a table of methods by crop size and decoder."""
    errors = {
        method.label: [error for size in context.sizes for error in errors_of(context, method, size, decoders)]
        for method in methods
    }
    titles = [f"{size} px, {label(decoder)}" for size in context.sizes for decoder in decoders]
    epochs = ", ".join(f"{EPOCHS[size]} epochs at {size}" for size in context.sizes)
    Table(
        name,
        title,
        f"{context.subject}, {subject}\n\n"
        f"Every network is trained alike, from random weights, by one crop size after another: {epochs} pixels. "
        "Compare rows rather than levels. The paper has no such table.",
        ("training", *titles),
        tuple((label, *(f"{error:.2f}" for error in row)) for label, row in errors.items()),
    ).write(context.out)
    bars(context.out / f"{name}.png", titles, errors, "NME, %")


def errors_of(context: TableContext, method: Method, size: Size, decoders: Sequence[DecoderName]) -> list[float]:
    """NME in percent by decoder, without the mirrored crop. Raises TrainingError where there is no finished run."""
    spec = method.run_spec(size, context.runs)
    trained = context.trained(spec)
    if trained is None:
        raise TrainingError(f"{context.runs / spec.name} holds no finished run: leave --reuse-only out to train it now")
    predictions = context.predict(trained, decoders, "P2", method.corrected, flip=None)
    return [predictions.report(decoder).nme for decoder in decoders]
