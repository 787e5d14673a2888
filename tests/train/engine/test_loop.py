"""The loss of a batch, and a loss that is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from landmarks.codec import CodecSpec
from landmarks.size import Size

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from train.backbones.compact import Compact  # noqa: E402
from train.engine.loop import train_one_epoch  # noqa: E402
from train.engine.train_state import TrainState  # noqa: E402
from train.errors import TrainingError  # noqa: E402
from train.objectives import (  # noqa: E402
    OUTSIDE,
    CellObjective,
    CellSigmoidObjective,
    GaussianObjective,
    Objective,
    heatmap_loss,
)
from train.samples.dataset import Batch  # noqa: E402


def test_loss_of_even_logits_is_the_log_of_the_cells() -> None:
    assert heatmap_loss(torch.zeros(2, 98, 8, 8), torch.zeros(2, 98, dtype=torch.int64)).item() == pytest.approx(
        np.log(64)
    )


def test_loss_reads_the_target_as_row_times_width_plus_column() -> None:
    logits = torch.full((1, 1, 4, 4), -50.0)
    logits[0, 0, 2, 1] = 50.0
    assert heatmap_loss(logits, torch.tensor([[2 * 4 + 1]])).item() == pytest.approx(0.0, abs=1e-6)
    assert heatmap_loss(logits, torch.tensor([[1 * 4 + 2]])).item() == pytest.approx(100.0, abs=1e-3)


def test_loss_leaves_out_points_beyond_the_map() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    logits[0, 1] = torch.arange(16.0).reshape(4, 4)
    assert heatmap_loss(logits, torch.tensor([[3, OUTSIDE]])).item() == pytest.approx(np.log(16))


def test_points_count_by_their_weights() -> None:
    """A point of even logits has a loss of log 16, one with its cell 10 above the others log(1 + 15 e^-10)."""
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1, 0, 3] = 10.0
    targets, weights = torch.tensor([[3, 3, 3]]), torch.tensor([[0.5, 0.25, 0.0]])
    sure = np.log1p(15 * np.exp(-10))
    assert heatmap_loss(logits, targets, weights).item() == pytest.approx((0.5 * np.log(16) + 0.25 * sure) / 0.75)
    assert heatmap_loss(logits, targets, torch.zeros(1, 3)).item() == 0.0


@pytest.mark.parametrize("trained", [CellObjective(), CellSigmoidObjective(), GaussianObjective(1.0)])
def test_points_of_equal_weights_count_as_without_any(trained: Objective) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, generator=random)
    points = 4 * np.random.default_rng(0).uniform(0, 3, (2, 3, 2)) + 1.5
    spec = CodecSpec(points=3, input_size=Size.square(16), stride=4)
    targets = torch.from_numpy(np.stack([trained.targets(each, spec, np.random.default_rng(0)) for each in points]))
    expected = trained.loss(logits, targets).item()
    for weight in (1.0, 0.3):
        assert trained.loss(logits, targets, torch.full((2, 3), weight)).item() == pytest.approx(expected, rel=1e-5)
    one = torch.tensor([[0, 1, 0], [0, 0, 0]], dtype=torch.float32)
    alone = trained.loss(logits[:1, 1:2], targets[:1, 1:2]).item()
    assert trained.loss(logits, targets, one).item() == pytest.approx(alone, rel=1e-5)


def test_loss_of_a_batch_without_a_point_on_its_map_is_zero() -> None:
    assert heatmap_loss(torch.zeros(1, 2, 4, 4), torch.full((1, 2), OUTSIDE)).item() == 0.0


def test_a_loss_that_is_not_finite_names_its_faces() -> None:
    model = Compact(points=1)
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    crops = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    batch = Batch(crops, torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1), torch.tensor([17, 4]))
    cpu = torch.device("cpu")
    state = TrainState(model, optimizer, schedule, None, gradient_clip=1.0)
    with pytest.raises(TrainingError, match=r"nan in the batch of faces \[17, 4\]"):
        train_one_epoch(state, model, CellObjective(), [batch], cpu, torch.float32)
