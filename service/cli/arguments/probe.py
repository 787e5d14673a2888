"""What `landmarks probe` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from service.cli.arguments.common import TlsArguments
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, given, validated

_DESCRIPTION = """\
Asks each service for the landmarks of a portrait, and prints a line for each; the
exit status is 1 where one of them does not answer rightly. With --port it asks again
and again until it is stopped, and serves the results as metrics for Prometheus.

LANDMARKS_API_KEY is the key, where the service requires one.
"""


class ProbeArguments(BaseModel):
    """Questions"""

    model_config = ConfigDict(frozen=True)

    timeout: float = Field(10.0, gt=0, description="Seconds for an answer.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0 takes a free one. Unset: asks once and ends."
    )
    host: str = Field("127.0.0.1", description="Address that the port listens on.")
    interval: float = Field(30.0, gt=0, description="Seconds between two questions.")


@dataclass(frozen=True)
class Probe(Command):
    """`landmarks probe`"""

    urls: list[str]
    arguments: ProbeArguments
    tls: TlsArguments


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands, "probe", _read, "ask a running service, as a client does", _DESCRIPTION, "url [url ...] [flags]"
    )
    parser.add_argument("urls", nargs="+", metavar="url", help="http://host:port, https://, grpc:// or grpcs://")
    for model in (ProbeArguments, TlsArguments):
        add_flags(parser, model)


def _read(arguments: argparse.Namespace) -> Probe:
    return Probe(
        arguments.urls,
        validated(ProbeArguments, given(arguments, ProbeArguments)),
        validated(TlsArguments, given(arguments, TlsArguments)),
    )
