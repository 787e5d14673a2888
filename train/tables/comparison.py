"""Tables 3 to 6: the error on WFLW, 300-W, COFW and AFLW, by subset and by what it is divided by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from landmarks.layout import Norm
from train.datasets.face import BoxKind, Split
from train.errors import TrainingError
from train.evaluation.plots import NORM_LABELS
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained, open_run
from train.tables.context import UNKNOWN, Table, TableContext
from train.tables.published import published


@dataclass(frozen=True)
class Column:
    """A column of figures."""

    split: Split | None
    """The data set's own name of a split; None: the one for testing."""
    subset: str | None
    """The part of the split; None: all of it."""
    norm: Norm


WFLW_SUBSETS: Final = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
WFLW: Final = [Column(None, subset, "inter_ocular") for subset in (None, *WFLW_SUBSETS)]
"""The columns of tables 3 and 10."""
IBUG: Final = [
    Column(split, subset, norm)
    for norm in ("inter_ocular", "inter_pupil")
    for split, subset in (("private", None), ("full", None), ("full", "common"), ("full", "challenge"))
]
COFW: Final = [Column(None, None, "inter_ocular"), Column(None, None, "inter_pupil")]
AFLW: Final = [Column("full", None, "box"), Column("full", "frontal", "box")]


def table_3(context: TableContext) -> None:
    """WFLW."""
    compare(context, 3, "Table 3: WFLW", WFLW)


def table_4(context: TableContext) -> None:
    """300-W."""
    compare(context, 4, "Table 4: 300-W", IBUG)


def table_5(context: TableContext) -> None:
    """COFW."""
    compare(context, 5, "Table 5: COFW", COFW)


def table_6(context: TableContext) -> None:
    """AFLW."""
    compare(context, 6, "Table 6: AFLW", AFLW)


def compare(context: TableContext, number: int, title: str, columns: list[Column]) -> None:
    """Our run below the methods that the paper compares.

    Raises TrainingError where there is no finished run and none may be trained.
    """
    name, trained = measured_run(context)
    figures = figures_of(context, trained, columns)
    norms = " and ".join(dict.fromkeys(NORM_LABELS[column.norm] for column in columns))
    table = published(number)
    Table(
        f"table-{number}",
        title,
        f"NME in percent of {norms} on {context.source.name}. Ours: {name}, crops of {trained.codec.input_size} "
        f"pixels, boxes {trained.boxes}, k = {trained.codec.topk}, {flip_words(context)}. The other rows are the "
        "paper's.",
        table.header(1),
        tuple(table.beside(1, {(f"this project, {name}",): figures})),
    ).write(context.out)


def measured_run(context: TableContext) -> tuple[str, Trained]:
    """The run that the command line names, or the one by the recipe: its name, its network. Raises TrainingError."""
    if context.run:
        return context.run.name, open_run(context.run)
    spec = context.spec(context.sizes[0], context.seeds[0])
    trained = context.trained(spec)
    if trained is None:
        raise TrainingError(
            f"{context.runs / spec.name} holds no finished run: leave --reuse-only out to train it now, or name a "
            "finished one by --run"
        )
    return spec.name, trained


def figures_of(
    context: TableContext, trained: Trained, columns: list[Column], boxes: BoxKind | None = None
) -> list[str]:
    """NME in percent of every column; UNKNOWN where the data set has no such subset."""
    k = trained.codec.topk
    predictions = {
        split: context.predict(trained, [k], boxes, faces=context.source.faces(split) if split else None)
        for split in dict.fromkeys(column.split for column in columns)
    }
    return [figure(predictions[column.split], column, k) for column in columns]


def figure(predictions: Predictions, column: Column, k: int) -> str:
    """One of them."""
    if column.subset is None:
        return f"{predictions.report(k, column.norm).nme:.2f}"
    subsets = predictions.by_subset(k, column.norm)
    return f"{subsets[column.subset].nme:.2f}" if column.subset in subsets else UNKNOWN


def flip_words(context: TableContext) -> str:
    """Whether points are averaged with those of the mirrored crop."""
    return "averaged with the mirrored crop" if context.recipe.flip_averaging else "without the mirrored crop"
