"""What the maps should hold, cell by cell, and what the loss makes of what they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch import Tensor  # noqa: E402

from landmarks.detection import decode, suppress  # noqa: E402
from landmarks.detector import DetectorSpec  # noqa: E402
from train.detection.mosaic import Mosaic  # noqa: E402
from train.detection.targets import losses, targets  # noqa: E402

SPEC = DetectorSpec()
SIDE = 128
CELLS = {8: 16, 16: 8, 32: 4}


def scene(boxes: list[list[float]], trusted: list[bool] | None = None) -> Mosaic:
    return Mosaic(
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([True] * len(boxes) if trusted is None else trusted, bool),
    )


def by_level(wanted: np.ndarray) -> dict[int, np.ndarray]:
    parts = np.split(wanted, np.cumsum([n * n for n in CELLS.values()])[:-1], axis=1)
    return {stride: part.reshape(4, n, n) for (stride, n), part in zip(CELLS.items(), parts, strict=True)}


def square(x: float, y: float, side: float) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def test_a_face_on_the_middle_of_a_cell() -> None:
    """Cell 5 of stride 8 is centred on pixel 43.5, cell 2 on 19.5."""
    levels = by_level(targets(scene([[33.5, 3.5, 53.5, 35.5]]), SPEC, np.random.default_rng(0)))
    small = levels[8]
    assert np.argwhere(small[0]).tolist() == [[2, 5]]
    # 20 and 32 pixels are 0.625 and 1 times four cells
    assert small[2:, 2, 5].tolist() == pytest.approx([math.log(0.625), 0.0])
    assert small[1].all()
    assert not levels[16][0].any()
    assert not levels[32][0].any()


def test_a_face_between_cells_falls_on_each_as_often_as_it_should() -> None:
    """u = 5.25, v = 2: cell 5 three times in four."""
    rng = np.random.default_rng(0)
    drawn = [by_level(targets(scene([square(45.5, 19.5, 24)]), SPEC, rng))[8][0] for _ in range(400)]
    mean = np.mean(drawn, axis=0)
    assert mean[2, 5] == pytest.approx(0.75, abs=0.07)
    assert mean[2, 6] == pytest.approx(0.25, abs=0.07)
    assert mean.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("size", "positive", "doubtful"),
    [
        (8.0, [], []),
        (9.0, [], [8]),
        (11.0, [8], []),
        (33.0, [8], [16]),
        (40.0, [8, 16], []),
        (50.0, [16], [8]),
        (80.0, [16, 32], []),
        (100.0, [32], [16]),
        (230.0, [], [32]),
        (260.0, [], []),
    ],
)
def test_which_level_a_size_is_for(size: float, positive: list[int], doubtful: list[int]) -> None:
    levels = by_level(targets(scene([square(64, 64, size)]), SPEC, np.random.default_rng(0)))
    assert [stride for stride, level in levels.items() if level[0].any()] == positive
    assert [stride for stride, level in levels.items() if not level[1].all()] == doubtful


def test_a_face_of_doubt_is_neither_face_nor_background() -> None:
    """The cells whose centres lie within the middle half of its box, and one more around."""
    small = by_level(targets(scene([square(64, 64, 32)], [False]), SPEC, np.random.default_rng(0)))[8]
    assert not small[0].any()
    out = np.argwhere(small[1] == 0)
    assert (out.min(axis=0).tolist(), out.max(axis=0).tolist()) == ([6, 6], [9, 9])


def test_a_sure_face_counts_within_the_doubt_of_another() -> None:
    both = scene([square(64, 64, 30), square(67.5, 67.5, 14)], [False, True])
    small = by_level(targets(both, SPEC, np.random.default_rng(0)))[8]
    assert np.argwhere(small[0]).tolist() == [[8, 8]]
    assert small[1, 8, 8] == 1
    assert small[1, 7, 7] == 0


@pytest.mark.parametrize("corner", [-0.5, 127.4])
def test_a_centre_at_the_very_edge_stays_on_the_map(corner: float) -> None:
    small = by_level(targets(scene([square(corner, corner, 20)]), SPEC, np.random.default_rng(0)))[8]
    assert small[0].sum() == 1


def test_no_faces_at_all() -> None:
    wanted = targets(scene([]), SPEC, np.random.default_rng(0))
    assert wanted.shape == (4, 16 * 16 + 8 * 8 + 4 * 4)
    assert not wanted[0].any()
    assert wanted[1].all()


def test_what_the_targets_say_is_what_the_decoder_reads() -> None:
    """The share of draws that fell on each cell, as maps: the faces come back."""
    boxes = [[20.0, 22.0, 44.0, 52.0], [61.0, 50.0, 121.0, 120.0]]
    rng = np.random.default_rng(1)
    drawn = [targets(scene(boxes), SPEC, rng) for _ in range(300)]
    share = np.mean([wanted[0] for wanted in drawn], axis=0).clip(1e-9, 1 - 1e-9)
    # sides are the same in every draw that says anything
    sides = np.sum([wanted[2:] for wanted in drawn], axis=0) / np.maximum(1, np.sum([w[0] for w in drawn], axis=0))
    maps = np.concatenate([np.log(share / (1 - share))[None], sides]).astype(np.float32)
    split = np.split(maps, np.cumsum([n * n for n in CELLS.values()])[:-1], axis=1)
    found = suppress(
        decode([part.reshape(3, n, n) for part, n in zip(split, CELLS.values(), strict=True)], SPEC, 0.5), 0.4
    )
    assert found.boxes[np.argsort(found.boxes[:, 0])] == pytest.approx(np.array(boxes), abs=1.5)
    assert found.scores.min() > 0.99


# ---------------------------------------------------------------- loss


def maps_of(logit: float) -> tuple[Tensor, ...]:
    maps = tuple(torch.zeros(1, 3, n, n) for n in CELLS.values())
    for level in maps:
        level[:, 0] = logit
    return maps


def test_the_loss_of_nothing_learnt() -> None:
    """One face, on the first level: its 256 cells cost ln 2 each; so do the cells of the other levels."""
    wanted = torch.from_numpy(targets(scene([[33.5, 3.5, 53.5, 35.5]]), SPEC, np.random.default_rng(0)))[None]
    parts = losses(maps_of(0.0), wanted)
    assert parts.centers.item() == pytest.approx((256 + 64 + 16) * math.log(2) / 3, rel=1e-5)
    # the width is told as ln 1 instead of ln 0.625, the height right; the other levels have no face
    assert parts.sides.item() == pytest.approx(-math.log(0.625) / 2 / 3, rel=1e-5)


def test_doubtful_cells_cost_nothing() -> None:
    """4 x 4 cells of stride 8 and, as the face is nearly large enough for it, 3 x 3 of stride 16."""
    wanted = torch.from_numpy(targets(scene([square(64, 64, 32)], [False]), SPEC, np.random.default_rng(0)))[None]
    plain = torch.from_numpy(targets(scene([]), SPEC, np.random.default_rng(0)))[None]
    cheaper = losses(maps_of(0.0), plain).centers - losses(maps_of(0.0), wanted).centers
    assert cheaper.item() == pytest.approx(25 * math.log(2) / 3, rel=1e-4)


def test_the_loss_is_least_at_the_true_shares() -> None:
    """A face that falls on one cell three times in four: logit ln 3 there, and no other value, is best."""
    wanted = torch.zeros(4, 4, 336)
    wanted[:, 1] = 1.0
    wanted[:3, 0, 100] = wanted[3:, 0, 101] = 1.0
    logit = torch.tensor(0.0, requires_grad=True)
    for value, sign in ((math.log(3) - 0.3, -1), (math.log(3) + 0.3, 1)):
        maps = tuple(level.repeat(4, 1, 1, 1) for level in maps_of(-20.0))
        maps[0].data[:, 0, 6, 4] = 0
        shifted = maps[0] + 0
        shifted[:, 0, 6, 4] = logit + value
        (gradient,) = torch.autograd.grad(losses((shifted, *maps[1:]), wanted).centers, logit)
        assert math.copysign(1, gradient.item()) == sign
