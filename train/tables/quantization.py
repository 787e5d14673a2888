"""Tables 2, 9 and 10: the quantizer of training, the kind of heatmap, and the boxes.

One protocol for all: the compact backbone, trained from random weights at 64 pixels, then at 128 and at 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from train.config import Config, load_config
from train.datasets.face import BoxKind
from train.evaluation.readers import DecoderName, label
from train.tables.context import NO_PUBLISHED, RunSpec, Table, TableContext
from train.tables.plots import bars

EPOCHS: Final[Mapping[int, int]] = {64: 24, 128: 6, 256: 3}
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

    def run_spec(self, size: int) -> RunSpec:
        """Its run at one crop size, which starts from that at the next smaller one."""
        smaller = [other for other in EPOCHS if other < size]
        start = self.run_spec(max(smaller)) if smaller else None
        schedule = {"learning_rate": 1e-3, "warmup_epochs": 0.5} if start else {}
        stages = [{"epochs": EPOCHS[size], "input_size": size}]
        config = load_config(Config, "compact", {"stages": stages, **schedule, **self.changes})
        return RunSpec(f"{self.folder}-{size}", config, start)


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
    Method("one cell, softmax over cells, random", RANDOM.folder),
    Method("one cell, sigmoid per cell, random", "binary-random", {"objective": "cell_sigmoid"}),  # folder: former name
    gaussian(1.0, "round"),
    gaussian(1.0, "random"),
    gaussian(1.0, "none"),
    gaussian(2.0, "none"),
)


BOXES: Final[Sequence[BoxKind]] = ("P1", "P2")
BY_BOXES: Final = (Method("trained on P1", "cells-random-p1", {"boxes": "P1"}), Method("trained on P2", RANDOM.folder))


def table_2(context: TableContext) -> None:
    """The error by the quantizer of training."""
    compare(
        context,
        QUANTIZERS,
        [("P2", decoder) for decoder in ("argmax", 9)],
        "table-2",
        "Table 2: the error by quantizer",
        "P2 boxes, the compact backbone; by how a coordinate is\nrounded to a cell in training. The correction moves "
        "every decoded point by t - 0.5 cells, t being the fraction\nfrom which the quantizer rounds up.",
    )


def table_9(context: TableContext) -> None:
    """The error by the kind of heatmap."""
    compare(
        context,
        HEATMAPS,
        [("P2", decoder) for decoder in ("argmax", "quarter", 9, "all")],
        "table-9",
        "Table 9: the error by kind of heatmap",
        "P2 boxes, the compact backbone; by what the network's maps\nare trained towards, and how the center is "
        "rounded. Columns are decoders: `quarter` moves the strongest cell by 1/4\ntowards its stronger neighbour, "
        "`all` averages the whole map.",
    )


def table_10(context: TableContext) -> None:
    """The error by the boxes of training and of testing."""
    compare(
        context,
        BY_BOXES,
        [(boxes, 9) for boxes in BOXES],
        "table-10",
        "Table 10: the error by the boxes of training and testing",
        "the compact backbone, top 9; by the boxes that crops are\nmade from in training (rows) and in testing "
        "(columns). P1: the tight box of the true points. P2: a detector's.",
    )


def compare(
    context: TableContext,
    methods: Sequence[Method],
    columns: Sequence[tuple[BoxKind, DecoderName]],
    name: str,
    title: str,
    subject: str,
) -> None:
    """Writes a table of methods by crop size and by boxes to test on and decoder."""
    errors = {
        method.label: [error for size in context.sizes for error in errors_of(context, method, size, columns)]
        for method in methods
    }
    one_kind = len({boxes for boxes, _ in columns}) == 1
    labels = [label(decoder) if one_kind else f"tested on {boxes}" for boxes, decoder in columns]
    titles = [f"{size} px, {label}" for size in context.sizes for label in labels]
    epochs = ", ".join(f"{EPOCHS[size]} epochs at {size}" for size in context.sizes)
    Table(
        name,
        title,
        f"{context.subject}, {subject}\n\n"
        f"Every network is trained alike, from random weights, by one crop size after another: {epochs} pixels.\n"
        f"That is shorter than the runs of Table 8, so compare rows rather than levels.\n{NO_PUBLISHED}",
        ("training", *titles),
        tuple((label, *(f"{error:.2f}" for error in row)) for label, row in errors.items()),
    ).write(context.out)
    bars(context.out / f"{name}.png", titles, errors, "NME, %")


def errors_of(
    context: TableContext, method: Method, size: int, columns: Sequence[tuple[BoxKind, DecoderName]]
) -> list[float]:
    """NME in percent of each column; every heatmap is computed once for all decoders."""
    trained = context.trained(method.run_spec(size))
    decoders: dict[BoxKind, list[DecoderName]] = {}
    for boxes, decoder in columns:
        decoders.setdefault(boxes, []).append(decoder)
    predictions = {boxes: context.predict(trained, names, boxes, method.corrected) for boxes, names in decoders.items()}
    return [predictions[boxes].report(decoder).nme for boxes, decoder in columns]
