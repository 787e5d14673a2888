"""Writes docs/configuration.md from the settings: python -m service.cli.settings_page > docs/configuration.md"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from service.settings import Settings

_HEAD = """\
# Configuration

Every setting is a variable of the environment, read once when the service starts. An empty value counts as unset. A
value that cannot be used ends the start with one line that names the variable.

    LANDMARKS_PORT=9000 LANDMARKS_LOG_FORMAT=json landmarks serve

`landmarks serve --help` shows the same list. This file is written by `python -m service.cli.settings_page`.

| variable | takes | default | |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        text = (field.description or "").replace("|", "\\|")
        yield f"| `LANDMARKS_{name.upper()}` | {_takes(field)} | {_default(field.default)} | {text} |\n"


def _takes(field: FieldInfo) -> str:
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    above = next((m.gt for m in field.metadata if hasattr(m, "gt")), None)
    kind = _kind(field.annotation)
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if low is not None:
        return f"{kind}, at least {low}"
    return kind if above is None else f"{kind} above {above}"


def _kind(annotation: Any) -> str:
    """What a value is, in words."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list"
    return {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", Path: "path"}[annotation]


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
