"""What every data set is read into: annotated faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from train.datasets.image import ImageSource

Split = str
"""A data set's own name of a part: "train", "val", "test" or a subset."""

BoxKind = Literal["P1", "P2"]
"""P1: the tight box of the true points. P2: a detector's box."""


@dataclass(frozen=True, eq=False)
class AnnotatedFace:
    """One annotated face (or body), in the pixels of its image ((0, 0) is the center of the first pixel)."""

    image: ImageSource
    points: NDArray[np.float64]
    """[P, 2] in the order of the set's layout; NaN where the point is not annotated."""
    box: NDArray[np.float64]
    """[4] xyxy, a detector's box (P2)."""
    subsets: frozenset[str] = field(default_factory=frozenset)
    """Parts of the test set that the face belongs to ("pose", "occlusion")."""
    weights: NDArray[np.float64] | None = None
    """[P] how much each point counts in the loss, 0 to 1; None: 1 each."""
    visible: NDArray[np.bool_] | None = None
    """[P] whether each point is seen, hidden neither by the head itself nor by something before it; None: unknown."""
    size: float | None = None
    """Pixels; the length by which the set's own figures are divided (MPII: head size, COCO: root of the area)."""
    box_score: float | None = None
    """A detector's for the box; None: the face is annotated."""

    @property
    def point_weights(self) -> NDArray[np.float64]:
        """[P] the weights, whether the data set states them or not."""
        return np.ones(len(self.points)) if self.weights is None else self.weights

    @property
    def tight_box(self) -> NDArray[np.float64]:
        """[4] xyxy, the tight box of the points (P1)."""
        return np.concatenate([np.nanmin(self.points, axis=0), np.nanmax(self.points, axis=0)])

    def box_of(self, kind: BoxKind) -> NDArray[np.float64]:
        """[4] xyxy, the box of the given kind, about which the face is cropped."""
        return self.tight_box if kind == "P1" else self.box


@dataclass(frozen=True)
class Format:
    """How the files of a data set are read, and what training must know of it."""

    load: Callable[[Path, Split], list[AnnotatedFace]]
    """The folder of the set and a split -> its faces. Raises DataError naming the file, line or field at fault."""
    layout: PointLayout
    """The layout of the faces' points."""
    train: Split
    """The split to train on."""
    test: Split
    """The split to report on, never trained on."""
