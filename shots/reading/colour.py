"""Colours of a plate -> what the networks and the optical flow look at: 8 bits, as a screen shows them.

Only what is looked at is converted: the image in which faces are searched, and the crops. Two ways:

- built in: floating-point files are taken for scene-linear and get sRGB's curve, integers are shown as they are. Half
  floats have 65,536 values, so that is a table;
- OpenColorIO, from a colour space of a config to a view of it. The config has a version in its name, and name and hash
  are recorded: names such as `ocio://default` change with the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import cv2
import numpy as np
import PyOpenColorIO
from numpy.typing import NDArray

from shots.errors import ShotError
from shots.reading.picture import Samples

Shown = NDArray[np.uint8]
"""[..., 3] RGB in sRGB"""

PINNED_CONFIG: Final = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
"""It names the colour spaces of cameras, and its views are a third as costly as those of ACES 2."""
DEFAULT_VIEW: Final = "Un-tone-mapped"
"""Six times as fast as ACES 1's view, and as good to find points in."""


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

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"curve": "sRGB for floats, integers as they are", "exposure": self.exposure}

    def shown(self, samples: Samples) -> Shown:
        if samples.dtype == np.uint8:
            table = _integer_table(256, self.exposure)
        elif samples.dtype == np.uint16:
            table = _integer_table(65536, self.exposure)
        else:
            with np.errstate(over="ignore"):  # beyond half's range is white
                samples = np.ascontiguousarray(samples, np.float16).view(np.uint16)
            table = _half_table(self.exposure)
        return np.asarray(np.take(table, samples), np.uint8)


@lru_cache(maxsize=4)
def _integer_table(levels: int, exposure: float) -> Shown:
    encoded = np.arange(levels) / (levels - 1)
    return _eight_bits(encoded if exposure == 0 else _encode(_decode(encoded) * 2.0**exposure))


@lru_cache(maxsize=4)
def _half_table(exposure: float) -> Shown:
    values = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    linear = np.nan_to_num(values, nan=0.0, posinf=65504.0, neginf=0.0)
    return _eight_bits(_encode(linear * 2.0**exposure))


def _encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve of sRGB."""
    linear = np.clip(linear, 0, 1)
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded


def _decode(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    linear: NDArray[np.float64] = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear


def _eight_bits(encoded: NDArray[np.floating[Any]]) -> Shown:
    return np.asarray(np.round(np.clip(encoded, 0, 1) * 255), np.uint8)


def grey(samples: Samples) -> NDArray[np.uint8]:
    """What the optical flow follows, [H, W]: it needs no more than that light and dark stay what they are."""
    return np.asarray(cv2.cvtColor(BuiltIn().shown(samples), cv2.COLOR_RGB2GRAY), np.uint8)


class Ocio:
    """A view of an OpenColorIO config."""

    def __init__(
        self,
        space: str,
        *,
        config: str = PINNED_CONFIG,
        display: str | None = None,
        view: str | None = None,
        exposure: float = 0.0,
    ) -> None:
        """`config`: a path, or a built-in name with its version. `space`: of the plate. Raises ShotError of code
        `wrong_colour`, which names what the config has.
        """
        try:
            loaded = PyOpenColorIO.Config.CreateFromFile(config)
            if loaded.getColorSpace(space) is None:
                names = [each for each in loaded.getColorSpaceNames() if space.casefold() in each.casefold()]
                near = ", ".join(names[:6] or list(loaded.getColorSpaceNames())[:6])
                raise ShotError(
                    "wrong_colour", f"the config has no colour space {space!r}; it has, among others, {near}"
                )
            display = display or loaded.getDefaultDisplay()
            views = list(loaded.getViews(display))
            if view is None:
                view = DEFAULT_VIEW if DEFAULT_VIEW in views else loaded.getDefaultView(display)
            if view not in views:
                raise ShotError("wrong_colour", f"display {display!r} has no view {view!r}; it has {', '.join(views)}")
            group = PyOpenColorIO.GroupTransform()
            group.appendTransform(
                PyOpenColorIO.ColorSpaceTransform(space, loaded.getRoleColorSpace("scene_linear") or space)
            )
            gain = 2.0**exposure
            group.appendTransform(PyOpenColorIO.MatrixTransform.Scale([gain, gain, gain, 1.0]))
            linear = loaded.getRoleColorSpace("scene_linear") or space
            group.appendTransform(PyOpenColorIO.DisplayViewTransform(src=linear, display=display, view=view))
            self._processor = loaded.getProcessor(group).getDefaultCPUProcessor()
            self._settings = {
                "config": config,
                "config_hash": loaded.getCacheID(),
                "in_colorspace": space,
                "display": display,
                "view": view,
                "exposure": exposure,
                "ocio": PyOpenColorIO.GetVersion(),
            }
        except (PyOpenColorIO.Exception, PyOpenColorIO.ExceptionMissingFile) as error:
            raise ShotError("wrong_colour", f"OpenColorIO, config {config}: {error}") from error

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._settings

    def shown(self, samples: Samples) -> Shown:
        top = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1
        values = np.ascontiguousarray(samples.astype(np.float32) / np.float32(top))
        self._processor.applyRGB(values)
        return _eight_bits(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0))
