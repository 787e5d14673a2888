"""The metrics of a run, as lines of JSON and for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the training dependencies are not installed")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from train.runs.record import MetricsLog


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


def test_tensorboard_shows_the_metrics_of_every_epoch(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as metrics:
        metrics.add({"epoch": 0, "input_size": 64, "learning_rate": 0.5, "loss": 4.0})
        metrics.add({"epoch": 1, "input_size": "128x96", "learning_rate": 0.25, "loss": 3.0, "nme": 5.0, "faces": 4})
    assert scalars(tmp_path, "loss") == [(0, 4.0), (1, 3.0)]
    assert scalars(tmp_path, "learning_rate") == [(0, 0.5), (1, 0.25)]
    assert scalars(tmp_path, "input_size") == [(0, 64.0), (1, 128.0)]
    assert scalars(tmp_path, "nme") == [(1, 5.0)]


def test_resumed_metrics_have_each_epoch_once(tmp_path: Path) -> None:
    """Also where the interrupted run had written more than its checkpoint holds."""
    with MetricsLog(tmp_path, 0) as metrics:
        for epoch in range(3):
            metrics.add({"epoch": epoch, "loss": 4.0 - epoch})
    with MetricsLog(tmp_path, 2) as metrics:
        metrics.add({"epoch": 2, "loss": 1.5})
        metrics.add({"epoch": 3, "loss": 1.0})
    assert scalars(tmp_path, "loss") == [(0, 4.0), (1, 3.0), (2, 1.5), (3, 1.0)]
    assert losses(tmp_path) == [4.0, 3.0, 1.5, 1.0]


@given(
    interrupted=st.lists(st.floats(0, 9), max_size=6),
    resumed=st.lists(st.floats(0, 9), max_size=6),
    checkpoint=st.integers(0, 6),
)
@settings(deadline=None, max_examples=25)  # TensorBoard's writer starts a thread each time
def test_metrics_continue_after_the_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, interrupted: list[float], resumed: list[float], checkpoint: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with MetricsLog(folder, 0) as metrics:
        for epoch, loss in enumerate(interrupted):
            metrics.add({"epoch": epoch, "loss": loss})
    with MetricsLog(folder, checkpoint) as metrics:
        for epoch, loss in enumerate(resumed, start=checkpoint):
            metrics.add({"epoch": epoch, "loss": loss})
    assert losses(folder) == interrupted[:checkpoint] + resumed
