"""The command `landmarks`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
from pydantic import ValidationError

from service.bootstrap import StartError
from service.detect import detect
from service.server import serve
from service.settings import Settings

_EXAMPLES = """\
examples:
  landmarks serve                                         REST on 127.0.0.1:8080, gRPC on 127.0.0.1:8081
  LANDMARKS_TRITON_URL=triton:8001 landmarks serve        with a Triton that runs already
  landmarks detect photo.jpg --overlay out.png            JSON on standard output, the points drawn in out.png
  landmarks detect *.jpg --url http://127.0.0.1:8080      one line of JSON a photo, from a gateway that runs already
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a failure, 2 for a wrong command line."""
    arguments = parser().parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"landmarks: LANDMARKS_{str(problem['loc'][0]).upper()}: {problem['msg']}\n")
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel("WARNING")  # it tells of every start and stop
    cv2.setLogLevel(0)  # of a damaged image the client is told
    try:
        return asyncio.run(_run(arguments, settings))
    except StartError as error:
        sys.stderr.write(f"landmarks: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


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
    command.add_parser(
        "serve",
        help="serve REST and gRPC until Ctrl-C or SIGTERM",
        description="Starts Triton and both doors, and prints a curl line to try once they are ready.",
        epilog="settings, from the environment:\n" + _settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_detect(
        command.add_parser(
            "detect",
            help="the landmarks of photographs, as JSON on standard output",
            description="Prints one line of JSON for each photograph. Starts Triton for the call, unless --url or "
            "LANDMARKS_TRITON_URL names what runs already, or LANDMARKS_ENGINE=local does without.",
        )
    )
    return commands


def _add_detect(detect_parser: argparse.ArgumentParser) -> None:
    detect_parser.add_argument("photos", nargs="+", type=Path, metavar="photo", help="JPEG, PNG, WebP, BMP or TIFF")
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
    detect_parser.add_argument("--url", help="ask the gateway there, as in http://127.0.0.1:8080")


def _box(text: str) -> tuple[float, ...]:
    box = tuple(float(part) for part in text.split(","))
    if len(box) != 4:
        raise argparse.ArgumentTypeError("a box is four numbers: x1,y1,x2,y2")
    return box


def _settings_help() -> str:
    lines = [
        f"  LANDMARKS_{name.upper()} (default: {'unset' if field.default is None else field.default})\n"
        f"      {field.description}\n"
        for name, field in Settings.model_fields.items()
    ]
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
