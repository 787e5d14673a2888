"""The errors of a network by what callers ask about: pose, how a face lies in the frame, eyes, mouth, hidden points.

Errors are divided by the square root of the area of the box of the true points, which no yaw makes vanish. Faces are
answered as the service answers them in a given box, with the second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from landmarks.second_pass import roll_of
from train.datasets.face import AnnotatedFace
from train.datasets.image import read_image
from train.datasets.source import DataSource
from train.datasets.visible import MAX_ASYMMETRY, asymmetry
from train.errors import TrainingError
from train.evaluation.metrics import Array
from train.evaluation.plots import new_figure
from train.evaluation.predict import SecondPass, check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained
from train.pose_synthesis.fit import fit_model
from train.pose_synthesis.model import FaceModel
from train.samples.variants import EDGES, blinking, cut, filling, squeezed, turned

YAWS: Final = (0, 15, 30, 45, 60, 75, 90)
PITCHES: Final = (-90, -30, -15, 0, 15, 30, 90)
ROLLS: Final = (0, 10, 20, 45, 180)
"""Degrees: the ends of the ranges that faces are sorted into. Yaw and roll count to either side."""
TURNS: Final = (0, 15, 30, 45, 60, 90, 120, 150, 180)
"""Degrees that pictures are turned by."""
SHARES: Final = (0.5, 0.7, 0.9, 1.0, 1.1, 1.2)
"""Longer side of the face's box over the side of a square frame."""
CUTS: Final = (0.1, 0.2, 0.3, 0.4)
"""Shares of the box that an edge of the photograph cuts off."""
SQUEEZES: Final = (1.25, 1.5, 2.0)
"""Factors by which pictures are squeezed in one direction."""
OPENINGS: Final = (0.0, 0.025, 0.05, 0.075, 1.0)
"""Ends of the ranges of an eye's opening over the distance of the outer eye corners."""
MOUTHS: Final = (0.0, 0.05, 0.15, 0.3, 5.0)
"""Ends of the ranges of the mouth's opening over the same distance."""
NEARLY_CLOSED: Final = 0.05
"""Opening of an eye below which it counts as nearly closed."""
ERROR: Final = "error"
"""The key of a table's curve before it is named after its data set."""
FEWEST: Final = 5
"""Faces or eyes without which nothing is said."""

EYES: Final = {"right_eye": ((61, 67), (62, 66), (63, 65)), "left_eye": ((69, 75), (70, 74), (71, 73))}
"""By group: the pairs of points above each other on the lids of WFLW's layout."""
MOUTH: Final = (90, 94)
"""The middle of the inner edges of the lips."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """Figures of each data set, over the same cases."""

    title: str
    note: str
    cases: tuple[str, ...]
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By what a row shows; a figure for each case, "" where there are too few faces."""
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """By data set, the errors that are drawn; NaN where there is nothing to say."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answered for faces, in pixels of their pictures."""

    faces: Sequence[AnnotatedFace]
    points: Array
    """[faces, 98, 2]"""
    truth: Array
    """[faces, 98, 2]"""
    scores: Array
    """[faces]"""
    visibility: Array
    """[faces, 98], or [faces, 0]"""

    @property
    def distances(self) -> Array:
        """[faces, 98] in percent of the root of the area of the points' box."""
        lengths = np.sqrt(np.ptp(self.truth, axis=1).prod(axis=1))
        distances: Array = 100 * np.linalg.norm(self.points - self.truth, axis=2) / lengths[:, None]
        return distances

    @property
    def ocular(self) -> Array:
        """[faces] the distance of the true outer eye corners."""
        ocular: Array = np.linalg.norm(self.truth[:, 60] - self.truth[:, 72], axis=1)
        return ocular


Ask = Callable[[Sequence[AnnotatedFace]], Answers]


def report(
    model: Trained, sources: Mapping[str, DataSource], face_model: Path | None = None, every: int = 1
) -> list[Table]:
    """All tables, of each data set by its name; those by yaw and pitch only with a face model (`synthesize-poses`).

    `every`: changed pictures are made of every n-th face. Raises TrainingError for other points than WFLW's.
    """
    tables: dict[str, Table] = {}
    for name, source in sources.items():
        if source.layout is not WFLW98:
            raise TrainingError(f"{source.name} has no points of WFLW's layout, which this report is about")
        check_points(model.codec, source.layout)

        def ask(faces: Sequence[AnnotatedFace]) -> Answers:
            return answers_of(model, faces)

        faces = source.test_faces()
        plain = ask(faces)
        parts = [
            *(by_pose(plain, FaceModel.load(face_model)) if face_model else ()),
            by_range("Roll of the head", "As the photograph shows it.", rolls_of(plain), ROLLS, plain),
            *changed(ask, faces[::every]),
            *eyes(plain),
            blinks(ask, [face for face in faces[::every] if is_frontal(face)]),
            mouths(plain),
            *hidden(plain),
        ]
        for part in parts:
            table = tables.setdefault(part.title, Table(part.title, part.note, part.cases))
            table.rows.update({f"{name}: {row}": values for row, values in part.rows.items()})
            if part.curves:
                table.curves[name] = part.curves[ERROR]
    return list(tables.values())


def answers_of(model: Trained, faces: Sequence[AnnotatedFace]) -> Answers:
    """What the network answers, with the second pass where it states one."""
    k = model.codec.topk
    second = SecondPass(model.points_crop, "auto") if model.points_crop else None
    found: Predictions = predict(
        model.network,
        faces,
        model.codec,
        model.crop_scale,
        [k],
        progress=True,
        second=second,
        correction=model.correction,
        plausibility=model.plausibility,
        label="report-faces",
    )
    truth = np.stack([face.points for face in faces])
    return Answers(faces, found.image_points(k), truth, found.scores(k), found.decoded[k].visibility.astype(np.float64))


# ---------------------------------------------------------------- pose


def by_pose(plain: Answers, model: FaceModel) -> list[Table]:
    """By the yaw and pitch of the face model that is fitted to the true points."""
    angles = np.array([fit_model(model, face.points).pose.angles for face in plain.faces])
    note = "Of the 3-D model that is fitted to the true points."
    return [
        by_range("Yaw of the head", note, np.abs(angles[:, 0]), YAWS, plain),
        by_range("Pitch of the head", f"{note} Positive: it looks up.", angles[:, 1], PITCHES, plain),
    ]


def rolls_of(plain: Answers) -> Array:
    """[faces] degrees to either side."""
    return np.array([abs(np.degrees(roll_of(points, WFLW98))) for points in plain.truth])


def by_range(title: str, note: str, values: Array, ends: Sequence[float], plain: Answers) -> Table:
    """The faces sorted into ranges of a value [faces], in degrees."""
    masks = ranges(values, ends)
    cases = tuple(f"{low:g} to {high:g}°" for low, high in pairwise(ends))
    return Table(title, note, cases, *figures([part(plain, mask) for mask in masks]))


def ranges(values: Array, ends: Sequence[float]) -> list[Mask]:
    """Masks [n] of the values in each range; its lower end belongs to it."""
    return [(values >= low) & (values < high) for low, high in pairwise(ends)]


# ---------------------------------------------------------------- changed pictures


def changed(ask: Ask, faces: Sequence[AnnotatedFace]) -> list[Table]:
    """Turned, squeezed, and cut by a frame or an edge."""

    def asked(change: Callable[[int, AnnotatedFace], AnnotatedFace]) -> Answers:
        return ask([change(i, face) for i, face in enumerate(faces)])

    def table(title: str, note: str, cases: Sequence[str], parts: Sequence[Answers], shown: str = "") -> Table:
        rows, curves = figures(parts)
        if shown:
            rows |= {shown: tuple(number(points_shown(each)) for each in parts)}
        return Table(title, note, tuple(cases), rows, curves)

    return [
        table(
            "Turned pictures",
            "The picture turned about the face, to either side by turns.",
            [f"{degrees:g}°" for degrees in TURNS],
            [asked(lambda i, face, d=degrees: turned(face, d * (-1) ** i)) for degrees in TURNS],  # type: ignore[misc]
        ),
        table(
            "Share of the frame",
            "The longer side of the face's box over that of a square frame: at 1 it touches forehead and chin, beyond "
            "it cuts them off. The box is cut with the picture.",
            [f"{share:g}" for share in SHARES],
            [asked(lambda _, face, s=share: filling(face, s)) for share in SHARES],  # type: ignore[misc]
            "points in the frame only, %",
        ),
        table(
            "Cut by an edge",
            "The photograph's edge cuts that share off the face's box: the left, the top, the right, the bottom one by "
            "turns.",
            [f"{share:.0%}" for share in CUTS],
            [asked(lambda i, face, s=share: cut(face, s, EDGES[i % 4])) for share in CUTS],  # type: ignore[misc]
            "points in the frame only, %",
        ),
        table(
            "Squeezed pictures",
            "Squeezed in one direction, the width and the height by turns, without `pixel_aspect`. Errors are those in "
            "the squeezed picture.",
            [f"{factor:g}" for factor in SQUEEZES],
            [
                asked(lambda i, face, f=factor: squeezed(face, *((1, 1 / f) if i % 2 else (1 / f, 1))))  # type: ignore[misc]
                for factor in SQUEEZES
            ],
        ),
    ]


def points_shown(answers: Answers) -> float:
    """The error in percent of the points that the picture shows."""
    sizes = np.array([read_image(face.image).shape[1::-1] for face in answers.faces])[:, None]
    shown = ((answers.truth >= 0) & (answers.truth <= sizes - 1)).all(axis=2)
    return float(answers.distances[shown].mean())


# ---------------------------------------------------------------- eyes and mouth


def openings(points: Array) -> Array:
    """The openings [faces, 2] of both eyes of points [faces, 98, 2], over the distance of the outer eye corners."""
    ocular = np.linalg.norm(points[:, 60] - points[:, 72], axis=1)
    of_eyes = [
        np.mean([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in pairs], axis=0)
        for pairs in EYES.values()
    ]
    result: Array = np.stack(of_eyes, axis=1) / ocular[:, None]
    return result


def is_frontal(face: AnnotatedFace) -> bool:
    """Whether a face looks about straight at the camera, so that distances across it are not foreshortened."""
    return asymmetry(face.points, WFLW98) <= 2 * MAX_ASYMMETRY


def eyes(plain: Answers) -> list[Table]:
    """How far eyes are open: the network against the labels."""
    frontal = np.array([is_frontal(face) for face in plain.faces])
    if frontal.sum() < FEWEST:
        return []
    said, true = openings(plain.points[frontal]).ravel(), openings(plain.truth[frontal]).ravel()
    masks = ranges(true, OPENINGS)
    cases = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(OPENINGS)]
    cases[-1] = f"over {100 * OPENINGS[-2]:g} %"

    def mean(values: Array, mask: Mask) -> str:
        return number(100 * float(values[mask].mean())) if mask.sum() >= FEWEST else ""

    rows = {
        "eyes": tuple(str(int(mask.sum())) for mask in masks),
        "labelled opening, %": tuple(mean(true, mask) for mask in masks),
        "the network's, %": tuple(mean(said, mask) for mask in masks),
        "mean difference, %": tuple(mean(np.abs(said - true), mask) for mask in masks),
    }
    note = (
        "Distance of the lids, mean of three pairs of points, over that of the outer eye corners; by the labelled one, "
        "on faces that look about at the camera."
    )
    tables = [Table("Open and closed eyes", note, tuple(cases), rows)]
    closed = true < NEARLY_CLOSED
    if closed.sum() >= FEWEST:
        slope = float(np.polyfit(true[closed], said[closed], 1)[0])
        values = (str(int(closed.sum())), number(float(np.corrcoef(true[closed], said[closed])[0, 1])), number(slope))
        note = f"Openings below {100 * NEARLY_CLOSED:g} %: the network's over the labelled ones."
        tables.append(Table("Nearly closed eyes", note, ("eyes", "correlation", "slope"), {"opening": values}))
    return tables


def blinks(ask: Ask, faces: Sequence[AnnotatedFace]) -> Table:
    """How far points move when only the eyelids do."""
    before, after = ask(faces), ask([blinking(face) for face in faces])
    moved = 100 * np.linalg.norm(after.points - before.points, axis=2) / before.ocular[:, None]
    groups = [name for name in WFLW98.groups if name not in (*EYES, "pupils")]
    rows = {
        f"mean of {len(faces)} faces": tuple(number(float(moved[:, WFLW98.groups[name]].mean())) for name in groups),
        "95 % of the faces below": tuple(
            number(float(np.quantile(moved[:, WFLW98.groups[name]].mean(axis=1), 0.95))) for name in groups
        ),
    }
    opened, closed = (100 * float(openings(each).mean()) for each in (before.points, after.points))
    true = 100 * float(openings(after.truth).mean())
    note = (
        "Both eyes closed in the picture by stretching the lids, on faces that look about at the camera: how far the "
        "other points move, in % of the distance of the outer eye corners. They should not."
    )
    rows |= {
        "opening of the eyes, %": (f"{opened:.1f} before, {closed:.1f} closed (true: {true:.1f})",)
        + ("",) * (len(groups) - 1)
    }
    return Table("A blink", note, tuple(n.replace("_", " ") for n in groups), rows)


def mouths(plain: Answers) -> Table:
    """By how far the mouth is open."""
    ocular = np.linalg.norm(plain.truth[:, 60] - plain.truth[:, 72], axis=1)
    opening = np.linalg.norm(plain.truth[:, MOUTH[0]] - plain.truth[:, MOUTH[1]], axis=1) / ocular
    frontal = np.array([is_frontal(face) for face in plain.faces])
    parts = [part(plain, mask & frontal) for mask in ranges(opening, MOUTHS)]
    rows, curves = figures(parts)
    lips = [*WFLW98.groups["outer_lips"], *WFLW98.groups["inner_lips"]]
    rows |= {"lips, %": tuple(number(float(each.distances[:, lips].mean())) if enough(each) else "" for each in parts)}
    cases = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(MOUTHS)]
    cases[-1] = f"over {100 * MOUTHS[-2]:g} %"
    note = "Distance of the inner lips over that of the outer eye corners, on faces that look about at the camera."
    return Table("Open mouths", note, tuple(cases), rows, curves)


# ---------------------------------------------------------------- hidden points


def hidden(plain: Answers) -> list[Table]:
    """Hidden points against those that are seen: as the network says, and as the data set does where it does."""
    seen: dict[str, tuple[Mask, Mask]] = {}
    if plain.visibility.shape[1]:
        seen["the network says"] = plain.visibility >= 0.5, np.ones(plain.truth.shape[:2], np.bool_)
    labels = [face.visible for face in plain.faces]
    if any(each is not None for each in labels):
        known = np.array([each is not None for each in labels])
        stated = np.stack([np.ones(98, np.bool_) if each is None else each for each in labels])
        seen["the data set says"] = stated, np.broadcast_to(known[:, None], stated.shape)
    weights = np.stack([face.point_weights for face in plain.faces])
    placed = (weights == 1).any(axis=1) & (weights < 1).any(axis=1)
    if placed.sum() >= FEWEST:
        known = np.broadcast_to(placed[:, None], weights.shape) & (weights != 0.5)
        seen["placed by hand, or guessed"] = weights == 1, known
    rows = {}
    for who, (is_seen, known) in seen.items():
        parts = [plain.distances[known & each] for each in (is_seen, ~is_seen)]
        rows[f"{who}, points"] = tuple(str(len(each)) for each in parts)
        rows[f"{who}, %"] = tuple(number(float(each.mean())) if len(each) >= FEWEST else "" for each in parts)
    note = "Errors of points that are seen, and of those that the head itself or something before it hides."
    return [Table("Hidden points", note, ("seen", "hidden"), rows)] if rows else []


# ---------------------------------------------------------------- figures


def part(answers: Answers, mask: Mask) -> Answers:
    """The answers for some of the faces."""
    chosen = np.flatnonzero(mask)
    values = (each[chosen] for each in (answers.points, answers.truth, answers.scores, answers.visibility))
    return Answers([answers.faces[i] for i in chosen], *values)


def enough(answers: Answers) -> bool:
    """Whether there are enough faces to say something."""
    return len(answers.faces) >= FEWEST


def figures(parts: Sequence[Answers]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[float, ...]]]:
    """Rows and a curve of the error and the score over cases."""
    errors = [float(each.distances.mean()) if enough(each) else np.nan for each in parts]
    scores = [float(each.scores.mean()) if enough(each) else np.nan for each in parts]
    rows = {
        "faces": tuple(str(len(each.faces)) for each in parts),
        "error, %": tuple(map(number, errors)),
        "mean score": tuple(map(number, scores)),
    }
    return rows, {ERROR: tuple(errors)}


def number(value: float) -> str:
    """Two decimals; "" for NaN."""
    return "" if np.isnan(value) else f"{value:.2f}"


# ---------------------------------------------------------------- output


def page(tables: Sequence[Table]) -> str:
    """The tables as Markdown, without a title of their own."""
    lines = []
    for table in tables:
        lines += [f"### {table.title}", "", table.note, "", f"| | {' | '.join(table.cases)} |"]
        lines += ["| --- |" + " ---: |" * len(table.cases)]
        lines += [f"| {row} | {' | '.join(values)} |" for row, values in table.rows.items()]
        lines += [""]
    return "\n".join(lines)


def draw(tables: Sequence[Table], path: Path) -> None:
    """Draws the error over the cases of each table that has such a curve."""
    drawn = [table for table in tables if table.curves]
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = new_figure(4.2 * columns, 3.2 * rows)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for each, table in zip(axes.flat, drawn, strict=False):
        for name, curve in table.curves.items():
            each.plot(table.cases, curve, marker="o", markersize=4, label=name)
        each.set(title=table.title, yscale="log")
        each.yaxis.set_major_formatter("{x:g}")
        each.yaxis.set_minor_formatter("{x:g}")
        each.tick_params(axis="x", labelrotation=30, labelsize=8)
        each.grid(alpha=0.3, which="both")
    for each in list(axes.flat)[len(drawn) :]:
        each.set_axis_off()
    for row in axes:
        row[0].set_ylabel("error, % (log)")
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path)
