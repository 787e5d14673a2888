"""Evaluation with the decoder that is served: the error reported is the error a caller gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.codec import CodecSpec, Decoded
from landmarks.crop import Crop, Matrix, invert, transform_points
from landmarks.layout import WFLW98, Norm, PointLayout
from landmarks.uncertainty import GAUSSIAN, face_score, share_within
from train.datasets.boxes import size_of
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.layouts import COCO17, MPII16
from train.errors import TrainingError
from train.evaluation.metrics import (
    LIMIT,
    Array,
    Report,
    auroc,
    group_nme,
    inter_ocular,
    inter_pupil,
    mahalanobis,
    oks,
    pckh,
    point_errors,
    report,
)
from train.evaluation.readers import DecoderName, Network, make_decoder, make_flip_averaging_decoder
from train.objectives import Objective
from train.samples.corruptions import Cropper, crop_face
from train.samples.image_cache import ImageCache

SHARES: Final = (0.5, 0.9, 0.95)
"""The ellipses that are judged, by the share of the true points that they should hold."""
HAIR: Final = 1e-4
"""Crop pixels squared, far below any error: keeps a covariance invertible."""

BATCH: Final = 16
"""Crops that are made before a network sees them."""

__all__ = ["DecoderName", "Network", "Predictions", "check_points", "predict", "summary", "torch_network"]


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

    decoded: Mapping[DecoderName, Decoded]
    """By k, or by a decoder's name: points [faces, P, 2], scores [faces, P], covariances [faces, P, 2, 2], calibrated
    as the codec says."""
    truth: Array
    """[faces, P, 2], NaN where a point is not annotated"""
    matrices: Array
    """[faces, 2, 3] from the pixels of the photographs to those of the crops"""
    faces: Sequence[AnnotatedFace]
    layout: PointLayout = WFLW98
    boxes: BoxKind = "P2"
    """The boxes that the crops were made from."""
    flip: bool = False
    """Whether every crop was read together with its mirror image."""

    def lengths(self, norm: Norm) -> Array:
        """What errors are divided by, in crop pixels: [faces]. Raises ValueError where the layout has no such length.

        The box is the data set's (P2), whichever boxes the crops were made from.
        """
        if norm == "inter_ocular":
            return inter_ocular(self.truth, self.layout)
        if norm == "inter_pupil":
            return inter_pupil(self.truth, self.layout)
        if norm == "box":
            lengths = size_of(np.array([face.box for face in self.faces]))
        else:
            lengths = np.array([face.size for face in self.faces], np.float64)
        scales: Array = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))
        return lengths * scales

    def errors(self, k: DecoderName, norm: Norm | None = None) -> Array:
        """Normalised point errors [faces, P]; a crop is a similarity, so they are those of the image."""
        lengths = self.lengths(norm or self.layout.norm)
        return point_errors(self.decoded[k].points.astype(np.float64), self.truth, lengths)

    def report(self, k: DecoderName, norm: Norm | None = None) -> Report:
        """The figures of one decoder, normalised as the layout's published figures are."""
        return report(self.errors(k, norm))

    def by_subset(self, k: DecoderName) -> dict[str, Report]:
        """The figures of each subset that the faces belong to, by its name."""
        errors = self.errors(k)
        names = sorted(set().union(*(face.subsets for face in self.faces)))
        return {name: report(errors[[name in face.subsets for face in self.faces]]) for name in names}

    def by_group(self, k: DecoderName) -> dict[str, float | None]:
        """NME in percent of each group of the layout; None where nobody annotated it."""
        errors = self.errors(k)
        return {name: group_nme(errors, group) for name, group in self.layout.groups.items()}

    def image_points(self, k: DecoderName) -> Array:
        """Points [faces, P, 2] in the pixels of the photographs."""
        pairs = zip(self.matrices, self.decoded[k].points, strict=True)
        return np.stack([transform_points(invert(matrix), points) for matrix, points in pairs])

    def distances(self, k: DecoderName) -> Array:
        """Squared Mahalanobis distances [faces, P] of the errors under the covariances, NaN without a true point."""
        errors = self.decoded[k].points.astype(np.float64) - self.truth
        # a map of one cell has no extent, and an uncalibrated codec leaves it so
        return mahalanobis(errors, self.decoded[k].covariances + HAIR * np.eye(2))

    def shares(self, k: DecoderName, freedom: Mapping[str, float]) -> Array:
        """[faces, P] the share of the errors that should be smaller than each: even from 0 to 1, if all is calibrated.

        `freedom`: degrees of freedom by group; a group that is not there has a Gaussian's. NaN without a true point.
        """
        shares = self.distances(k)
        for name, group in self.layout.groups.items():
            shares[:, group] = share_within(shares[:, group], freedom.get(name, GAUSSIAN))
        return shares

    def coverage(self, k: DecoderName, freedom: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Percentage of the true points within the ellipses that should hold each of SHARES: of all, and by group."""
        shares = self.shares(k, freedom)
        groups = {"all": tuple(range(self.layout.points)), **self.layout.groups}
        found = {name: shares[:, group][~np.isnan(shares[:, group])] for name, group in groups.items()}
        return {
            name: {f"{share:g}": 100 * float((values <= share).mean()) for share in SHARES}
            for name, values in found.items()
            if values.size
        }

    def scores(self, k: DecoderName) -> Array:
        """[faces] the score that the service answers for each face."""
        return np.asarray(face_score(self.decoded[k].points, self.decoded[k].covariances), np.float64)

    def failures(self, k: DecoderName) -> NDArray[np.bool_]:
        """[faces] whether a face's NME exceeds 10 %."""
        failed: NDArray[np.bool_] = np.nanmean(self.errors(k), axis=1) > LIMIT
        return failed


def crops_of(
    faces: Sequence[AnnotatedFace],
    crop_scale: float,
    input_size: int,
    boxes: BoxKind,
    photos: ImageCache,
    cut: Cropper = crop_face,
) -> Iterator[tuple[NDArray[np.uint8], list[Matrix]]]:
    """Batches of crops [N, S, S, 3] and their matrices from the photograph to the crop."""
    for start in range(0, len(faces), BATCH):
        crops, matrices = [], []
        for face in faces[start : start + BATCH]:
            crop = Crop.around(face.box_of(boxes), crop_scale, input_size)
            pixels, matrix = cut(photos.load(face.image), crop)
            crops.append(pixels)
            matrices.append(matrix)
        yield np.stack(crops), matrices


def predict(
    network: Network,
    faces: Sequence[AnnotatedFace],
    codec: CodecSpec,
    crop_scale: float,
    decoders: Sequence[DecoderName],
    boxes: BoxKind = "P2",
    photos: ImageCache | None = None,
    progress: bool = False,
    layout: PointLayout = WFLW98,
    correction: float = 0.0,
    flip: bool = False,
    cut: Cropper = crop_face,
    label: str = "evaluate",
) -> Predictions:
    """Runs the network over the faces once, or twice to average with their mirror images, with every decoder.

    `correction`, in cells, is that of the quantizer the network was trained with: see `train.objectives.correction`.
    Raises TrainingError when there are no faces, CodecError for an unknown decoder.
    """
    if not faces:
        raise TrainingError("there are no faces to evaluate in this split")
    if flip:
        read = make_flip_averaging_decoder(network, codec, decoders, layout, correction)
    else:
        read = make_decoder(network, codec, decoders, correction)
    parts: dict[DecoderName, list[Decoded]] = {decoder: [] for decoder in decoders}
    matrices: list[Matrix] = []
    batches = crops_of(faces, crop_scale, codec.input_size, boxes, photos or ImageCache(limit=0), cut)
    with tqdm(total=len(faces), desc=f"{label} {boxes}", unit="face", disable=not progress, leave=False) as bar:
        for crops, batch in batches:
            for decoder, decoded in read(crops).items():
                parts[decoder].append(decoded)
            matrices += batch
            bar.update(len(batch))
    joined = {
        key: Decoded(*(np.concatenate(column) for column in zip(*rows, strict=True))) for key, rows in parts.items()
    }
    truth = [transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)]
    return Predictions(joined, np.stack(truth), np.stack(matrices), faces, layout, boxes, flip)


def check_points(codec: CodecSpec, layout: PointLayout) -> None:
    """Raises TrainingError unless a network finds the points that a data set has."""
    if codec.points != layout.points:
        raise TrainingError(f"the network finds {codec.points} points, but {layout.name} has {layout.points}")


def summary(
    predictions: Predictions, decoders: Sequence[DecoderName], served: int, freedom: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Figures by decoder; for the served k, and for decoders by name, also by normalisation, subset and group.

    Then how well the served k's covariances hold, `freedom` being the degrees of freedom of the errors by group, and
    how well the face's score tells the faces that failed.
    """
    named = [name for name in decoders if isinstance(name, str)]
    return {
        "faces": len(predictions.truth),
        "boxes": predictions.boxes,
        "flip_averaged": predictions.flip,
        "normalised_by": predictions.layout.norm,
        "by_k": {str(k): asdict(predictions.report(k)) for k in decoders if isinstance(k, int)},
        **details(predictions, served),
        "by_decoder": {name: asdict(predictions.report(name)) | details(predictions, name) for name in named},
        "coverage": predictions.coverage(served, freedom or {}),
        "auroc": auroc(predictions.scores(served), predictions.failures(served)),
    }


def details(predictions: Predictions, k: DecoderName) -> dict[str, Any]:
    """One decoder's figures by normalisation, subset and group, and those that only bodies have."""
    return {
        "by_norm": {norm: asdict(predictions.report(k, norm)) for norm in norms(predictions.layout)},
        "by_subset": {name: asdict(figures) for name, figures in predictions.by_subset(k).items()},
        "by_group": predictions.by_group(k),
        **body_figures(predictions, k),
    }


def norms(layout: PointLayout) -> list[Norm]:
    """The lengths by which a layout's errors can be divided, its own first."""
    others: list[Norm] = ["box"]
    others += ["inter_ocular"] if layout.outer_eye_corners else []
    others += ["inter_pupil"] if layout.pupils else []
    return [layout.norm, *(norm for norm in others if norm != layout.norm)]


def body_figures(predictions: Predictions, k: DecoderName) -> dict[str, Any]:
    """PCKh for the joints of MPII, the mean similarity for those of COCO; nothing for faces."""
    if predictions.layout == MPII16:
        return {"pckh": {str(share): pckh(predictions.errors(k), share) for share in (0.5, 0.1)}}
    if predictions.layout == COCO17:
        return {"mean_oks": float(oks(predictions.errors(k)).mean())}
    return {}
