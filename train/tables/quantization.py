"""Tables 2 and 9: how a point's fraction is rounded in training, and what kind of heatmap is trained towards.

One protocol for all: the compact backbone, from random weights at 64 pixels, and on from there at 128 and at 256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from train.config import load_config
from train.tables.workshop import Recipe, Table, Workshop, measure

if TYPE_CHECKING:
    from train.codecs import Maps, Points

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
        config = load_config("compact", {"stages": stages, **pace, **self.changes})
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
    Method("binary, sigmoid per cell, random", "binary-random", {"objective": "binary"}),
    gaussian(1.0, "round"),
    gaussian(1.0, "random"),
    gaussian(1.0, "none"),
    gaussian(2.0, "none"),
)


def table_2(shop: Workshop) -> None:
    """The error by the quantizer of training."""
    compare(
        shop,
        QUANTIZERS,
        ("argmax", "top9"),
        "table-2",
        "Table 2: the error by quantizer",
        "by how a coordinate is rounded to a cell in training. The correction moves every decoded point by t - 0.5\n"
        "cells, t being the fraction from which the quantizer rounds up.",
    )


def table_9(shop: Workshop) -> None:
    """The error by the kind of heatmap."""
    compare(
        shop,
        HEATMAPS,
        ("argmax", "quarter", "top9", "all"),
        "table-9",
        "Table 9: the error by kind of heatmap",
        "by what the network's maps are trained towards, and how the centre is rounded. Columns are decoders:\n"
        "`quarter` moves the strongest cell by 1/4 towards its stronger neighbour, `all` averages the whole map.",
    )


def compare(
    shop: Workshop, methods: Sequence[Method], decoders: Sequence[str], name: str, title: str, subject: str
) -> None:
    """Writes a table of methods by crop size and decoder."""
    errors = [[error for size in shop.sizes for error in errors_of(shop, method, size, decoders)] for method in methods]
    epochs = ", ".join(f"{EPOCHS[size]} epochs at {size}" for size in shop.sizes)
    Table(
        name,
        title,
        f"NME in percent of the inter-ocular distance on {shop.source.name}, P2 boxes, the compact backbone,\n"
        f"{subject}\n\n"
        f"Every network is trained alike, from random weights and on from crop size to crop size: {epochs} pixels.\n"
        "That is shorter than the runs of Table 8, so compare rows rather than levels.",
        ("training", *(f"{size} px, {decoder}" for size in shop.sizes for decoder in decoders)),
        tuple((method.label, *(f"{e:.2f}" for e in row)) for method, row in zip(methods, errors, strict=True)),
    ).write(shop.out)


def errors_of(shop: Workshop, method: Method, size: int, decoders: Sequence[str]) -> list[float]:
    """NME in percent by decoder."""
    from train.codecs import decoder

    trained = shop.trained(method.recipe(size))
    shift = trained.correction if method.corrected else 0.0
    readers: list[Callable[[Maps], Points]] = [decoder(name) for name in decoders]
    return list(measure(trained, shop.source, lambda maps: [read(maps) + shift for read in readers]))
