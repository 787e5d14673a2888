"""Command-line flags derived from pydantic models: a group for each model, a flag for each field.

Nothing about a flag is written twice: its name, type, choices, bounds, default and help are those of the field. A flag
that is not given leaves nothing behind, so that the model's own sources (for settings: the environment) decide.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from service.wire.text import field_schemas
from service.wire.validation import describe

Model = TypeVar("Model", bound=BaseModel)

MAX_WIDTH: Final = 100
"""Columns of a help text at most: longer lines are hard to read."""
_METAVARS: Final[Mapping[str, str]] = {"integer": "N", "number": "X", "string": "TEXT", "array": "A,B"}
_KINDS: Final[Mapping[str, str]] = {"integer": "whole number", "number": "number", "string": "text", "array": "list"}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, with lines that end at MAX_WIDTH columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=min(shutil.get_terminal_size().columns - 2, MAX_WIDTH))


def flag(field: str) -> str:
    """log_format -> --log-format"""
    return "--" + field.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """A group of flags, titled by the model's docstring."""
    group = parser.add_argument_group(title_of(model))
    for field, schema in field_schemas(model).items():
        default = "" if schema["type"] == "boolean" else default_of(schema)  # a switch is off by default
        notes = "; ".join(filter(None, [bounds(schema), f"default: {default}" if default else ""]))
        add_flag(group, field, field, schema, f"[{notes}]" if notes else "")


def add_flag(
    group: argparse._ArgumentGroup, name: str, field: str, schema: Mapping[str, Any], note: str = "", **how: Any
) -> None:
    """One flag, whose value stays text: the model validates it. `note` follows the field's description.

    A field whose schema has `short`, such as "-o", has that flag too.
    """
    text = f"{schema.get('description', '')} {note}".strip().replace("%", "%%")
    if schema["type"] == "boolean":
        how = {"action": argparse.BooleanOptionalAction}
    else:
        how = {"metavar": metavar(schema)} | how
    names = [schema["short"], flag(name)] if "short" in schema else [flag(name)]
    group.add_argument(*names, dest=field, default=argparse.SUPPRESS, help=text, **how)


def title_of(model: type[BaseModel]) -> str:
    """Of a group: the model's docstring."""
    return (model.__doc__ or "").strip()


def given(arguments: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """The fields whose flags are on the command line."""
    return {name: value for name, value in vars(arguments).items() if name in model.model_fields}


def validated(model: Callable[..., Model], values: Mapping[str, Any], name_of: Callable[[str], str] = flag) -> Model:
    """The model of these values. Where one is wrong, prints a line about each and exits with status 2."""
    if empty := [name for name, value in values.items() if value == ""]:  # Path("") would be the current folder
        fail(*(f"{name_of(name)}: must not be empty" for name in empty))
    try:
        return model(**values)
    except ValidationError as error:
        fail(*(f"{name_of(str(each['loc'][0]))}: {describe(each)}" for each in error.errors(include_url=False)))


def fail(*problems: str) -> NoReturn:
    """Prints what is wrong with the command line, a line each, and exits with status 2."""
    for problem in problems:
        sys.stderr.write(f"landmarks: {problem}\n")
    raise SystemExit(2)


# ---------------------------------------------------------------- a field's JSON schema in words


def metavar(schema: Mapping[str, Any]) -> str:
    """What stands for a value in a usage line: "N", or the choices."""
    if "enum" in schema:
        return "{" + ",".join(schema["enum"]) + "}"
    return "PATH" if schema.get("format") == "path" else _METAVARS[schema["type"]]


def kind_of(schema: Mapping[str, Any]) -> str:
    """What a value is: "whole number", or the choices in Markdown."""
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    return "path" if schema.get("format") == "path" else _KINDS[schema["type"]]


def bounds(schema: Mapping[str, Any]) -> str:
    """The bounds of a number: "0 to 65535", "at least 1", "above 0", or nothing."""
    low, high, above = (schema.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"above {above:g}" if above is not None else ""


def default_of(schema: Mapping[str, Any]) -> str:
    """The default as text; nothing where the field is unset or empty by default."""
    default = schema.get("default")
    if default is None or default == []:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
