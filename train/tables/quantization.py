"""Tables 2, 9 and 10: how a fraction is rounded in training, what kind of heatmap is trained towards, and which boxes.

One protocol for all: the compact backbone, from random weights at 64 pixels, and on from there at 128 and at 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from train.config import Config, load_config
from train.evaluation.readers import DecoderName, label
from train.tables.plots import bars
from train.tables.workshop import NO_OTHERS, Recipe, Table, Workshop

if TYPE_CHECKING:
    from train.datasets.face import BoxKind

EPOCHS: Final[Mapping[int, int]] = {64: 24, 128: 6, 256: 3}
"""Epochs at each crop size, each size with a rate that falls to zero."""


@dataclass(frozen=True)
class Method:
    """One way to train, compared with the others."""

    label: str
    folder: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the configuration, beside the default ones."""
    corrected: bool = True
    """Whether decoding corrects for the quantizer's bias."""

    def recipe(self, size: int) -> Recipe:
        """Its run at one crop size."""
        smaller = [other for other in EPOCHS if other < size]
        start = self.recipe(max(smaller)) if smaller else None
        pace = {"learning_rate": 1e-3, "warmup_epochs": 0.5} if start else {}
        stages = [{"epochs": EPOCHS[size], "input_size": size}]
        config = load_config(Config, "compact", {"stages": stages, **pace, **self.changes})
        return Recipe(f"{self.folder}-{size}", config, start)


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


def table_2(shop: Workshop) -> None:
    """The error by the quantizer of training."""
    compare(
        shop,
        QUANTIZERS,
        [("P2", decoder) for decoder in ("argmax", 9)],
        "table-2",
        "Table 2: the error by quantizer",
        "P2 boxes, the compact backbone; by how a coordinate is\nrounded to a cell in training. The correction moves "
        "every decoded point by t - 0.5 cells, t being the fraction\nfrom which the quantizer rounds up.",
    )


def table_9(shop: Workshop) -> None:
    """The error by the kind of heatmap."""
    compare(
        shop,
        HEATMAPS,
        [("P2", decoder) for decoder in ("argmax", "quarter", 9, "all")],
        "table-9",
        "Table 9: the error by kind of heatmap",
        "P2 boxes, the compact backbone; by what the network's maps\nare trained towards, and how the centre is "
        "rounded. Columns are decoders: `quarter` moves the strongest cell by 1/4\ntowards its stronger neighbour, "
        "`all` averages the whole map.",
    )


def table_10(shop: Workshop) -> None:
    """The error by the boxes of training and of testing."""
    compare(
        shop,
        BY_BOXES,
        [(boxes, 9) for boxes in BOXES],
        "table-10",
        "Table 10: the error by the boxes of training and testing",
        "the compact backbone, top 9; by the boxes that crops are\nmade from in training (rows) and in testing "
        "(columns). P1: the tight box of the true points. P2: a detector's.",
    )


def compare(
    shop: Workshop,
    methods: Sequence[Method],
    readings: Sequence[tuple[BoxKind, DecoderName]],
    name: str,
    title: str,
    subject: str,
) -> None:
    """Writes a table of methods by crop size and reading, a reading being boxes to test on and a decoder."""
    errors = {
        method.label: [error for size in shop.sizes for error in errors_of(shop, method, size, readings)]
        for method in methods
    }
    one_kind = len({boxes for boxes, _ in readings}) == 1
    labels = [label(decoder) if one_kind else f"tested on {boxes}" for boxes, decoder in readings]
    columns = [f"{size} px, {label}" for size in shop.sizes for label in labels]
    epochs = ", ".join(f"{EPOCHS[size]} epochs at {size}" for size in shop.sizes)
    Table(
        name,
        title,
        f"{shop.subject}, {subject}\n\n"
        f"Every network is trained alike, from random weights and on from crop size to crop size: {epochs} pixels.\n"
        f"That is shorter than the runs of Table 8, so compare rows rather than levels.\n{NO_OTHERS}",
        ("training", *columns),
        tuple((label, *(f"{error:.2f}" for error in row)) for label, row in errors.items()),
    ).write(shop.out)
    bars(shop.out / f"{name}.png", columns, errors, "NME, %")


def errors_of(
    shop: Workshop, method: Method, size: int, readings: Sequence[tuple[BoxKind, DecoderName]]
) -> list[float]:
    """NME in percent by boxes and decoder; every heatmap is computed once for all decoders."""
    trained = shop.trained(method.recipe(size))
    decoders: dict[BoxKind, list[DecoderName]] = {}
    for boxes, decoder in readings:
        decoders.setdefault(boxes, []).append(decoder)
    found = {boxes: shop.predict(trained, names, boxes, method.corrected) for boxes, names in decoders.items()}
    return [found[boxes].report(decoder).nme for boxes, decoder in readings]
