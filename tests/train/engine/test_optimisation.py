"""The learning rate over the steps, and averaged weights."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from train.engine.optimisation import moving_average, warmup_cosine, warmup_multistep  # noqa: E402

# ---------------------------------------------------------------- learning rate


def test_the_rate_rises_then_falls_to_zero_by_a_cosine() -> None:
    factors = [warmup_cosine(step, warmup=4, total=20) for step in range(21)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4] == 1.0
    assert factors[12] == pytest.approx(0.5)
    assert factors[20] == pytest.approx(0.0)
    assert sorted(factors[4:], reverse=True) == factors[4:]


@given(warmup=st.floats(0, 50), milestones=st.lists(st.integers(51, 200), max_size=4), step=st.integers(0, 250))
def test_the_rate_after_the_warm_up_falls_tenfold_with_every_milestone_passed(
    warmup: float, milestones: list[int], step: int
) -> None:
    factor = warmup_multistep(step, warmup, milestones)
    if step < warmup:
        assert 0 < factor <= 1
        assert factor <= warmup_multistep(step + 1, warmup, milestones)
    else:
        passed = len([milestone for milestone in milestones if milestone <= step])
        assert factor == pytest.approx(10.0**-passed)


@given(warmup=st.floats(0, 50), length=st.integers(1, 200), step=st.integers(0, 300))
def test_the_cosine_stays_between_zero_and_one_and_ends_at_zero(warmup: float, length: int, step: int) -> None:
    total = int(warmup) + 1 + length
    assert 0 <= warmup_cosine(step, warmup, total) <= 1
    assert warmup_cosine(total + step, warmup, total) == pytest.approx(0, abs=1e-12)


# ---------------------------------------------------------------- averaged weights


def averages(decay: float, *weights: float) -> list[float]:
    """The averaged weight after each of a single weight's values."""
    model = torch.nn.Linear(1, 1, bias=False)
    average, course = moving_average(model, decay), []
    for weight in weights:
        with torch.no_grad():
            model.weight.fill_(weight)
        average.update_parameters(model)
        course.append(next(average.module.parameters()).item())
    return course


def test_an_average_begins_with_the_first_weights_and_soon_loses_their_influence() -> None:
    # of the average it keeps nothing at first, then 2/11, then 3/12
    assert averages(0.9, 1.0, 0.0, 11.0) == pytest.approx([1.0, 0.1818182, 8.295455], rel=1e-6)


def test_the_decay_is_the_largest_share_that_an_average_keeps() -> None:
    assert averages(0.1, 1.0, 0.0, 1.0) == pytest.approx([1.0, 0.1, 0.91], rel=1e-6)


def test_statistics_of_batch_normalisation_are_copied_into_the_average() -> None:
    model = torch.nn.BatchNorm2d(1)
    average = moving_average(model, 0.9)
    for mean in (1.0, 5.0):
        model.load_state_dict(model.state_dict() | {"running_mean": torch.tensor([mean])})
        average.update_parameters(model)
    assert average.module.state_dict()["running_mean"].tolist() == [5.0]


@given(st.floats(0, 0.999), st.lists(st.floats(-10, 10), min_size=1, max_size=8))
@settings(deadline=None)
def test_an_average_stays_within_the_weights_so_far(decay: float, weights: list[float]) -> None:
    for count, average in enumerate(averages(decay, *weights), start=1):
        assert min(weights[:count]) - 1e-5 <= average <= max(weights[:count]) + 1e-5


@given(st.floats(0, 0.999), st.floats(-10, 10), st.integers(1, 8))
@settings(deadline=None)
def test_an_average_of_equal_weights_is_that_weight(decay: float, weight: float, count: int) -> None:
    assert averages(decay, *[weight] * count) == pytest.approx([weight] * count, abs=1e-5)
