"""The errors of a network by what callers ask about: pose, how a face lies in the frame, eyes, mouth, hidden points.

Errors are divided by the square root of the area of the box of the true points, which no yaw makes vanish. Faces are
answered as the service answers them in a given box, with the second pass.

::

    answers.py     faces -> what the network answers, and its errors
    pose.py        tables by yaw, pitch and roll of the head
    pictures.py    tables of pictures that are turned, squeezed or cut
    features.py    tables of eyes and mouth, open and closed
    hidden.py      a table of points that are seen, and of points that are hidden
    tables.py      what these have in common
    output.py      tables -> Markdown and a plot
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from landmarks.layout import WFLW98
from train.datasets.face import AnnotatedFace
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.faces_report.answers import Answers, answers_of
from train.evaluation.faces_report.features import blinks, eyes, is_frontal, mouths
from train.evaluation.faces_report.hidden import hidden
from train.evaluation.faces_report.output import draw, page
from train.evaluation.faces_report.pictures import changed
from train.evaluation.faces_report.pose import by_pose, by_roll
from train.evaluation.faces_report.tables import ERROR, Table
from train.evaluation.predict import check_points
from train.evaluation.trained import Trained
from train.pose_synthesis.model import FaceModel

__all__ = ["draw", "page", "report"]


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
            by_roll(plain),
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
