"""The data sets by name. A new one is a module with a `FORMAT` and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from landmarks.layout import PointLayout
from train.datasets import aflw, coco, cofw, faces300w, ibug300w, mpii, wflw
from train.datasets.face import Format

FORMATS: Final[Mapping[str, Format]] = {
    "faces300w": faces300w.FORMAT,
    "wflw": wflw.FORMAT,
    "300w": ibug300w.FORMAT,
    "cofw": cofw.FORMAT,
    "aflw": aflw.FORMAT,
    "coco": coco.FORMAT,
    "mpii": mpii.FORMAT,
}
"""By the name that `FORMAT:PATH` on the command line begins with."""

LAYOUTS: Final[Mapping[str, PointLayout]] = {known.layout.name: known.layout for known in FORMATS.values()}
"""The point layouts of all data sets by name."""
