"""Shape refinement: by hand, fitted, and from the command line to the export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch import Tensor  # noqa: E402

from landmarks.codec import PixelRule, Quantizer  # noqa: E402
from landmarks.crop import Crop, transform_points  # noqa: E402
from landmarks.runtime import identify  # noqa: E402
from landmarks.size import Size  # noqa: E402
from tests.train.command import landmarks_train  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones import build  # noqa: E402
from train.backbones.refinement import (  # noqa: E402
    MIN_DEVIATION,
    ShapeRefinement,
    axes,
    complex_div,
    complex_mul,
    moments,
)
from train.commands.command_line import parse  # noqa: E402
from train.config import Config, Stage  # noqa: E402
from train.datasets.registry import FORMATS  # noqa: E402
from train.datasets.training_data import TrainingData  # noqa: E402
from train.errors import TrainingError  # noqa: E402
from train.shape_refinement import fit_poses, fit_refinement, mean_shape, measure, mirrored  # noqa: E402

FLIP = [1, 0, 2]
"""Of a triangle: two corners that change places in a mirror, and one below them."""
TRIANGLE = torch.tensor([[-1.0, 1.0, 0.0], [-0.5, -0.5, 1.0]])


def gaussians(places: Tensor, deviation: float, rows: int = 64, columns: int = 64) -> Tensor:
    """Logits [N, P, rows, columns] whose softmax is about a Gaussian at places [N, P, 2]: see Moments."""
    across, down = axes(torch.empty(1, 1, rows, columns))
    x, y = places[..., 0, None, None], places[..., 1, None, None]
    return -((across - x) ** 2 + (down[:, None] - y) ** 2) / (2 * deviation**2)


def means(logits: Tensor) -> Tensor:
    """[N, P, 2] the means of the maps' softmax."""
    found = moments(logits)
    return torch.stack([found.x, found.y], dim=2)


def test_centers_of_cells_are_symmetric() -> None:
    across, down = axes(torch.zeros(1, 1, 2, 4))
    assert across.tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert down.tolist() == [-0.25, 0.25]  # as far apart as the columns


def test_a_face_has_the_same_shape_in_a_rectangular_crop() -> None:
    # half a crop of 64 rows, 32 columns: places are in halves of its longer side, and reach from -0.5 to 0.5 across
    places = 0.3 * TRIANGLE.T[None]
    square, upright = (means(gaussians(places, 0.05, 64, columns)) for columns in (64, 32))
    assert torch.allclose(square, places, atol=1e-3)
    assert torch.allclose(upright, places, atol=1e-3)


def test_moments_by_hand() -> None:
    logits = torch.full((1, 1, 4, 4), -100.0)
    logits[0, 0, 0, 0] = logits[0, 0, 1, 3] = 0.0  # (-0.75, -0.75) and (0.75, -0.25), half of the time each
    found = moments(logits)
    values = [float(each) for each in found]
    assert values == pytest.approx([0.0, -0.5, 0.5625, 0.1875, 0.0625], abs=1e-4)


@given(arrays(np.float32, (2, 3, 8, 16), elements=st.floats(70, 110, width=32)))
def test_moments_are_those_of_the_softmax(values: NDArray[np.float32]) -> None:
    logits = torch.from_numpy(values)  # exponentials that float32 cannot hold
    shares = logits.double().flatten(2).softmax(dim=2).view(logits.shape)
    across, down = axes(logits)
    x, y = across.double(), down.double()[:, None]
    mean_x, mean_y = ((shares * each).sum(dim=(2, 3), keepdim=True) for each in (x, y))
    xx, xy, yy = (
        (shares * one * other).sum(dim=(2, 3))
        for one, other in ((x - mean_x, x - mean_x), (x - mean_x, y - mean_y), (y - mean_y, y - mean_y))
    )
    expected = [mean_x[..., 0, 0], mean_y[..., 0, 0], xx + MIN_DEVIATION**2, xy, yy + MIN_DEVIATION**2]
    for value, direct in zip(moments(logits), expected, strict=True):
        assert torch.allclose(value.double(), direct, atol=3e-6)


@pytest.mark.parametrize(("quantizer", "short"), [("random", 0.0), ("floor", 0.5), ("ceil", -0.5)])
@pytest.mark.parametrize("rule", ["center", "corner"])
def test_maps_should_have_the_mean_that_their_decoder_reads_as_the_point(
    quantizer: Quantizer, short: float, rule: PixelRule, tmp_path: Path
) -> None:
    faces = FORMATS["faces300w"].load(write_miniature(tmp_path / "faces", train=1, val=1), "train")
    config = Config(stages=(Stage(epochs=1, input_size=64),), quantizer=quantizer, pixel_rule=rule)
    network = build("compact", 98).eval()
    _, truth, weights = measure(network, config, TrainingData(("faces300w",), faces))
    crop = Crop.around(faces[0].box_of(config.boxes), config.crop_scale, Size.square(64))
    cells = config.codec(Size.square(64)).to_cells(transform_points(crop.image_to_crop(), faces[0].points)) - short
    # the center of cell 0 of 16 is at -15/16
    assert torch.allclose(truth[0], torch.from_numpy(cells / 8 - 15 / 16).float(), atol=1e-5)
    assert weights.tolist() == [1.0]


@given(arrays(np.float32, (2, 3, 16, 16), elements=st.floats(-3, 3, width=32)))
def test_a_new_layer_changes_nothing(noise: NDArray[np.float32]) -> None:
    logits = gaussians(TRIANGLE.T[None], deviation=0.2, rows=16, columns=16) + torch.from_numpy(noise)
    assert torch.equal(ShapeRefinement(3)(logits).logits, logits)


def test_complex_numbers_by_hand() -> None:
    one, i = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    x, y = torch.tensor([[2.0]]), torch.tensor([[3.0]])
    assert complex_mul(x, y, one) == (x, y)
    assert complex_mul(x, y, i) == (-y, x)  # (2 + 3i) i = -3 + 2i
    assert complex_div(x, y, i) == (y, -x)  # (2 + 3i) / i = 3 - 2i


@given(*[st.floats(-10, 10)] * 2, st.floats(0.1, 10), st.floats(-np.pi, np.pi))
def test_division_undoes_multiplication(x: float, y: float, size: float, angle: float) -> None:
    factor = size * torch.tensor([[[np.cos(angle)], [np.sin(angle)]]], dtype=torch.float64)
    product = complex_mul(torch.tensor([[x]]), torch.tensor([[y]]), factor)
    assert [each.item() for each in complex_div(*product, factor)] == pytest.approx([x, y], abs=1e-6)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        # the face is three tenths of the mean shape's size, and so is the displacement (0.1, 0.2)
        ([[1.0, 0.0], [0.0, 1.0]], [0.03, 0.06]),
        # rotated by a quarter turn: right has become down, and down has become left
        ([[0.0, 1.0], [-1.0, 0.0]], [-0.06, 0.03]),
    ],
)
def test_a_displacement_rotates_and_scales_with_the_face(rotation: list[list[float]], expected: list[float]) -> None:
    layer = ShapeRefinement(3)
    with torch.no_grad():
        layer.shape.copy_(TRIANGLE)
        layer.regression.bias.copy_(torch.tensor([0.1, 0, 0, 0.2, 0, 0]))  # x of all points, then y: of the first alone
        logits = gaussians(0.3 * (TRIANGLE.T @ torch.tensor(rotation))[None] + 0.1, deviation=0.08)
        moved = means(layer(logits).logits) - means(logits)
    assert moved[0, 0].tolist() == pytest.approx(expected, abs=0.004)
    assert moved[0, 1:].flatten().tolist() == pytest.approx([0.0] * 4, abs=1e-5)


def test_the_mean_shape_is_as_wide_to_the_left_as_to_the_right() -> None:
    face = torch.tensor([[[-3.0, 0.0], [1.0, 0.0], [-1.0, 3.0]]])  # its middle is (-1, 1)
    x, y = mean_shape(face, FLIP)
    assert (x[0] + x[1]).item() == pytest.approx(0.0, abs=1e-6)
    assert x[2].item() == pytest.approx(0.0, abs=1e-6)
    # one unit is the root mean square of the distances from the middle: of 5, 5 and 4
    assert y.tolist() == pytest.approx([v / (14 / 3) ** 0.5 for v in (-1.0, -1.0, 2.0)], abs=1e-6)


def test_rows_of_a_mirror_image_by_hand() -> None:
    rows = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]])  # x, then y, then spreads
    assert mirrored(rows, FLIP).tolist() == [[-2.0, -1.0, -3.0, 5.0, 4.0, 6.0, 8.0, 7.0, 9.0]]


def test_random_errors_are_reduced_to_what_shapes_have_in_common() -> None:
    """Faces of twelve points that differ in width alone, each point with a random error of its own."""
    generator = torch.Generator().manual_seed(0)
    half = torch.rand(6, 2, generator=generator) * torch.tensor([0.4, 0.8]) + torch.tensor([0.1, -0.4])
    mean = torch.cat([half, half * torch.tensor([-1.0, 1.0])])
    truth = mean * torch.stack([0.9 + 0.2 * torch.rand(600, generator=generator), torch.ones(600)], dim=1)[:, None]
    logits = gaussians(
        truth + 0.01 * torch.randn(truth.shape, generator=generator), deviation=0.08, rows=32, columns=32
    )
    layer = ShapeRefinement(12)
    with torch.no_grad():
        fit_refinement(layer, moments(logits[:500]), truth[:500], torch.ones(500), [*range(6, 12), *range(6)])
        refined = layer(logits[500:]).logits
        before, after = ((means(maps) - truth[500:]).square().mean() for maps in (logits[500:], refined))
    # errors along position (2), rotation, size and width look like the face's own: about 5 of 24 stay
    assert 0.15 * before < after < 0.3 * before


def test_the_regression_may_differ_from_pose_to_pose() -> None:
    """Faces with random yaw; the vertical error of a point is the product of yaw and another point's height, so that no
    feature alone predicts it. The other half of the face is the mirror image.
    """
    generator = torch.Generator().manual_seed(0)
    half = torch.rand(6, 2, generator=generator) * torch.tensor([0.4, 0.8]) + torch.tensor([0.1, -0.4])
    mean = torch.cat([half, half * torch.tensor([-1.0, 1.0])])
    yaw, right, left = (torch.rand(800, generator=generator) * 2 - 1 for _ in range(3))
    found = mean.repeat(800, 1, 1)
    found[..., 0] += 0.15 * yaw[:, None] * torch.linspace(-1, 1, 6).repeat(2)
    found[:, 3, 1] += 0.05 * right
    found[:, 9, 1] += 0.05 * left
    truth = found.clone()
    truth[:, 2, 1] += 0.05 * yaw * right
    truth[:, 8, 1] -= 0.05 * yaw * left
    logits = gaussians(found, deviation=0.08, rows=32, columns=32)
    layer = ShapeRefinement(12)

    def error(maps: Tensor) -> float:
        return (means(maps)[:, [2, 8], 1] - truth[600:, [2, 8], 1]).square().mean().item()

    with torch.no_grad():
        fit_refinement(layer, moments(logits[:600]), truth[:600], torch.ones(600), [*range(6, 12), *range(6)])
        before, after = error(logits[600:]), error(layer(logits[600:]).logits)
        layer.directions.zero_()
        without = error(layer(logits[600:]).logits)
    assert after < 0.15 * before
    assert without > 0.5 * before


def test_faces_of_one_shape_have_no_pose() -> None:
    layer = ShapeRefinement(3)
    features = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]).repeat(5, 1)
    with torch.no_grad():
        fit_poses(layer, features, torch.ones(5, 1))
        assert layer.with_pose(features).tolist() == [[*range(1, 10), *[0.0] * 18]] * 5


def command(*words: object) -> None:
    parse([str(word) for word in words]).execute()


def test_from_a_run_to_the_exported_network(tmp_path: Path, repository_copy: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    # float32, because a CPU with fast bfloat16 trains other weights: so early the 9th and 10th cell of a map nearly
    # tie, and the export rightly refuses a network whose points depend on the runtime
    config = "seed = 1\nbatch_size = 2\nprecision = 'float32'\nstages = [{ epochs = 1, input_size = 64 }]\n"
    (tmp_path / "tiny.toml").write_text(config)
    command("fit", "--data", data, "--config", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--workers", 0)
    command("fit-shape", "--data", data, "--run", tmp_path / "run", "--out", tmp_path / "shaped")
    description = json.loads((tmp_path / "shaped" / "run.json").read_text())
    assert description["started_from"] == json.loads((tmp_path / "run" / "run.json").read_text())["run_id"]
    # compares PyTorch with ONNX
    export = ("export", "--run", tmp_path / "shaped", "--repository", repository_copy)
    exported = landmarks_train(*export, "--uncalibrated")
    assert exported.returncode == 0, exported.stderr
    assert identify(repository_copy / "heatmap" / "1" / "model.onnx")[0].run_id == description["run_id"]
    with pytest.raises(TrainingError, match="has the layer already"):
        command("fit-shape", "--data", data, "--run", tmp_path / "shaped", "--out", tmp_path / "again")
    with pytest.raises(TrainingError, match="choose another --out"):
        command("fit-shape", "--data", data, "--run", tmp_path / "run", "--out", tmp_path / "shaped")
