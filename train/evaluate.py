"""Evaluation with the decoder that is served: the error reported is the error a caller gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.codec import CodecSpec, Decoded, decode
from landmarks.crop import Crop, transform_points, warp
from train.faces import Face
from train.metrics import Array, Calibration, Report, calibrate, mahalanobis, point_errors, report
from train.samples import PhotoCache

BoxKind = Literal["P1", "P2"]
"""P1: the tight box of the true points. P2: a detector's box."""

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Crops uint8 [N, S, S, 3] -> logits [N, 98, cells, cells]."""


def torch_network(model: nn.Module) -> Network:
    """A torch model as a Network, in evaluation mode and float32."""
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: Tensor = model(torch.from_numpy(crops).to(device))
        return logits.float().cpu().numpy()

    return run


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network makes of a set of faces, in crop pixels, beside the truth."""

    decoded: Mapping[int, Decoded]
    """By k: points [faces, 98, 2], scores [faces, 98], uncalibrated covariances [faces, 98, 2, 2]."""
    truth: Array
    """[faces, 98, 2]"""

    def errors(self, k: int) -> Array:
        """Normalised point errors [faces, 98]; a crop is a similarity, so they are those of the image."""
        return point_errors(self.decoded[k].points.astype(np.float64), self.truth)

    def report(self, k: int) -> Report:
        """The figures with the decoder averaging k cells."""
        return report(self.errors(k))

    def calibration(self, k: int) -> Calibration:
        """The covariance calibration for k, over every second face.

        The other half is left for judging it.
        """
        half = slice(None, None, 2)
        errors = (self.decoded[k].points.astype(np.float64) - self.truth)[half].reshape(-1, 2)
        return calibrate(errors, self.decoded[k].covariances[half].astype(np.float64).reshape(-1, 2, 2))

    def coverage(self, k: int, calibration: Calibration, share: float) -> float:
        """How many of the other half's points lie in the ellipse that should hold that share of them."""
        half = slice(1, None, 2)
        errors = (self.decoded[k].points.astype(np.float64) - self.truth)[half].reshape(-1, 2)
        moments = self.decoded[k].covariances[half].astype(np.float64).reshape(-1, 2, 2)
        distance = mahalanobis(errors, calibration.apply(moments))
        # the squared distance of a Gaussian in the plane is exponential with mean 2
        return float((distance <= -2 * np.log(1 - share)).mean())


def crops_of(
    faces: Sequence[Face], crop_scale: float, input_size: int, boxes: BoxKind, photos: PhotoCache, batch: int = 16
) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Batches of plain crops [N, S, S, 3] and their true points [N, 98, 2] in crop pixels."""
    for start in range(0, len(faces), batch):
        crops, points = [], []
        for face in faces[start : start + batch]:
            box = face.tight_box if boxes == "P1" else face.box
            matrix = Crop.around(box, crop_scale, input_size).image_to_crop()
            crops.append(warp(photos.load(face.image), matrix, input_size))
            points.append(transform_points(matrix, face.points))
        yield np.stack(crops), np.stack(points)


def predict(
    network: Network,
    faces: Sequence[Face],
    codec: CodecSpec,
    crop_scale: float,
    ks: Sequence[int],
    boxes: BoxKind = "P2",
    photos: PhotoCache | None = None,
    progress: bool = False,
) -> Predictions:
    """Runs the network over the faces once and decodes every heatmap with each k."""
    parts: dict[int, list[Decoded]] = {k: [] for k in ks}
    truth: list[Array] = []
    batches = crops_of(faces, crop_scale, codec.input_size, boxes, photos or PhotoCache(limit=0))
    with tqdm(total=len(faces), desc=f"evaluate {boxes}", unit="face", disable=not progress, leave=False) as bar:
        for crops, points in batches:
            heatmaps = network(crops)
            for k in ks:
                parts[k].append(decode(heatmaps, codec, k))
            truth.append(points)
            bar.update(len(points))
    decoded = {k: Decoded(*(np.concatenate(column) for column in zip(*parts[k], strict=True))) for k in ks}
    return Predictions(decoded, np.concatenate(truth))


def summary(predictions: Predictions, ks: Sequence[int], served: int) -> dict[str, Any]:
    """Figures per k, the covariance calibration of the served k, and how well it holds on the faces not fitted."""
    calibration = predictions.calibration(served)
    return {
        "faces": len(predictions.truth),
        "by_k": {str(k): asdict(predictions.report(k)) for k in ks},
        "calibration": asdict(calibration),
        "coverage": {f"{share:.3f}": predictions.coverage(served, calibration, share) for share in (0.5, 0.9)},
    }
