"""Evaluation with the decoder that is served: the error reported is the error a caller gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.codec import CodecSpec, Decoded, decode
from landmarks.crop import Crop, Matrix, invert, transform_points, warp
from train.codecs import Objective
from train.datasets.face import BoxKind, Face
from train.errors import TrainingError
from train.layouts import COCO17, MPII16, WFLW98, Norm, PointLayout
from train.metrics import (
    Array,
    Calibration,
    Report,
    box_size,
    calibrate,
    group_nme,
    inter_ocular,
    inter_pupil,
    mahalanobis,
    oks,
    pckh,
    point_errors,
    report,
)
from train.samples import PhotoCache

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Crops uint8 [N, S, S, 3] -> logits [N, P, cells, cells]."""


def torch_network(model: nn.Module, objective: Objective) -> Network:
    """A torch model as a Network, in evaluation mode and float32; its maps as logarithms of activations."""
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: Tensor = model(torch.from_numpy(crops).to(device))
        return objective.log_activation(logits.float().cpu().numpy())

    return run


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network makes of a set of faces, in crop pixels, beside the truth."""

    decoded: Mapping[int, Decoded]
    """By k: points [faces, P, 2], scores [faces, P], uncalibrated covariances [faces, P, 2, 2]."""
    truth: Array
    """[faces, P, 2], NaN where a point is not annotated"""
    matrices: Array
    """[faces, 2, 3] from the pixels of the photographs to those of the crops"""
    faces: Sequence[Face]
    layout: PointLayout = WFLW98

    def lengths(self, norm: Norm) -> Array:
        """What errors are divided by, in crop pixels: [faces]. Raises ValueError where the layout has no such length.

        The box is the data set's (P2), whichever boxes the crops were made from.
        """
        if norm == "inter_ocular":
            return inter_ocular(self.truth, self.layout)
        if norm == "inter_pupil":
            return inter_pupil(self.truth, self.layout)
        if norm == "box":
            lengths = box_size(np.array([face.box for face in self.faces]))
        else:
            lengths = np.array([face.size for face in self.faces], np.float64)
        scales: Array = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))
        return lengths * scales

    def errors(self, k: int, norm: Norm | None = None) -> Array:
        """Normalised point errors [faces, P]; a crop is a similarity, so they are those of the image."""
        lengths = self.lengths(norm or self.layout.norm)
        return point_errors(self.decoded[k].points.astype(np.float64), self.truth, lengths)

    def report(self, k: int, norm: Norm | None = None) -> Report:
        """The figures with the decoder averaging k cells, normalised as the layout's published figures are."""
        return report(self.errors(k, norm))

    def by_subset(self, k: int) -> dict[str, Report]:
        """The figures of each subset that the faces belong to, by its name."""
        errors = self.errors(k)
        names = sorted(set().union(*(face.subsets for face in self.faces)))
        return {name: report(errors[[name in face.subsets for face in self.faces]]) for name in names}

    def by_group(self, k: int) -> dict[str, float | None]:
        """NME in percent of each group of the layout; None where nobody annotated it."""
        errors = self.errors(k)
        return {name: group_nme(errors, group) for name, group in self.layout.groups.items()}

    def image_points(self, k: int) -> Array:
        """Points [faces, P, 2] in the pixels of the photographs."""
        pairs = zip(self.matrices, self.decoded[k].points, strict=True)
        return np.stack([transform_points(invert(matrix), points) for matrix, points in pairs])

    def calibration(self, k: int) -> Calibration:
        """The covariance calibration for k, over every second face.

        The other half is left for judging it.
        """
        return calibrate(*self._annotated(k, slice(0, None, 2)))

    def coverage(self, k: int, calibration: Calibration, share: float) -> float:
        """How many of the other half's points lie in the ellipse that should hold that share of them."""
        errors, moments = self._annotated(k, slice(1, None, 2))
        distance = mahalanobis(errors, calibration.apply(moments))
        # the squared distance of a Gaussian in the plane is exponential with mean 2
        return float((distance <= -2 * np.log(1 - share)).mean())

    def _annotated(self, k: int, half: slice) -> tuple[Array, Array]:
        """Errors [n, 2] and second moments [n, 2, 2] of the annotated points of some faces, in crop pixels."""
        errors = (self.decoded[k].points.astype(np.float64) - self.truth)[half].reshape(-1, 2)
        moments = self.decoded[k].covariances[half].astype(np.float64).reshape(-1, 2, 2)
        known = ~np.isnan(errors[:, 0])
        return errors[known], moments[known]


def crops_of(
    faces: Sequence[Face], crop_scale: float, input_size: int, boxes: BoxKind, photos: PhotoCache, batch: int = 16
) -> Iterator[tuple[NDArray[np.uint8], list[Matrix]]]:
    """Batches of plain crops [N, S, S, 3] and their matrices from the photograph to the crop."""
    for start in range(0, len(faces), batch):
        crops, matrices = [], []
        for face in faces[start : start + batch]:
            matrix = Crop.around(face.box_of(boxes), crop_scale, input_size).image_to_crop()
            crops.append(warp(photos.load(face.image), matrix, input_size))
            matrices.append(matrix)
        yield np.stack(crops), matrices


def predict(
    network: Network,
    faces: Sequence[Face],
    codec: CodecSpec,
    crop_scale: float,
    ks: Sequence[int],
    boxes: BoxKind = "P2",
    photos: PhotoCache | None = None,
    progress: bool = False,
    layout: PointLayout = WFLW98,
) -> Predictions:
    """Runs the network over the faces once and decodes every heatmap with each k."""
    parts: dict[int, list[Decoded]] = {k: [] for k in ks}
    matrices: list[Matrix] = []
    batches = crops_of(faces, crop_scale, codec.input_size, boxes, photos or PhotoCache(limit=0))
    with tqdm(total=len(faces), desc=f"evaluate {boxes}", unit="face", disable=not progress, leave=False) as bar:
        for crops, batch in batches:
            heatmaps = network(crops)
            for k in ks:
                parts[k].append(decode(heatmaps, codec, k))
            matrices += batch
            bar.update(len(batch))
    decoded = {k: Decoded(*(np.concatenate(column) for column in zip(*parts[k], strict=True))) for k in ks}
    truth = [transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)]
    return Predictions(decoded, np.stack(truth), np.stack(matrices), faces, layout)


def check_points(codec: CodecSpec, layout: PointLayout) -> None:
    """Raises TrainingError unless a network finds the points that a data set has."""
    if codec.points != layout.points:
        raise TrainingError(f"the network finds {codec.points} points, but {layout.name} has {layout.points}")


def summary(predictions: Predictions, ks: Sequence[int], served: int) -> dict[str, Any]:
    """Figures per k; for the served k also by normalisation, subset and group of points.

    Then the covariance calibration of the served k, and how well it holds on the faces not fitted.
    """
    calibration = predictions.calibration(served)
    return {
        "faces": len(predictions.truth),
        "normalised_by": predictions.layout.norm,
        "by_k": {str(k): asdict(predictions.report(k)) for k in ks},
        "by_norm": {norm: asdict(predictions.report(served, norm)) for norm in norms(predictions.layout)},
        "by_subset": {name: asdict(figures) for name, figures in predictions.by_subset(served).items()},
        "by_group": predictions.by_group(served),
        **body_figures(predictions, served),
        "calibration": asdict(calibration),
        "coverage": {f"{share:.3f}": predictions.coverage(served, calibration, share) for share in (0.5, 0.9)},
    }


def norms(layout: PointLayout) -> list[Norm]:
    """The lengths by which a layout's errors can be divided, its own first."""
    others: list[Norm] = ["box"]
    others += ["inter_ocular"] if layout.eye_corners else []
    others += ["inter_pupil"] if layout.pupils else []
    return [layout.norm, *(norm for norm in others if norm != layout.norm)]


def body_figures(predictions: Predictions, k: int) -> dict[str, Any]:
    """PCKh for the joints of MPII, the mean similarity for those of COCO; nothing for faces."""
    if predictions.layout == MPII16:
        return {"pckh": {str(share): pckh(predictions.errors(k), share) for share in (0.5, 0.1)}}
    if predictions.layout == COCO17:
        return {"mean_oks": float(oks(predictions.errors(k)).mean())}
    return {}
