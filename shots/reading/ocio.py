"""Colours by OpenColorIO, from a colour space of a config to a view of it.

The config has a version in its name, and name and hash are recorded: names such as `ocio://default` change with the
library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import PyOpenColorIO

from shots.errors import ShotError
from shots.reading.colour import Shown, eight_bits
from shots.reading.picture import Samples

PINNED_CONFIG: Final = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
"""It names the colour spaces of cameras, and its views are a third as costly as those of ACES 2."""
DEFAULT_VIEW: Final = "Un-tone-mapped"
"""Six times as fast as ACES 1's view, and as good to find points in."""


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
        return eight_bits(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0))
