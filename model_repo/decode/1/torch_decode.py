"""`landmarks.codec.decode` in PyTorch, for heatmaps that lie on a GPU.

The same rules, ties included, and the same precision: logits in float32, everything computed from them in float64. The
two agree to the last digits of float32 (tests/model_repo/test_torch_decode.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landmarks.codec import MOMENT_WINDOW, NARROWEST, CodecError, CodecSpec, Decoded

_LOW = 0xFFFFFFFF


def decode(heatmaps: Tensor, spec: CodecSpec, topk: int | None = None) -> Decoded:
    """Logits [N, points, cells, cells], float16 or float32, of any device -> points, scores and covariances in NumPy.

    Raises CodecError when the shape or `topk` disagrees with `spec`.
    """
    k = spec.check_topk(spec.topk if topk is None else topk)
    shape = (spec.points, spec.cells, spec.cells)
    if heatmaps.ndim != 4 or heatmaps.shape[1:] != shape:
        raise CodecError(f"heatmaps must have shape [N, {', '.join(map(str, shape))}], not {list(heatmaps.shape)}")
    maps = heatmaps.to(torch.float32)
    logits, cells = strongest_cells(maps, k)
    peak = logits[..., :1]
    shares = torch.exp((logits - peak).to(torch.float64))
    window, corner = _window(maps, cells[..., 0])
    probability = torch.exp((window - peak[..., None]).to(torch.float64))
    mass = probability.sum((-2, -1))

    at = torch.stack([cells % spec.cells, cells // spec.cells], -1)
    u = (shares[..., None] * at).sum(-2) / shares.sum(-1, keepdim=True)
    covariances = spec.stride**2 * _second_moments(probability / mass[..., None, None], u - corner)
    scores = (shares.sum(-1) / mass).clamp(max=1.0)
    points, *others = (values.cpu().numpy() for values in (u, scores, _calibrated(covariances, spec)))
    return Decoded(*(values.astype(np.float32) for values in (spec.to_pixels(points), *others)))


def strongest_cells(maps: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest logits of float32 maps [N, points, rows, columns], largest first, equal ones in row-major order.

    Returns logits and flat cell indices [N, points, k].

    torch.topk leaves the order of equal values open, and which of them it takes. So it is given whole numbers that are
    never equal: above, 32 bits that are ordered as the logits are; below, the cell, the first one counting most.
    """
    flat = maps.flatten(2) + 0.0  # -0.0 + 0.0 is 0.0: zeros of either sign are equal
    bits = flat.view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)  # negative floats count downwards in their bits
    keys = (ordered << 32) - torch.arange(flat.shape[-1], device=flat.device)
    cells = -torch.topk(keys, k, sorted=True).values & _LOW
    return flat.gather(-1, cells), cells


def _calibrated(moments: Tensor, spec: CodecSpec) -> Tensor:
    """As in `landmarks.codec`: second moments [N, points, 2, 2] -> covariances."""
    scale = torch.tensor(spec.covariance_scale, dtype=torch.float64, device=moments.device).reshape(-1, 1, 1)
    raised = moments + spec.covariance_floor * torch.eye(2, dtype=torch.float64, device=moments.device)
    determinant = raised[..., 0, 0] * raised[..., 1, 1] - raised[..., 0, 1] ** 2
    spread = torch.exp(determinant.clamp(min=NARROWEST).log().mean(-1) / 4) / spec.stride
    return scale * spread[:, None, None, None] ** spec.covariance_power * raised


def _window(maps: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor]:
    """As in `landmarks.codec`: each map around its strongest cell, [N, points, w, w], and its first column and row."""
    rows, columns = maps.shape[-2:]
    width = min(MOMENT_WINDOW, rows)
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
