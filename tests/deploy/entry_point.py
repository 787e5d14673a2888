"""The images' entry point with the Triton of the wheel, as in a container but on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from landmarks.golden import golden_crop
from service.triton_server.process import environment, free_ports, libpython_folder, wheel_folder
from tests.conftest import ROOT
from tests.deploy.tools import DEPLOY

FILES = (
    DEPLOY / "image/start_triton.sh",
    DEPLOY / "image/triton_answers.py",
    ROOT / "service/triton_server/watchdog.py",
)


def link_layout(folder: Path) -> None:
    """The wheel's Triton in the layout of NVIDIA's image, by the program that the build of an image runs."""
    specification = importlib.util.spec_from_file_location("triton_layout", DEPLOY / "image/triton_layout.py")
    assert specification is not None
    assert specification.loader is not None
    layout = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(layout)
    layout.link_layout(folder)


class Container(NamedTuple):
    process: subprocess.Popen[bytes]
    grpc: int
    http: int
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def answers(self) -> subprocess.CompletedProcess[str]:
        """The health check."""
        command = [sys.executable, "-I", str(self.folder / "triton_answers.py"), str(self.http)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def comes_up(self) -> bool:
        """Waits until it answers; False when it has ended instead, as on a machine without enough memory or time."""
        end = time.monotonic() + 300
        while (check := self.answers()).returncode != 0:
            if self.process.poll() is not None and time.monotonic() < end:
                return False
            assert time.monotonic() < end, f"{check.stderr}\n{self.log}"
        return True

    def stub(self, model: str) -> int:
        """The process of a model."""
        prefix = f"{self.folder}/backends"
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_text().split("\0")
            except OSError:
                continue
            if words[0].startswith(prefix) and words[1].endswith(f"/{model}/1/model.py"):
                return int(path.parent.name)
        raise AssertionError(f"{model} has no process")


@contextmanager
def container(folder: Path, repository: Path, **settings: object) -> Iterator[Container]:
    """Starts Triton by the images' entry point, with settings of the environment (LANDMARKS_...).

    As with a container, it is started again where it ends; here only until it has answered for the first time.
    """
    link_layout(folder)
    for path in FILES:
        shutil.copy(path, folder)
    golden_crop().tofile(folder / "golden.rgb")
    # in an image the check has Triton's usual port
    check = folder / "triton_answers.py"
    grpc, http = free_ports(2)
    check.write_text(check.read_text().replace("else 8000", f"else {http}"))
    variables = environment(wheel_folder(), libpython_folder())
    variables |= {"PATH": f"{folder}/bin:{variables['PATH']}"}
    variables |= {f"LANDMARKS_{name.upper()}": str(value) for name, value in settings.items()}
    options = [
        f"--model-repository={repository}",
        f"--backend-directory={folder}/backends",
        f"--backend-config=python,shm-region-prefix-name={folder.name}-{os.getpid()}",
        "--disable-auto-complete-config",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc}",
        "--http-address=127.0.0.1",
        f"--http-port={http}",
        "--allow-metrics=false",
    ]
    command = ["sh", str(folder / "start_triton.sh"), *options]

    def start() -> Container:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
        return Container(process, grpc, http, folder)

    running = start()
    try:
        for _ in range(2):
            if running.comes_up():
                break
            running = start()
        else:
            assert running.comes_up(), running.log
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
        running.process.wait(120)
        for region in Path("/dev/shm").glob(f"{folder.name}-{os.getpid()}*"):
            region.unlink()
