"""The predictions of a network with the annotated points, and the errors and figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import invert, transform_points
from landmarks.layout import WFLW98, Norm, PointLayout
from landmarks.uncertainty import GAUSSIAN, FaceScorer, Plausibility, share_within
from train.datasets.boxes import size_of
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.visible import labels_of
from train.evaluation.metrics import (
    LIMIT,
    Array,
    Report,
    VisibilityFigures,
    group_nme,
    inter_ocular,
    inter_pupil,
    mahalanobis,
    point_errors,
    report,
    visibility_figures,
)
from train.evaluation.readers import DecoderName, Flip
from train.samples.augment import at_pixels

SHARES: Final = (0.5, 0.9, 0.95)
"""Shares of the true points that the ellipses of `Predictions.coverage` should hold."""
JITTER: Final = 1e-4
"""Crop pixels squared, far below any error, added to covariances so that they can be inverted."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A network's predictions of a set of faces, and the annotated points, all in crop pixels."""

    decoded: Mapping[DecoderName, Decoded]
    """By k, or by a decoder's name: points [faces, P, 2], scores [faces, P], covariances [faces, P, 2, 2], calibrated
    as the codec says."""
    truth: Array
    """[faces, P, 2], NaN where a point is not annotated"""
    matrices: Array
    """[faces, 2, 3] from image pixels to crop pixels"""
    faces: Sequence[AnnotatedFace]
    layout: PointLayout = WFLW98
    boxes: BoxKind = "P2"
    """The kind of boxes that the crops are centred on."""
    flip: Flip | None = None
    """What was averaged over every crop and its mirror image; None: nothing."""
    covered: Sequence[NDArray[np.bool_]] | None = None
    """[H, W] of each face, the pixels of its crop that show something pasted over it; None: nothing is."""
    plausibility: Plausibility | None = None
    """Of the faces, where the network states it: see `landmarks.uncertainty.Plausibility`."""
    cut: Mapping[DecoderName, NDArray[np.bool_]] = field(default_factory=dict)
    """[faces] by decoder, whether the picture's edge cuts each face as it was found; without a decoder: none."""

    def lengths(self, norm: Norm) -> Array:
        """The lengths [faces] that errors are divided by, in crop pixels.

        The box is the data set's (P2), whichever boxes the crops are centred on. Raises ValueError where the layout
        has no such length.
        """
        if norm == "inter_ocular":
            return inter_ocular(self.truth, self.layout)
        if norm == "inter_pupil":
            return inter_pupil(self.truth, self.layout)
        if norm in ("box", "tight_box"):
            boxes = [face.box if norm == "box" else face.tight_box for face in self.faces]
            lengths = size_of(np.array(boxes))
        else:
            lengths = np.array([face.size for face in self.faces], np.float64)
        scales: Array = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))
        return lengths * scales

    def errors(self, k: DecoderName, norm: Norm | None = None) -> Array:
        """Normalised point errors [faces, P]; they are the same in the image, as a crop is a similarity transform."""
        lengths = self.lengths(norm or self.layout.norm)
        return point_errors(self.decoded[k].points.astype(np.float64), self.truth, lengths)

    def report(self, k: DecoderName, norm: Norm | None = None) -> Report:
        """The figures of one decoder, normalised as the layout's published figures are."""
        return report(self.errors(k, norm))

    def by_subset(self, k: DecoderName, norm: Norm | None = None) -> dict[str, Report]:
        """The figures of each subset that the faces belong to, by its name."""
        errors = self.errors(k, norm)
        names = sorted(set().union(*(face.subsets for face in self.faces)))
        return {name: report(errors[[name in face.subsets for face in self.faces]]) for name in names}

    def hand_placed(self, k: DecoderName) -> dict[str, float]:
        """NME in percent of the root of the area of the points' box, by subset, of the points that people placed.

        They are those of weight 1, of faces some of whose points have less.
        """
        errors = self.errors(k, "tight_box")
        by_subset: dict[str, list[float]] = {}
        for face, row in zip(self.faces, errors, strict=True):
            placed = face.point_weights == 1
            if placed.any() and not placed.all():
                for name in face.subsets:
                    by_subset.setdefault(name, []).append(float(np.nanmean(row[placed])))
        return {name: 100 * float(np.mean(values)) for name, values in sorted(by_subset.items())}

    def by_group(self, k: DecoderName) -> dict[str, float | None]:
        """NME in percent of each group of the layout; None where nobody annotated it."""
        errors = self.errors(k)
        return {name: group_nme(errors, group) for name, group in self.layout.groups.items()}

    def image_points(self, k: DecoderName) -> Array:
        """Points [faces, P, 2] in image pixels."""
        pairs = zip(self.matrices, self.decoded[k].points, strict=True)
        return np.stack([transform_points(invert(matrix), points) for matrix, points in pairs])

    def distances(self, k: DecoderName) -> Array:
        """Squared Mahalanobis distances [faces, P] of the errors under the covariances, NaN where not annotated."""
        errors = self.decoded[k].points.astype(np.float64) - self.truth
        # the second moments of a map with a single active cell are zero, which an uncalibrated codec leaves as they are
        return mahalanobis(errors, self.decoded[k].covariances + JITTER * np.eye(2))

    def shares(self, k: DecoderName, freedom: Mapping[str, float]) -> Array:
        """The share of errors that should be smaller than each error: [faces, P], from 0 to 1.

        The shares of a calibrated network are uniformly distributed. `freedom`: degrees of freedom by group; a group
        without an entry counts as Gaussian. NaN where a point is not annotated.
        """
        shares = self.distances(k)
        for name, group in self.layout.groups.items():
            shares[:, group] = share_within(shares[:, group], freedom.get(name, GAUSSIAN))
        return shares

    def coverage(self, k: DecoderName, freedom: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Percentage of true points within the ellipses that should hold each of SHARES, of all points and by group."""
        shares = self.shares(k, freedom)
        groups = {"all": tuple(range(self.layout.points)), **self.layout.groups}
        by_group = {name: shares[:, group][~np.isnan(shares[:, group])] for name, group in groups.items()}
        return {
            name: {f"{share:g}": 100 * float((values <= share).mean()) for share in SHARES}
            for name, values in by_group.items()
            if values.size
        }

    def scores(self, k: DecoderName) -> Array:
        """The score of each face as the service answers it: [faces], from 0 to 1."""
        scorer = FaceScorer(self.layout, self.plausibility)
        decoded = self.decoded[k]
        return np.asarray(scorer(decoded.points, decoded.covariances, self.cut.get(k)), np.float64)

    def visibility(self, k: DecoderName) -> VisibilityFigures | None:
        """The figures of the points whose visibility is known; None where the network does not state it."""
        stated = self.decoded[k].visibility
        if not stated.shape[1]:
            return None
        labels = [labels_of(face, self.layout) for face in self.faces]
        seen, known = (np.stack(each) for each in zip(*labels, strict=True))
        for i, mask in enumerate(self.covered or ()):
            inside, covered = at_pixels(mask, self.truth[i])
            seen[i] &= ~covered
            known[i] &= inside
        return visibility_figures(stated[known].astype(np.float64), seen[known])

    def failures(self, k: DecoderName) -> NDArray[np.bool_]:
        """Whether the NME of each face exceeds 10 %: [faces]."""
        failed: NDArray[np.bool_] = np.nanmean(self.errors(k), axis=1) > LIMIT
        return failed
