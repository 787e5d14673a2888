"""The command `landmarks`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from pydantic import ValidationError

from landmarks.decoders import DECODER_HELP, DECODERS
from service.bootstrap import StartError
from service.cli.detect import detect
from service.cli.outputs import FORMATS
from service.observability.logs import set_up as set_up_log
from service.request import OMITTABLE
from service.security.api_keys import SecurityError, new_key
from service.server import serve
from service.settings import Settings, unknown_settings
from service.triton_server import malloc as memory

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  landmarks serve                                         REST on 127.0.0.1:8080, gRPC on 127.0.0.1:8081
  LANDMARKS_TRITON_URL=triton:8001 landmarks serve        with a Triton that runs already
  landmarks detect photo.jpg --overlay out.png            JSON on standard output, the points drawn in out.png
  landmarks detect *.jpg --url http://127.0.0.1:8080      one line of JSON a photo, from a gateway that runs already
  landmarks detect shots/ --out faces.csv --resume        a folder and all below it; after a break, only what is missing
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a failure, 2 for a wrong command line."""
    arguments = parser().parse_args(argv)
    if arguments.command == "keys":
        return _new_key(arguments.name)
    try:
        settings = Settings(**_flags(arguments))
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"landmarks: LANDMARKS_{str(problem['loc'][0]).upper()}: {problem['msg']}\n")
        return 2
    set_up_log(settings)
    for name in unknown_settings(os.environ):
        logger.warning("%s is no setting: see `landmarks serve --help`", name)
    memory.set_up()
    cv2.setLogLevel(0)  # of a damaged image the client is told
    try:
        return asyncio.run(_run(arguments, settings))
    except StartError as error:
        sys.stderr.write(f"landmarks: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings given on the command line, which stand above those of the environment."""
    return {"insecure": True} if getattr(arguments, "insecure", False) else {}


def _new_key(name: str) -> int:
    """The key goes to standard error, so that `landmarks keys new ana >> keys.txt` shows it and stores its line."""
    try:
        key, line = new_key(name)
    except SecurityError as error:
        sys.stderr.write(f"landmarks: {error}\n")
        return 2
    sys.stderr.write(f"key for {name}, shown this once:  {key}\nline for LANDMARKS_API_KEYS_FILE:\n")
    sys.stderr.flush()
    sys.stdout.write(f"{line}\n")
    return 0


async def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.command == "detect":
        return await detect(arguments, settings)
    await serve(settings)
    return 0


def parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(
        "landmarks",
        description="98 sub-pixel landmarks of every face in an image, each with its uncertainty.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = commands.add_subparsers(dest="command", required=True, metavar="command")
    serve_parser = command.add_parser(
        "serve",
        help="serve REST and gRPC until Ctrl-C or SIGTERM",
        description="Starts Triton and both doors, and prints a curl line to try once they are ready.",
        epilog="settings, from the environment:\n" + _settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve_parser.add_argument(
        "--insecure", action="store_true", help="listen for other machines without asking who they are"
    )
    _add_keys(command)
    _add_detect(
        command.add_parser(
            "detect",
            help="the landmarks of photographs, as JSON on standard output",
            description="Prints one line of JSON for each photograph. Starts Triton for the call, unless --url or "
            "LANDMARKS_TRITON_URL names what runs already, or LANDMARKS_ENGINE=local does without. A photograph that "
            "fails stops none of the others; the exit status is 1 then.",
            epilog="environment: LANDMARKS_API_KEY, the key that the service at --url asks for",
        )
    )
    return commands


def _add_keys(command: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "API keys, without which no other machine is answered: `landmarks keys new NAME` makes one."
    keys = command.add_parser("keys", help="API keys", description=about).add_subparsers(
        required=True, metavar="command"
    )
    new = keys.add_parser(
        "new",
        help="make a key",
        description="Prints a fresh key, which the service never sees again, and the line that lets it in: "
        "landmarks keys new ana >> keys.txt, then LANDMARKS_API_KEYS_FILE=keys.txt landmarks serve.",
    )
    new.add_argument("name", help="whose key it is: letters, digits, dots, dashes and underscores")


def _add_detect(detect_parser: argparse.ArgumentParser) -> None:
    detect_parser.add_argument(
        "photos",
        nargs="+",
        type=Path,
        metavar="photo",
        help="JPEG, PNG, WebP, BMP or TIFF; or a folder, with all below it; or a glob such as 'shots/**/*.png'",
    )
    detect_parser.add_argument(
        "--overlay", type=Path, metavar="out.png", help="draw the points; of several photos, into out-<photo>.png"
    )
    detect_parser.add_argument(
        "--box",
        type=_box,
        action="append",
        default=[],
        metavar="x1,y1,x2,y2",
        help="where a face is, in pixels; once for each face. Without it the faces are detected",
    )
    detect_parser.add_argument("--topk", type=int, help="heatmap cells averaged for a point")
    detect_parser.add_argument("--max-faces", type=int, help="of the faces detected, the largest so many")
    detect_parser.add_argument("--detector-threshold", type=float, help="least score of a detected face, 0 to 1")
    detect_parser.add_argument("--model", help="name of the model that must answer")
    detect_parser.add_argument("--decoder", choices=list(DECODERS), help=DECODER_HELP)
    detect_parser.add_argument("--flip", action="store_true", help="average with the mirrored crop, at twice the cost")
    detect_parser.add_argument(
        "--omit", type=_omitted, default=(), metavar="FIELDS", help=f"leave out of the answer, of {','.join(OMITTABLE)}"
    )
    _add_output(detect_parser.add_argument_group("output"))
    _add_service(detect_parser.add_argument_group("a service that runs already"))


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--out", type=Path, metavar="FILE", help="write there, rather than to standard output")
    group.add_argument("--format", choices=FORMATS, help="by default what FILE's name ends with, else jsonl")
    group.add_argument("--resume", action="store_true", help="go on with FILE: what it holds is not asked again")
    group.add_argument(
        "--concurrency", type=_positive, default=4, metavar="N", help="photographs worked on at a time [%(default)s]"
    )


def _add_service(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--url", help="its address: http://127.0.0.1:8080 or grpc://127.0.0.1:8081, https:// or grpcs://"
    )
    group.add_argument("--ca", type=Path, metavar="PEM", help="authorities that its certificate may come from")
    group.add_argument("--cert", type=Path, metavar="PEM", help="our own certificate, where it asks for one")
    group.add_argument("--key", type=Path, metavar="PEM", help="the private key of --cert")


def _omitted(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in OMITTABLE]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no field {unknown[0]!r}: take of {', '.join(OMITTABLE)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number, 1 or more")
    return int(text)


def _box(text: str) -> tuple[float, ...]:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError("a box is four numbers: x1,y1,x2,y2") from error
    return x1, y1, x2, y2


def _settings_help() -> str:
    lines = [
        f"  LANDMARKS_{name.upper()} (default: {'unset' if field.default is None else field.default})\n"
        f"      {field.description}\n"
        for name, field in Settings.model_fields.items()
    ]
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
