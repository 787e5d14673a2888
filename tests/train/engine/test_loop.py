"""The loss of a batch, and a loss that is not finite."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from train.backbones.compact import Compact  # noqa: E402
from train.engine.loop import train_one_epoch  # noqa: E402
from train.engine.train_state import TrainState  # noqa: E402
from train.errors import TrainingError  # noqa: E402
from train.objectives import OUTSIDE, CellObjective, heatmap_loss  # noqa: E402
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


def test_loss_of_a_batch_without_a_point_on_its_map_is_zero() -> None:
    assert heatmap_loss(torch.zeros(1, 2, 4, 4), torch.full((1, 2), OUTSIDE)).item() == 0.0


def test_a_loss_that_is_not_finite_names_its_faces() -> None:
    model = Compact(points=1)
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    crops = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    batch = Batch(crops, torch.zeros(2, 1, dtype=torch.int64), torch.tensor([17, 4]))
    cpu = torch.device("cpu")
    state = TrainState(model, optimizer, schedule, None, gradient_clip=1.0)
    with pytest.raises(TrainingError, match=r"nan in the batch of faces \[17, 4\]"):
        train_one_epoch(state, model, CellObjective(), [batch], cpu, torch.float32)
