"""What `landmarks detect` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.cli.arguments.common import ServiceArguments, add_options, read_options, read_settings
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, fail, given, validated
from service.limits import IMAGE_FORMATS_TEXT
from service.request import Options
from service.settings import NetworkSettings, Settings
from service.wire.text import TEXT_OPTIONS

_DESCRIPTION = """\
Prints one line of JSON for each image. Starts Triton for the call, unless --url
or --triton-url names one that is already running, or --engine local does without.
An image that fails does not stop the others; the exit status is 1 then, as it is
where a part of a folder cannot be read. What else is left out of a folder is told.

Variables of the environment (landmarks serve --help) set limits and timeouts, and
LANDMARKS_API_KEY is the key that the service at --url requires.
"""


class OutputArguments(BaseModel):
    """Output"""

    model_config = ConfigDict(frozen=True)

    out: Path | None = Field(None, description="File to write instead of standard output.")
    format: Literal["jsonl", "csv", "json"] | None = Field(
        None, description="By default what the name of the output file ends with, else jsonl."
    )
    resume: bool = Field(False, description="Continue the output file: the images that it holds are not sent again.")
    overlay: Path | None = Field(
        None, description="Draw the points into this image; of several images, into PATH with their names added."
    )
    overwrite: bool = Field(False, description="Replace the files of --out and --overlay that exist.")
    concurrency: int = Field(4, ge=1, description="Images processed at a time.")


@dataclass(frozen=True)
class Detect(Command):
    """`landmarks detect`"""

    images: list[Path]
    """Files, folders and globs, as they were typed."""
    options: Options
    output: OutputArguments
    service: ServiceArguments
    settings: Settings


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "detect",
        _read,
        "the landmarks of images, as JSON or CSV",
        _DESCRIPTION,
        "image [image ...] [flags]",
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="image",
        help=f"{IMAGE_FORMATS_TEXT} file; or a folder, with all below it; or a glob such as 'shots/**/*.png'",
    )
    add_options(parser, TEXT_OPTIONS)
    for model in (OutputArguments, ServiceArguments, NetworkSettings):
        add_flags(parser, model)


def _read(arguments: argparse.Namespace) -> Detect:
    if "" in arguments.images:  # Path("") is the current folder
        fail("image: must not be empty")
    return Detect(
        [Path(image) for image in arguments.images],
        read_options(arguments),
        validated(OutputArguments, given(arguments, OutputArguments)),
        validated(ServiceArguments, given(arguments, ServiceArguments)),
        read_settings(arguments, NetworkSettings),
    )
