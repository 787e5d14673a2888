"""`landmarks.codec.decode` in PyTorch, for heatmaps that are on a GPU.

The same rules, ties included, and the same precision: logits in float32, everything computed from them in float64. The
two agree to the last digits of float32 (tests/model_repo/test_torch_decode.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from landmarks.codec import MIN_DETERMINANT, MOMENT_WINDOW, CodecError, CodecSpec, Decoded

_LOW = 0xFFFFFFFF


class Strongest(NamedTuple):
    """As in `landmarks.decoders`: both [N, points, k]."""

    logits: Tensor
    cells: Tensor


def decode(heatmaps: Tensor, spec: CodecSpec, topk: int | None = None, decoder: str | None = None) -> Decoded:
    """Logits [N, points, rows, columns], float16 or float32, of any device -> points, scores and covariances in NumPy.

    Raises CodecError when the shape, `topk` or `decoder` disagrees with `spec`.
    """
    choice = spec.choose_decoder(decoder, topk)
    shape = spec.heatmap_shape
    if heatmaps.ndim != 4 or heatmaps.shape[1:] != shape:
        raise CodecError(f"heatmaps must have shape [N, {', '.join(map(str, shape))}], not {list(heatmaps.shape)}")
    maps = heatmaps.to(torch.float32)
    strongest = strongest_cells(maps, choice.k)
    peak = strongest.logits[..., :1]
    window, corner = _window(maps, strongest.cells[..., 0])
    probability = torch.exp((window - peak[..., None]).to(torch.float64))
    mass = probability.sum((-2, -1))

    u = DECODERS[choice.name](maps, strongest)
    covariances = spec.stride**2 * _second_moments(probability / mass[..., None, None], u - corner)
    scores = (torch.exp((strongest.logits - peak).to(torch.float64)).sum(-1) / mass).clamp(max=1.0)
    points, *others = (values.cpu().numpy() for values in (u, scores, _calibrated(covariances, spec)))
    visibility = np.empty((len(heatmaps), 0))
    return Decoded(*(values.astype(np.float32) for values in (spec.to_pixels(points), *others, visibility)))


def strongest_cells(maps: Tensor, k: int) -> Strongest:
    """The k largest logits of float32 maps [N, points, rows, columns], largest first, equal ones in row-major order.

    torch.topk specifies neither the order of equal values nor which of them it returns. So it is given integers that
    are never equal: the upper 32 bits are ordered as the logits are, the lower 32 hold the negated cell index, so that
    the first cell is the largest.
    """
    flat = maps.flatten(2) + 0.0  # -0.0 + 0.0 is 0.0: zeros of either sign are equal
    bits = flat.view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)  # the bits of negative floats count downwards
    keys = (ordered << 32) - torch.arange(flat.shape[-1], device=flat.device)
    cells = -torch.topk(keys, k, sorted=True).values & _LOW
    return Strongest(flat.gather(-1, cells), cells)


# ---------------------------------------------------------------- decoders, as in `landmarks.decoders`


def argmax(maps: Tensor, strongest: Strongest) -> Tensor:
    peak, columns = strongest.cells[..., 0], maps.shape[-1]
    return torch.stack([peak % columns, peak // columns], -1).to(torch.float64)


def topk_mean(maps: Tensor, strongest: Strongest) -> Tensor:
    return softmax_mean(strongest.logits, strongest.cells, strongest.logits[..., :1], maps.shape[-1])


def neighbourhood_mean(maps: Tensor, strongest: Strongest) -> Tensor:
    rows, columns = maps.shape[-2:]
    peak, step = strongest.cells[..., :1], torch.tensor([-1, 0, 1], device=maps.device)
    row, column = peak // columns + step.repeat_interleave(3), peak % columns + step.repeat(3)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    cells = torch.where(inside, row * columns + column, peak)
    logits = maps.flatten(2).gather(-1, cells).masked_fill(~inside, -torch.inf)
    return softmax_mean(logits, cells, strongest.logits[..., :1], columns)


def expectation(maps: Tensor, strongest: Strongest) -> Tensor:
    flat = maps.flatten(2)
    every = torch.arange(flat.shape[-1], device=maps.device)
    return softmax_mean(flat, every, strongest.logits[..., :1], maps.shape[-1])


def quarter_shift(maps: Tensor, strongest: Strongest) -> Tensor:
    columns, rows = (axis.to(torch.int64) for axis in argmax(maps, strongest).unbind(-1))
    slopes = torch.stack([_slope(maps, rows, columns), _slope(maps.transpose(-1, -2), columns, rows)], -1)
    return argmax(maps, strongest) + 0.25 * slopes


def softmax_mean(logits: Tensor, cells: Tensor, peak: Tensor, columns: int) -> Tensor:
    weights = torch.exp((logits - peak).to(torch.float64))
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.stack([(weights * (cells % columns)).sum(-1), (weights * (cells // columns)).sum(-1)], -1)


def _slope(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    width = maps.shape[-1]
    line = maps.gather(-2, rows[..., None, None].expand(*rows.shape, 1, width)).squeeze(-2)
    left, right = (
        line.gather(-1, at[..., None]).squeeze(-1)
        for at in ((columns - 1).clamp(0), (columns + 1).clamp(max=width - 1))
    )
    sign = torch.sign(right.to(torch.float64) - left)
    return torch.where((columns > 0) & (columns < width - 1), sign, 0.0)


DECODERS: Final[Mapping[str, Callable[[Tensor, Strongest], Tensor]]] = {
    "topk": topk_mean,
    "argmax": argmax,
    "quarter": quarter_shift,
    "3x3": neighbourhood_mean,
    "all": expectation,
}
"""From float32 maps [N, points, rows, columns] to cell coordinates float64 [N, points, 2], by the name it has there."""


# ---------------------------------------------------------------- covariances, as in `landmarks.codec`


def _calibrated(moments: Tensor, spec: CodecSpec) -> Tensor:
    """Second moments [N, points, 2, 2] -> covariances."""
    scale = torch.tensor(spec.covariance_scale, dtype=torch.float64, device=moments.device).reshape(-1, 1, 1)
    raised = moments + spec.covariance_floor * torch.eye(2, dtype=torch.float64, device=moments.device)
    determinant = raised[..., 0, 0] * raised[..., 1, 1] - raised[..., 0, 1] ** 2
    spread = torch.exp(determinant.clamp(min=MIN_DETERMINANT).log().mean(-1) / 4) / spec.stride
    return scale * spread[:, None, None, None] ** spec.covariance_power * raised


def _window(maps: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor]:
    """Each map around its strongest cell, [N, points, w, w], and its first column and row."""
    rows, columns = maps.shape[-2:]
    width = min(MOMENT_WINDOW, rows, columns)
    left = (peaks % columns - width // 2).clamp(0, columns - width)
    top = (peaks // columns - width // 2).clamp(0, rows - width)
    side = torch.arange(width, device=maps.device)
    cells = (top[..., None] + side)[..., :, None] * columns + (left[..., None] + side)[..., None, :]
    window = maps.flatten(2).gather(-1, cells.flatten(2)).reshape(cells.shape)
    return window, torch.stack([left, top], -1)


def _second_moments(probability: Tensor, u: Tensor) -> Tensor:
    """E[(cell - u)(cell - u)^T] of each normalised map [N, points, w, w]: [N, points, 2, 2] in cells squared."""
    side = torch.arange(probability.shape[-1], device=u.device)
    dx, dy = side - u[..., :1], side - u[..., 1:]
    xx = torch.einsum("npyx,npx,npx->np", probability, dx, dx)
    yy = torch.einsum("npyx,npy,npy->np", probability, dy, dy)
    xy = torch.einsum("npyx,npy,npx->np", probability, dy, dx)
    return torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)
