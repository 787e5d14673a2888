"""Networks that give coordinates rather than heatmaps, in the form of PFLD's published ONNX files: teachers and peers.

Input float32 [1, 3, S, S], BGR in [0, 1]; output 2 P numbers, x and y of each point, in [0, 1] of the crop. The crop is
a square about the tight box of the points, of 1.2 times its longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from landmarks.codec import Decoded
from landmarks.crop import Crop, invert, transform_points, warp
from landmarks.layout import PointLayout
from landmarks.size import Size
from train.datasets.face import AnnotatedFace
from train.datasets.image import RgbImage
from train.errors import TrainingError
from train.evaluation.predictions import Predictions
from train.export.onnx_file import open_session
from train.samples.image_cache import ImageCache

Array = NDArray[np.float64]

SCALES: Final = (1.15, 1.25)
"""Sides of the crops, in longer sides of the tight box, whose answers are averaged."""


MIN_EXTENT: Final = 1.0
"""Image pixels, by which the spread of points that coincide is divided."""
REGRESSOR: Final = "regressor"
"""What stands in the place of a decoder's name in the predictions of these networks."""


class Found(NamedTuple):
    """The mean of several answers for one face."""

    points: Array
    """[P, 2] image pixels"""
    spread: float
    """Mean distance of an answer's points from the mean, divided by the root of the area of their box."""


class Regressor:
    """A network of coordinates in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, layout: PointLayout) -> None:
        """Raises TrainingError when the file cannot be run, or is not such a network for the layout's points."""
        self._session = open_session(path)
        self._layout = layout
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape: list[Any] = inputs[0].shape
        if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[3], int) or shape[2] != shape[3]:
            raise TrainingError(f"{path}: expected an input [1, 3, S, S], found {shape}")
        self._input = inputs[0].name
        self.size = Size.square(shape[3])
        """Of the crop."""
        self._output = next(
            (each.name for each in outputs if each.shape and each.shape[-1] == 2 * layout.points), outputs[0].name
        )

    def answers(self, crop: RgbImage) -> Iterator[Array]:
        """RGB uint8 [S, S, 3] -> points [P, 2] in crop pixels: of the crop, then of its mirror image, mirrored back."""
        yield self._points(crop)
        yield (self._points(crop[:, ::-1]) * [-1, 1] + [self.size.width, 0])[list(self._layout.flip)]

    def _points(self, crop: RgbImage) -> Array:
        pixels = np.ascontiguousarray(crop[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / 255
        (found,) = self._session.run([self._output], {self._input: pixels})
        return np.asarray(found, np.float64).reshape(self._layout.points, 2) * self.size.width


def find(regressors: Sequence[Regressor], image: RgbImage, box: Array) -> Found:
    """The mean answer of all regressors for crops of SCALES about a tight xyxy `box`, and for their mirror images."""
    answers = []
    for regressor in regressors:
        for scale in SCALES:
            matrix = Crop.around(box, scale, regressor.size).image_to_crop()
            found = regressor.answers(warp(image, matrix, regressor.size))
            answers += [transform_points(invert(matrix), points) for points in found]
    mean = np.mean(answers, axis=0)
    distance = np.linalg.norm(np.array(answers) - mean, axis=2).mean()
    extent = np.sqrt(np.ptp(mean, axis=0).prod())
    return Found(mean, float(distance / max(extent, MIN_EXTENT)))


def find_all(
    regressors: Sequence[Regressor], faces: Sequence[AnnotatedFace], images: ImageCache | None = None
) -> Iterator[Found]:
    """What is found on each face, about the tight box of its annotated points."""
    images = images or ImageCache(limit=0)
    return (find(regressors, images.load(face.image), face.tight_box) for face in faces)


def predict_coordinates(
    regressors: Sequence[Regressor], faces: Sequence[AnnotatedFace], layout: PointLayout
) -> Predictions:
    """What is found on each face as predictions, under REGRESSOR and without covariances, in crops about tight boxes.

    Raises TrainingError when there are no faces.
    """
    if not faces:
        raise TrainingError("there are no faces to evaluate in this split")
    size = regressors[0].size
    matrices = [Crop.around(face.tight_box, SCALES[0], size).image_to_crop() for face in faces]
    every = tqdm(find_all(regressors, faces), total=len(faces), desc="evaluate P1", unit="face", leave=False)
    points = [transform_points(matrix, found.points) for matrix, found in zip(matrices, every, strict=True)]
    truth = [transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)]
    count = len(faces), layout.points
    decoded = Decoded(
        np.stack(points).astype(np.float32),
        np.zeros(count, np.float32),
        np.zeros((*count, 2, 2), np.float32),
        np.zeros((len(faces), 0), np.float32),
    )
    return Predictions({REGRESSOR: decoded}, np.stack(truth), np.stack(matrices), faces, layout, "P1")
