"""The command `landmarks`."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from uvloop import run

from service.cli.arguments.detect import Detect
from service.cli.arguments.doctor import Doctor
from service.cli.arguments.export_tracks import ExportTracks
from service.cli.arguments.keys import NewKey
from service.cli.arguments.merge import Merge
from service.cli.arguments.probe import Probe
from service.cli.arguments.serve import Serve
from service.cli.arguments.track import Track
from service.cli.arguments.tune import Tune
from service.cli.command_line import parse
from service.cli.detect import detect
from service.cli.doctor import doctor
from service.cli.export_tracks import export_tracks
from service.cli.interrupt import INTERRUPTED
from service.cli.probe import probe
from service.cli.tune import tune
from service.errors import StartError
from service.images.opencv import silence_opencv
from service.observability.logs import set_up as set_up_log
from service.security.api_keys import SecurityError, new_key
from service.server import serve
from service.settings import unknown_settings
from service.triton_server import malloc as memory

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for a failure, 2 for a wrong command line."""
    is_shown = sys.stdout is not None
    open_missing_streams()
    command = parse(argv)
    if not is_shown and (isinstance(command, NewKey) or (isinstance(command, Detect) and command.output.out is None)):
        sys.stderr.write("landmarks: standard output is closed: nothing could be written to it\n")
        return 1
    if isinstance(command, NewKey):
        return _new_key(command.name)
    if isinstance(command, Probe):
        return probe(command)
    if isinstance(command, ExportTracks):
        return export_tracks(command)
    if isinstance(command, Merge):
        return _merge(command)
    assert isinstance(command, Serve | Detect | Track | Tune | Doctor)  # those with settings of the service
    set_up_log(command.settings)
    for name in unknown_settings(os.environ):
        logger.warning("%s is not a setting: see `landmarks serve --help`", name)
    if isinstance(command, Doctor):
        return doctor(command.settings)
    memory.set_up()
    forbid_core_dumps()
    silence_opencv()
    try:
        return run(_run(command))
    except StartError as error:
        sys.stderr.write(f"landmarks: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def forbid_core_dumps() -> None:
    """No crash writes the memory of this process, and so images, to a disk. Processes that it starts inherit this."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_missing_streams() -> None:
    """Standard streams that the caller has closed (`>&-`) go to /dev/null, so that no socket takes their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


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


def _merge(command: Merge) -> int:
    try:
        from service.cli.track import merge  # the extra `vfx`
    except ImportError as error:
        return _missing(error)
    return merge(command)


def _missing(error: ImportError) -> int:
    sys.stderr.write(f"landmarks: {error.name} is not installed: pip install 'h3r-landmarks[vfx]'\n")
    return 1


async def _run(command: Serve | Detect | Track | Tune) -> int:
    if isinstance(command, Detect):
        return await detect(command)
    if isinstance(command, Track):
        try:
            from service.cli.track import track  # the extra `vfx`
        except ImportError as error:
            return _missing(error)
        return await track(command)
    if isinstance(command, Tune):
        return await tune(command)
    await serve(command.settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
