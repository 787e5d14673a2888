"""Arguments that several commands have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.cli.flags import add_flag, fail, flag, given, validated
from service.request import Options, refusal
from service.settings import Settings, variable
from service.wire.text import TEXT_OPTIONS, TextOption, field_schemas


class TlsArguments(BaseModel):
    """TLS of the service"""

    model_config = ConfigDict(frozen=True)

    ca: Path | None = Field(None, description="PEM file of the authorities that its certificate may come from.")
    cert: Path | None = Field(None, description="PEM file of your own certificate, where the service requires one.")
    key: Path | None = Field(None, description="PEM file of the private key of --cert.")


class ServiceArguments(TlsArguments):
    """A service that is already running"""

    url: str | None = Field(
        None, description="Its address: http://127.0.0.1:8080 or grpc://127.0.0.1:8081; https:// or grpcs:// with TLS."
    )


def _checked_rate(text: str) -> str:
    try:
        if not text.isascii() or Fraction(text) <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number above 0 such as 24 or 24000/1001") from None
    return text


Rate: TypeAlias = Annotated[str, AfterValidator(_checked_rate)]
"""Frames per second as text that `Fraction` reads: 24, 23.976 or 24000/1001."""


def read_settings(arguments: argparse.Namespace, model: type[BaseModel]) -> Settings:
    """All settings, of which the command has the flags of `model`: an error names the flag or the variable."""
    flags = given(arguments, model)
    return validated(Settings, flags, lambda name: flag(name) if name in flags else variable(name))


def add_options(parser: argparse.ArgumentParser, options: Mapping[str, TextOption]) -> None:
    """A flag for each of these options of a request."""
    group = parser.add_argument_group("Options of the request")
    schemas = field_schemas(Options)
    for name, option in options.items():
        how: dict[str, Any] = {"type": option.parse}
        if option.repeated:
            how |= {"action": "append", "metavar": "x1,y1,x2,y2"}
        add_flag(group, name, option.field, schemas[option.field], option.hint, **how)


def read_options(arguments: argparse.Namespace) -> Options:
    """The options of a request whose flags are given."""
    try:
        return Options(**given(arguments, Options))
    except ValidationError as error:
        (name,) = (name for name, option in TEXT_OPTIONS.items() if option.field == error.errors()[0]["loc"][0])
        hint = TEXT_OPTIONS[name].hint
        fail(f"{flag(name)}: {refusal(error).message}" + (f". {hint}" if hint else ""))


def with_joined_boxes(argv: Sequence[str]) -> list[str]:
    """`--box -5,0,90,120` as `--box=-5,0,90,120`: argparse takes a list that begins with a minus sign for a flag."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
