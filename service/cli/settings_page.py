"""Writes docs/configuration.md from the settings: python -m service.cli.settings_page > docs/configuration.md"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from service.cli.flags import bounds, default_of, flag, kind_of
from service.settings import GROUPS, variable
from service.wire.text import field_schemas

_HEAD = """\
# Configuration

Every setting is a flag of `landmarks serve` and a variable of the environment; the flag wins. Settings are read once,
when the service starts. An empty variable counts as unset. A value that cannot be used ends the start with one line
that names the flag or the variable.

    landmarks serve --port 9000 --log-format json
    LANDMARKS_PORT=9000 LANDMARKS_LOG_FORMAT=json landmarks serve

`landmarks serve --help` shows the same list. `landmarks detect` reads the same variables; those of "Models and
inference" are its flags as well. This file is written by `python -m service.cli.settings_page`.
"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "".join(
        line for group in GROUPS for line in _table((group.__doc__ or "").strip(), field_schemas(group))
    )


def _table(title: str, schemas: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"\n## {title}\n\n| flag | variable | takes | default | |\n| --- | --- | --- | --- | --- |\n"
    for name, schema in schemas.items():
        takes = ", ".join(filter(None, [kind_of(schema), bounds(schema)]))
        default = default_of(schema)
        text = schema["description"].replace("|", "\\|")
        yield f"| `{flag(name)}` | `{variable(name)}` | {takes} | {f'`{default}`' if default else ''} | {text} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
