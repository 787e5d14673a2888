"""Colours of a plate -> what the networks and the optical flow look at: 8 bits, as a screen shows them.

Only what is looked at is converted: the image in which faces are searched, and the crops. Two ways:

- built in: floating-point files are taken for scene-linear and get sRGB's curve, integers are shown as they are. Half
  floats have 65,536 values, so that is a table;
- OpenColorIO, from a colour space of a config to a view of it: `shots.reading.ocio`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from shots.reading.picture import Samples

Shown = NDArray[np.uint8]
"""[..., 3] RGB in sRGB"""


class Colour(Protocol):
    """A conversion to what a screen shows."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON values that determine the result."""

    def shown(self, samples: Samples) -> Shown:
        """Samples of any type and shape [..., 3] -> 8-bit sRGB."""


@dataclass(frozen=True)
class BuiltIn:
    """sRGB's curve, and an exposure in stops."""

    exposure: float = 0.0
    is_linear: bool | None = None
    """Whether samples are scene-linear, or have sRGB's curve already; None: floats are linear, integers are not."""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"curve": "sRGB for floats, integers as they are", "exposure": self.exposure}

    def shown(self, samples: Samples) -> Shown:
        is_float = samples.dtype.kind == "f"
        is_linear = is_float if self.is_linear is None else self.is_linear
        if samples.dtype == np.uint8:
            if not is_linear and self.exposure == 0:
                return np.asarray(samples, np.uint8)
            table = _integer_table(256, is_linear, self.exposure)
            return np.asarray(cv2.LUT(np.ascontiguousarray(samples), table), np.uint8).reshape(samples.shape)
        if not is_float:
            table = _integer_table(65536, is_linear, self.exposure)
        else:
            with np.errstate(over="ignore"):  # beyond half's range is white
                samples = np.ascontiguousarray(samples, np.float16).view(np.uint16)
            table = _half_table(is_linear, self.exposure)
        return np.asarray(np.take(table, samples), np.uint8)


@lru_cache(maxsize=8)
def _integer_table(levels: int, is_linear: bool, exposure: float) -> Shown:
    return _table(np.arange(levels) / (levels - 1), is_linear, exposure)


@lru_cache(maxsize=8)
def _half_table(is_linear: bool, exposure: float) -> Shown:
    values = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    return _table(np.nan_to_num(values, nan=0.0, posinf=65504.0, neginf=0.0), is_linear, exposure)


def _table(values: NDArray[np.float64], is_linear: bool, exposure: float) -> Shown:
    if not is_linear and exposure == 0:
        return eight_bits(values)
    return eight_bits(_encode((values if is_linear else _decode(values)) * 2.0**exposure))


def _encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve of sRGB."""
    linear = np.clip(linear, 0, 1)
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded


def _decode(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    encoded = np.maximum(encoded, 0)
    linear: NDArray[np.float64] = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear


def eight_bits(encoded: NDArray[np.floating[Any]]) -> Shown:
    """Values of which 1 is white."""
    return np.asarray(np.round(np.clip(encoded, 0, 1) * 255), np.uint8)


def grey(samples: Samples) -> NDArray[np.uint8]:
    """What the optical flow follows, [H, W], of a picture [H, W, 3], or of what is grey already, 8 bits [H, W].

    It needs no more than that light and dark stay what they are.
    """
    if samples.ndim == 2:
        return samples
    return np.asarray(cv2.cvtColor(BuiltIn().shown(samples), cv2.COLOR_RGB2GRAY), np.uint8)
