"""Fits the last layer of a trained network, `train.backbones.refinement`: what a face's points tell of each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.crop import transform_points
from train.backbones.refinement import POSES, Moments, Shaped, ShapeTilt, moments, times
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.training_data import TrainingData
from train.errors import TrainingError
from train.evaluation.predict import Predictions, crops_of, predict, summary
from train.evaluation.trained import load_run, open_run
from train.objectives import correction, objective_of
from train.runs.files import write_json, write_torch_file
from train.runs.folder import CHECKPOINT_FILE, CONFIG_FILE, DESCRIPTION_FILE, REPORT_FILE, require_no_run
from train.runs.record import describe
from train.samples.image_cache import ImageCache

RIDGE: Final = 0.3
"""Added to the diagonal of the normal equations, faces counting one each. Of 0.03 to 3 the best on held-out faces."""
LEAST_VARIANCE: Final = 1e-6
"""Of a pose, in squared sizes of the face; where faces differ by less, they have no pose."""
LARGE: Final = 0.08
"""Root mean square of a face's errors, in sizes of the face, beyond which it counts less in proportion."""


def fit_shape(folder: Path, data: TrainingData, test: Sequence[AnnotatedFace], out: Path) -> Predictions:
    """Makes of a run another one in the folder `out`: its network, and the layer fitted to its errors in `data`.

    Returns what that finds in the test faces. Raises TrainingError when `out` holds a run, when the run has the layer,
    or when its maps are not logits over cells.
    """
    config, network = load_run(folder)
    if config.shape_refinement:
        raise TrainingError(f"{folder} has the layer already: give the run that it was made from")
    if config.objective != "cells":
        raise TrainingError(f"{folder} has the objective {config.objective!r}: the layer is for that of 'cells'")
    require_no_run(out)
    shaped = Shaped(network, data.layout.points).eval()
    found, truth, weights = observed(network, config, data)
    solve(shaped.tilt, found, truth, weights, data.layout.flip)
    fitted = config.model_copy(update={"shape_refinement": True})
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / CONFIG_FILE, fitted.model_dump(mode="json"))
    origin = json.loads((folder / DESCRIPTION_FILE).read_text())["run_id"]
    write_json(out / DESCRIPTION_FILE, describe(fitted, data.names, data.fingerprint, origin, **data.facts))
    state = {"config": fitted.model_dump(mode="json"), "epoch": config.epochs, "model": shaped.state_dict()}
    write_torch_file(out / CHECKPOINT_FILE, state)
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
def observed(network: nn.Module, config: Config, data: TrainingData) -> tuple[Moments, Tensor, Tensor]:
    """The maps' moments, where their middles should lie [N, P, 2], the crop from -1 to 1, and the faces' weights [N].

    They should lie short of the points by what a decoder adds for the quantizer: see `train.objectives.correction`.
    Further data sets weigh as much as an epoch of training shows of them.
    """
    size, added = config.stages[-1].input_size, correction(objective_of(config).quantizer)
    codec = config.codec(size, data.layout.points)
    seen: list[Moments] = []
    truth: list[Tensor] = []
    with tqdm(total=len(data.every_face), desc="fit-shape", unit="face", leave=False) as bar:
        for crops, matrices in crops_of(data.every_face, config.crop_scale, size, config.boxes, ImageCache(limit=0)):
            seen.append(moments(network(torch.from_numpy(crops))))
            for matrix, face in zip(matrices, data.every_face[len(truth) :], strict=False):
                cells = codec.to_cells(transform_points(matrix, face.points)) - added
                truth.append(torch.from_numpy((2 * cells + 1) / codec.cells - 1))
            bar.update(len(crops))
    weights = torch.tensor([1.0] * len(data.faces) + [config.extra_data_fraction] * len(data.extra_faces))
    return Moments(*(torch.cat(each) for each in zip(*seen, strict=True))), torch.stack(truth).float(), weights


@torch.no_grad()
def solve(tilt: ShapeTilt, found: Moments, truth: Tensor, weights: Tensor, pairs: Sequence[int]) -> None:
    """Sets the layer to the ridge regression of the errors on the features, over the faces and their mirror images.

    A point that is not annotated (NaN) counts as found. `pairs`: as `flip` of `landmarks.layout.PointLayout`.
    """
    tilt.shape.copy_(mean_shape(truth, pairs))
    features, turn = tilt.features(found)
    errors = torch.cat(times(truth[..., 0] - found.x, truth[..., 1] - found.y, turn), dim=1).nan_to_num()
    features, errors = (torch.cat([each, mirrored(each, pairs)]) for each in (features, errors))
    weight = weights.double().repeat(2).unsqueeze(1)
    fit_poses(tilt, features, weight)
    x, y = tilt.by_pose(features).double(), errors.double()
    weight = weight * (LARGE / (y**2).mean(dim=1, keepdim=True).sqrt()).clamp(max=1)
    mean_x, mean_y = ((weight * each).sum(dim=0) / weight.sum() for each in (x, y))
    x, y = x - mean_x, y - mean_y
    ridge = RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve((weight * x).T @ x + ridge, (weight * x).T @ y)
    tilt.regression.weight.copy_(slopes.T)
    tilt.regression.bias.copy_(mean_y - mean_x @ slopes)


def fit_poses(tilt: ShapeTilt, features: Tensor, weight: Tensor) -> None:
    """Sets the layer's poses to the first principal components of the places among the features [N, 3 P].

    weight [N, 1]: of the faces.
    """
    places = features[:, : len(tilt.middle)].double()
    middle = (weight * places).sum(dim=0) / weight.sum()
    away = places - middle
    variances, directions = torch.linalg.eigh((weight * away).T @ away / weight.sum())
    tilt.middle.copy_(middle)
    tilt.directions.copy_((directions / variances.clamp(min=LEAST_VARIANCE).sqrt())[:, -POSES:])


def mean_shape(points: Tensor, pairs: Sequence[int]) -> Tensor:
    """[2, P] of faces [N, P, 2], each about its middle and of unit size: the mean, as wide to the left as the right."""
    whole = points[~points.isnan().flatten(1).any(dim=1)]
    whole = whole - whole.mean(dim=1, keepdim=True)
    mean = (whole / (whole**2).sum(dim=2, keepdim=True).mean(dim=1, keepdim=True).sqrt()).mean(dim=0)
    return (0.5 * (mean + mean[list(pairs)] * torch.tensor([-1.0, 1.0]))).T


def mirrored(rows: Tensor, pairs: Sequence[int]) -> Tensor:
    """Rows [N, 2 P] of x and y, or [N, 3 P] of spreads too, as the mirror image of the face has them."""
    parts = rows.view(len(rows), -1, len(pairs))[:, :, list(pairs)]
    return torch.cat([-parts[:, :1], parts[:, 1:]], dim=1).flatten(1)
