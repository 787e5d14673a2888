"""Fits the shape refinement of a trained network, its last layer (`train.backbones.refinement`), in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.crop import transform_points
from train.backbones.refinement import POSES, Moments, RefinedNetwork, ShapeRefinement, complex_mul, moments
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.training_data import TrainingData
from train.errors import TrainingError
from train.evaluation.predict import crops_of, predict
from train.evaluation.predictions import Predictions
from train.evaluation.summary import summary
from train.evaluation.trained import load_run, open_run
from train.objectives import correction, objective_of
from train.runs.derived import write_derived_run
from train.runs.files import write_json
from train.runs.folder import REPORT_FILE, require_no_run
from train.samples.image_cache import ImageCache

RIDGE: Final = 0.3
"""Added to the diagonal of the normal equations, in which every face counts one. The best of 0.03 to 3 on held-out
faces."""
MIN_VARIANCE: Final = 1e-6
"""Of a pose component, in squared sizes of the face; directions in which faces differ by less are not amplified."""
LARGE_ERROR: Final = 0.08
"""Root mean square of a face's errors, in sizes of the face, from which its weight falls in inverse proportion."""


def fit_shape(folder: Path, data: TrainingData, test: Sequence[AnnotatedFace], out: Path) -> Predictions:
    """Turns a finished run into another one in the folder `out`: its network with the layer fitted to its errors in
    `data`.

    Returns the predictions for the test faces. Raises TrainingError when `out` holds a run, when the run has the layer,
    or when its maps are not logits over cells.
    """
    config, network = load_run(folder)
    if config.shape_refinement:
        raise TrainingError(f"{folder} has the layer already: give the run that it was derived from")
    if config.objective != "cells":
        raise TrainingError(f"{folder} has the objective {config.objective!r}: the layer is for that of 'cells'")
    require_no_run(out)
    refined = RefinedNetwork(network, data.layout.points).eval()
    found, truth, weights = measure(network, config, data)
    fit_refinement(refined.tilt, found, truth, weights, data.layout.flip)
    fitted = config.model_copy(update={"shape_refinement": True})
    write_derived_run(folder, out, fitted, refined, data)
    model, ks = open_run(out), sorted({1, config.topk})
    predictions = predict(
        model.network,
        test,
        model.codec,
        model.crop_scale,
        ks,
        progress=True,
        layout=data.layout,
        correction=model.correction,
    )
    write_json(out / REPORT_FILE, summary(predictions, ks, config.topk))
    return predictions


@torch.inference_mode()
def measure(network: nn.Module, config: Config, data: TrainingData) -> tuple[Moments, Tensor, Tensor]:
    """The moments of the network's maps [N, P], the means they should have [N, P, 2], and the faces' weights [N].

    The means are the points less what a decoder adds for the quantizer (see `train.objectives.correction`), in the
    coordinates of Moments. A face weighs as much as its points do on average, and one of an extra data set as much less
    as an epoch of training shows of them.
    """
    size, added = config.stages[-1].input_size, correction(objective_of(config).quantizer)
    codec = config.codec(size, data.layout.points)
    extent = np.array([codec.columns, codec.rows])
    measured: list[Moments] = []
    truth: list[Tensor] = []
    with tqdm(total=len(data.every_face), desc="fit-shape", unit="face", leave=False) as bar:
        for crops, matrices in crops_of(data.every_face, config.crop_scale, size, config.boxes, ImageCache(limit=0)):
            measured.append(moments(network(torch.from_numpy(crops))))
            for matrix, face in zip(matrices, data.every_face[len(truth) :], strict=False):
                cells = codec.to_cells(transform_points(matrix, face.points)) - added
                truth.append(torch.from_numpy((2 * cells + 1 - extent) / extent.max()))
            bar.update(len(crops))
    shares = [1.0, *config.extra_fractions(len(data.extra))]
    weights = torch.tensor(
        [
            share * face.point_weights.mean()
            for share, faces in zip(shares, [data.faces, *data.extra], strict=True)
            for face in faces
        ]
    )
    return Moments(*(torch.cat(each) for each in zip(*measured, strict=True))), torch.stack(truth).float(), weights


@torch.no_grad()
def fit_refinement(layer: ShapeRefinement, found: Moments, truth: Tensor, weights: Tensor, flip: Sequence[int]) -> None:
    """Sets the layer to the ridge regression of the errors on the features, over the faces and their mirror images.

    Takes what `measure` returns; `flip` is that of the layout. Points that are not annotated (NaN) count as found
    without error.
    """
    layer.shape.copy_(mean_shape(truth, flip))
    features, to_upright = layer.features(found)
    errors = torch.cat(complex_mul(truth[..., 0] - found.x, truth[..., 1] - found.y, to_upright), dim=1).nan_to_num()
    features, errors = (torch.cat([each, mirrored(each, flip)]) for each in (features, errors))
    weight = weights.double().repeat(2).unsqueeze(1)
    fit_poses(layer, features, weight)
    x, y = layer.with_pose(features).double(), errors.double()
    weight = weight * (LARGE_ERROR / (y**2).mean(dim=1, keepdim=True).sqrt()).clamp(max=1)
    mean_x, mean_y = ((weight * each).sum(dim=0) / weight.sum() for each in (x, y))
    x, y = x - mean_x, y - mean_y
    ridge = RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve((weight * x).T @ x + ridge, (weight * x).T @ y)
    layer.regression.weight.copy_(slopes.T)
    layer.regression.bias.copy_(mean_y - mean_x @ slopes)


def fit_poses(layer: ShapeRefinement, features: Tensor, weight: Tensor) -> None:
    """Sets the layer's pose components to the first principal components of the positions among features [N, 3 P].

    weight [N, 1]: of the faces.
    """
    positions = features[:, : len(layer.middle)].double()
    mean = (weight * positions).sum(dim=0) / weight.sum()
    offsets = positions - mean
    variances, directions = torch.linalg.eigh((weight * offsets).T @ offsets / weight.sum())
    layer.middle.copy_(mean)
    layer.directions.copy_((directions / variances.clamp(min=MIN_VARIANCE).sqrt())[:, -POSES:])


def mean_shape(points: Tensor, flip: Sequence[int]) -> Tensor:
    """[2, P] the mean of faces [N, P, 2], each centered and of unit size; symmetric. Faces with NaN are left out."""
    complete = points[~points.isnan().flatten(1).any(dim=1)]
    centered = complete - complete.mean(dim=1, keepdim=True)
    mean = (centered / (centered**2).sum(dim=2, keepdim=True).mean(dim=1, keepdim=True).sqrt()).mean(dim=0)
    return (0.5 * (mean + mean[list(flip)] * torch.tensor([-1.0, 1.0]))).T


def mirrored(rows: Tensor, flip: Sequence[int]) -> Tensor:
    """Rows [N, 2 P] of x and y, or [N, 3 P] of x, y and spreads -> the same of the mirrored faces."""
    parts = rows.view(len(rows), -1, len(flip))[:, :, list(flip)]
    return torch.cat([-parts[:, :1], parts[:, 1:]], dim=1).flatten(1)
