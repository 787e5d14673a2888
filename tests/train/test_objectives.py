"""The objectives: targets and losses by hand, then properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecError, CodecSpec, decode  # noqa: E402
from landmarks.decoders import expectation, strongest_cells  # noqa: E402
from landmarks.size import Size  # noqa: E402
from train.objectives import (  # noqa: E402
    OUTSIDE,
    CellObjective,
    CellSigmoidObjective,
    GaussianObjective,
    ObjectiveName,
    correction,
    gaussian_maps,
    objective,
)

LOW = -100.0

# maps of 4 x 4 cells over crops of 16 pixels; u = x / 4
SMALL = CodecSpec(points=2, input_size=Size.square(16), pixel_rule="corner", topk=1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---------------------------------------------------------------- targets


def test_cell_targets_are_row_times_width_plus_column() -> None:
    points = np.array([[9.0, 4.0], [1.0, 30.0]])
    # u = (2.25, 1.0): floor cell (2, 1); the other point lies below the map
    assert CellObjective("floor").targets(points, SMALL, rng()).tolist() == [1 * 4 + 2, OUTSIDE]
    assert CellObjective("ceil").targets(points, SMALL, rng()).tolist() == [1 * 4 + 3, OUTSIDE]
    assert CellSigmoidObjective("round").targets(points, SMALL, rng()).tolist() == [1 * 4 + 2, OUTSIDE]


def test_random_targets_are_drawn_in_proportion() -> None:
    points = np.tile([[9.0, 4.0]], (4000, 1))
    drawn = CellObjective("random").targets(points, SMALL, rng())
    assert set(drawn.tolist()) == {6, 7}
    assert (drawn == 7).mean() == pytest.approx(0.25, abs=0.03)


def test_gaussian_targets_are_centers() -> None:
    points = np.array([[9.0, 4.0], [1.0, 30.0]])
    exact = GaussianObjective(1.0, None).targets(points, SMALL, rng())
    assert exact.dtype == np.float32
    assert np.array_equal(exact, np.array([[2.25, 1.0], [np.nan, np.nan]], np.float32), equal_nan=True)
    assert GaussianObjective(1.0, "floor").targets(points, SMALL, rng())[0].tolist() == [2.0, 1.0]
    drawn = GaussianObjective(1.0, "random").targets(np.tile(points[:1], (4000, 1)), SMALL, rng())
    assert set(map(tuple, drawn.tolist())) == {(2.0, 1.0), (3.0, 1.0)}
    assert drawn[:, 0].mean() == pytest.approx(2.25, abs=0.03)


def test_a_rectangular_gaussian_map_by_hand() -> None:
    (drawn,) = gaussian_maps(torch.tensor([[4.0, 1.0]]), 1.0, rows=3, columns=5)
    across, down = np.exp(-np.array([16, 9, 4, 1, 0]) / 2), np.exp(-np.array([1, 0, 1]) / 2)
    assert drawn.numpy() == pytest.approx(down[:, None] * across)


def test_gaussian_maps_by_hand() -> None:
    (drawn,) = gaussian_maps(torch.tensor([[1.0, 2.0]]), 2.0, 4, 4)
    assert drawn[2, 1].item() == 1.0
    assert drawn[2, 3].item() == pytest.approx(math.exp(-4 / 8))  # two columns away, sigma 2
    assert drawn[0, 0].item() == pytest.approx(math.exp(-(1 + 4) / 8))


def test_a_gaussian_of_sigma_0_is_one_active_cell() -> None:
    """Eq. 5, the limit of eq. 3."""
    targets = GaussianObjective(0.0, "floor").targets(np.array([[9.0, 4.0]]), SMALL, rng())
    (drawn,) = gaussian_maps(torch.from_numpy(targets), 0.0, 4, 4)
    assert drawn.sum().item() == 1.0
    assert drawn[1, 2].item() == 1.0  # u = (2.25, 1.0)


@given(u=st.tuples(st.floats(13.0, 18.0), st.floats(13.0, 18.0)), sigma=st.floats(1.0, 2.0))
def test_a_gaussian_away_from_the_edges_has_its_mean_at_its_center(u: tuple[float, float], sigma: float) -> None:
    """Sampling at whole cells loses less than 1e-5 of a cell from sigma 1 up; the edges are 6.5 sigma away."""
    maps = gaussian_maps(torch.tensor([u], dtype=torch.float64), sigma, 32, 32).numpy()
    logits = np.log(np.maximum(maps, 1e-300)).astype(np.float32)
    found = expectation(logits, strongest_cells(logits, 1))
    assert found[0] == pytest.approx(u, abs=1e-4)


# ---------------------------------------------------------------- losses


def test_sigmoid_loss_by_hand() -> None:
    logits = torch.zeros(1, 1, 2, 2)
    logits[0, 0, 1, 0] = 2.0
    # -log sigmoid(2) in the active cell, log 2 in the three others
    wanted = math.log(1 + math.exp(-2.0)) + 3 * math.log(2)
    assert CellSigmoidObjective().loss(logits, torch.tensor([[2]])).item() == pytest.approx(wanted, rel=1e-6)
    # the active cell elsewhere: -log(1 - sigmoid(2))
    missed = math.log(1 + math.exp(2.0)) + 3 * math.log(2)
    assert CellSigmoidObjective().loss(logits, torch.tensor([[1]])).item() == pytest.approx(missed, rel=1e-6)


@given(
    arrays(np.float32, (2, 2, 3, 4, 4), elements=st.floats(-5, 5, width=32)),
    arrays(np.int64, (2, 3), elements=st.integers(0, 15)),
)
def test_two_channels_by_cross_entropy_are_one_by_its_odds(
    logits: NDArray[np.float32], cells: NDArray[np.int64]
) -> None:
    both, targets = torch.from_numpy(logits), torch.from_numpy(cells)
    classes = torch.nn.functional.one_hot(targets, 16).reshape(2, 3, 4, 4)
    direct = torch.nn.functional.cross_entropy(both, classes, reduction="sum").item() / 6
    assert CellSigmoidObjective().loss(both[:, 1] - both[:, 0], targets).item() == pytest.approx(direct, rel=1e-5)


def test_gaussian_loss_by_hand() -> None:
    target = torch.tensor([[[1.0, 0.0]]])
    wanted = math.exp(-1 / 2)
    # rows of the target at sigma 1: (e^-1/2, 1) and (e^-1, e^-1/2); an empty map misses all of it
    squares = wanted**2 + 1 + math.exp(-1.0) ** 2 + wanted**2
    assert GaussianObjective(1.0).loss(torch.zeros(1, 1, 2, 2), target).item() == pytest.approx(squares / 4, rel=1e-6)
    exact = torch.tensor([[[[wanted, 1.0], [math.exp(-1.0), wanted]]]])
    assert GaussianObjective(1.0).loss(exact, target).item() == pytest.approx(0.0, abs=1e-12)


@given(
    st.sampled_from(["cells", "cell_sigmoid", "gaussian"]),
    arrays(np.float32, (3, 4, 4), elements=st.floats(-5, 5, width=32)),
)
def test_points_beyond_the_map_do_not_count(name: ObjectiveName, maps: NDArray[np.float32]) -> None:
    trained = objective(name, "floor")
    points = np.array([[9.0, 4.0], [1.0, 30.0]])
    targets = torch.from_numpy(trained.targets(points, SMALL, rng())[None])
    inside, outside, other = torch.from_numpy(maps)
    losses = [trained.loss(torch.stack([inside, map_])[None], targets).item() for map_ in (outside, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("trained", [CellSigmoidObjective(), GaussianObjective(1.0)])
def test_a_batch_without_any_point_has_no_loss(trained: CellSigmoidObjective | GaussianObjective) -> None:
    points = np.full((2, 2), 99.0)
    targets = torch.from_numpy(trained.targets(points, SMALL, rng())[None])
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = trained.loss(logits, targets)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", ["cells", "cell_sigmoid", "gaussian"])
def test_a_step_down_the_loss_raises_the_target(name: ObjectiveName) -> None:
    trained = objective(name, "round")
    targets = torch.from_numpy(trained.targets(np.array([[9.0, 4.0], [4.0, 9.0]]), SMALL, rng())[None])
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    trained.loss(logits, targets).backward()
    assert logits.grad is not None
    steps = -logits.grad.numpy()[0]
    assert steps.reshape(2, 16).argmax(axis=1).tolist() == [1 * 4 + 2, 2 * 4 + 1]
    assert (steps.max(axis=(1, 2)) > 0).all()


def test_unusable_objectives_are_refused() -> None:
    with pytest.raises(CodecError, match="sigma must not be negative"):
        objective("gaussian", "random", sigma=-1.0)
    with pytest.raises(CodecError, match="a sigma of 0 marks one cell: it needs a quantizer"):
        objective("gaussian", None, sigma=0.0)
    with pytest.raises(CodecError, match="'cell_sigmoid' marks one cell: it needs a quantizer"):
        objective("cell_sigmoid", None)


# ---------------------------------------------------------------- quantizers and their correction


def test_corrections() -> None:
    assert [correction(q) for q in ("floor", "round", "ceil", "random", None)] == [0.5, 0.0, -0.5, 0.0, 0.0]


@pytest.mark.parametrize("quantizer", ["floor", "round", "ceil"])
@given(x=st.floats(0.0, 60.0))
def test_corrected_quantizers_err_by_half_a_cell_at_most(quantizer: str, x: float) -> None:
    spec = CodecSpec(points=1, input_size=Size.square(64), pixel_rule="corner")
    trained = CellObjective(quantizer)  # type: ignore[arg-type]
    (cell,) = trained.targets(np.array([[x, x]]), spec, rng())
    maps = np.full((1, 1, 256), LOW, np.float32)
    maps[0, 0, cell] = 0.0
    argmax = spec.to_cells(decode(maps.reshape(1, 1, 16, 16), spec, decoder="argmax").points)
    read = spec.to_pixels(argmax + correction(trained.quantizer))
    assert np.abs(read - x).max() <= 2.0 + 1e-9  # half of a cell of 4 pixels


def test_corrected_quantizers_are_unbiased() -> None:
    spec = CodecSpec(points=1000, input_size=Size.square(64), pixel_rule="corner")
    x = np.linspace(0, 4, 1000, endpoint=False) + 8
    for quantizer in ("floor", "round", "ceil"):
        trained = CellObjective(quantizer)
        cells = trained.targets(np.stack([x, x], axis=1), spec, rng())
        read = spec.to_pixels(cells % 16 + correction(trained.quantizer))
        assert (read - x).mean() == pytest.approx(0.0, abs=0.01)


# ---------------------------------------------------------------- what a network's maps mean


def test_sigmoid_maps_weigh_by_probability() -> None:
    # probabilities 0.9 and 0.3: the mean is a quarter of the way
    maps = np.full((1, 1, 4, 4), LOW, np.float32)
    maps[0, 0, 2, 1], maps[0, 0, 2, 2] = math.log(0.9 / 0.1), math.log(0.3 / 0.7)
    spec = CodecSpec(points=1, input_size=Size.square(16), pixel_rule="corner", topk=1)
    read = decode(CellSigmoidObjective().log_activation(maps), spec, topk=2).points
    assert read[0, 0] == pytest.approx([5.0, 8.0], abs=1e-5)


def test_gaussian_maps_weigh_by_height() -> None:
    maps = np.zeros((1, 1, 4, 4), np.float32)
    maps[0, 0, 2, 1], maps[0, 0, 2, 2], maps[0, 0, 0, 0] = 0.75, 0.25, -0.5
    spec = CodecSpec(points=1, input_size=Size.square(16), pixel_rule="corner", topk=1)
    read = decode(GaussianObjective(1.0, None).log_activation(maps), spec, decoder="all").points
    assert read[0, 0] == pytest.approx([5.0, 8.0], abs=1e-3)


@given(x=st.floats(24.0, 40.0), y=st.floats(24.0, 40.0))
def test_an_unrounded_gaussian_is_read_back_exactly(x: float, y: float) -> None:
    spec = CodecSpec(points=1, input_size=Size.square(64))
    trained = GaussianObjective(1.0, None)
    targets = torch.from_numpy(trained.targets(np.array([[x, y]]), spec, rng()))
    maps = gaussian_maps(targets, 1.0, 16, 16).numpy()[None]
    # what is below a millionth counts as a millionth: 256 such cells weigh little
    found = decode(trained.log_activation(maps), spec, decoder="all").points[0, 0]
    assert found == pytest.approx([x, y], abs=0.01)
