"""Colours by OpenColorIO, from a colour space of a config to a view of it.

The config has a version in its name, and name and hash are recorded: names such as `ocio://default` change with the
library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import PyOpenColorIO
from numpy.typing import NDArray

from shots.errors import ShotError
from shots.reading.colour import Shown
from shots.reading.picture import Samples

PINNED_CONFIG: Final = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
"""It names the colour spaces of cameras, and its views are a third as costly as those of ACES 2."""
DEFAULT_VIEW: Final = "Un-tone-mapped"
"""Six times as fast as ACES 1's view, and as good to find points in."""

_DEPTHS: Final = {
    np.dtype(np.uint8): PyOpenColorIO.BIT_DEPTH_UINT8,
    np.dtype(np.uint16): PyOpenColorIO.BIT_DEPTH_UINT16,
    np.dtype(np.float16): PyOpenColorIO.BIT_DEPTH_F16,
    np.dtype(np.float32): PyOpenColorIO.BIT_DEPTH_F32,
}


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
            self._processor = loaded.getProcessor(group)
            self._converters: dict[np.dtype[Any], Any] = {}
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
        known = samples if samples.dtype in _DEPTHS else samples.astype(np.float32)
        flat = np.ascontiguousarray(known).reshape(-1, 3)
        shown = np.empty(flat.shape, np.uint8)
        # reads the samples as they are and writes 8 bits, which takes two thirds of the time of copies as floats
        self._converter(flat.dtype).apply(_described(flat), _described(shown))
        return shown.reshape(samples.shape)

    def _converter(self, dtype: np.dtype[Any]) -> Any:
        """From samples of this type to 8 bits."""
        if dtype not in self._converters:
            self._converters[dtype] = self._processor.getOptimizedCPUProcessor(
                _DEPTHS[dtype], PyOpenColorIO.BIT_DEPTH_UINT8, PyOpenColorIO.OPTIMIZATION_DEFAULT
            )
        return self._converters[dtype]


def _described(values: NDArray[Any]) -> Any:
    """An array [N, 3] as OpenColorIO takes it."""
    count, size = len(values), values.itemsize
    return PyOpenColorIO.PackedImageDesc(values, count, 1, 3, _DEPTHS[values.dtype], size, 3 * size, 3 * size * count)
