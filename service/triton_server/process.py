"""The real `tritonserver` of the nvidia-pytriton wheel as a child process, for machines without Docker.

::

    gateway --- pipe ---> guard ---> tritonserver ---> one Python-backend stub per model

The guard (`service.triton_server.watchdog`) ends the server when the pipe closes, however the gateway ends, and removes
its files. It ends it too when a stub dies. `service.triton_server.supervisor` then starts another.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from service.triton_server import watchdog as guard
from service.triton_server.malloc import TRITON_OPTIONS, allocator_environment

logger = logging.getLogger("service.triton_server")

STUB_VERSIONS = ((3, 10), (3, 11), (3, 12))
_LEVELS = {"W": logging.WARNING, "E": logging.ERROR}
_TAIL_LINES = 60


class EmbeddedTritonError(RuntimeError):
    """Triton cannot be started here, or did not become ready; the message says why and what to do."""


class EmbeddedTriton:
    """One tritonserver serving one model repository on 127.0.0.1. Started once; stopping is for good.

    Its log goes to the logger `service.triton_server`: all at level DEBUG until it serves, as it complains of missing
    GPUs and a failure to start carries the log's end anyway; from then on warnings and errors as such.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        port: int = 0,
        start_timeout: float = 120.0,
        stop_timeout: float = 15.0,
        otlp_endpoint: str | None = None,
        config_name: str | None = None,
    ) -> None:
        """`port`: of its gRPC door, 0 for a free one. `start_timeout`: seconds until ready; `stop_timeout`: seconds for
        requests in flight before force is used. `otlp_endpoint`: URL of a collector that its traces are sent to.
        `config_name`: models are configured by configs/<name>.pbtxt where they have one.
        """
        self._options = [] if otlp_endpoint is None else trace_options(otlp_endpoint)
        self._options += [] if config_name is None else [f"--model-config-name={config_name}"]
        self._repository = model_repository
        self._config_name = config_name
        self._port = port
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self._log: threading.Thread | None = None
        self._serving = False
        self.metrics_url = ""
        """Prometheus metrics of Triton itself; known after `start`."""

    async def start(self) -> str:
        """Starts the server and waits until it serves: returns its gRPC address "127.0.0.1:port".

        Raises EmbeddedTritonError, having stopped and removed everything, when it cannot.
        """
        if self._process is not None:
            raise EmbeddedTritonError("an EmbeddedTriton starts once: make another one")
        try:
            free, metrics_port = free_ports(2)
            port = self._port or free
            self._process = self._launch(port, metrics_port)
        except OSError as error:  # too many files, no room for its own
            await self.stop()
            raise EmbeddedTritonError(f"Triton cannot be started: {error}") from error
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._log = threading.Thread(target=self._forward_log, args=(self._process,), daemon=True)
        self._log.start()
        try:
            await asyncio.wait_for(self._accepts(port, metrics_port), self._start_timeout)
        except BaseException as error:
            await self.stop()
            if isinstance(error, asyncio.TimeoutError):
                raise self._failure(f"Triton was not ready after {self._start_timeout:g} s") from error
            raise
        self._serving = True
        assert self._process.stdin is not None
        with suppress(OSError):  # a guard that has just ended is noticed by whoever waits
            os.write(self._process.stdin.fileno(), b"serving\n")
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Ends the server and removes its files; harmless when it is not running."""
        await asyncio.to_thread(self._stop)

    async def wait(self) -> int:
        """Returns the server's exit status (128 + n for signal n) once it has ended. Only after `start`."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    def _launch(self, port: int, metrics_port: int) -> subprocess.Popen[str]:
        wheel, libpython = wheel_folder(), libpython_folder()
        if not self._repository.is_dir():
            raise EmbeddedTritonError(f"there is no model repository {self._repository}")
        configured = f"*/configs/{self._config_name}.pbtxt"
        if self._config_name and not any(self._repository.glob(configured)):
            # Triton would take the default configurations without a word
            raise EmbeddedTritonError(f"no model in {self._repository} is configured by {configured[2:]}")
        folder = self._folder = Path(tempfile.mkdtemp(prefix="landmarks-triton-"))
        command = [
            str(wheel / "pytriton/tritonserver/bin/tritonserver"),
            f"--model-repository={self._repository.resolve()}",
            f"--backend-directory={link_backend(wheel, folder)}",
            f"--backend-config=python,shm-region-prefix-name={folder.name}",
            f"--exit-timeout-secs={max(1, int(self._stop_timeout) - 2)}",
            # the configurations are complete; guessing at them would load every model twice
            "--disable-auto-complete-config",
            "--allow-http=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            # the metrics of its GPUs would need DCGM, which the wheel lacks
            "--allow-gpu-metrics=false",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={metrics_port}",
            *TRITON_OPTIONS,
            *self._options,
        ]
        guarded = [sys.executable, "-I", guard.__file__, str(self._stop_timeout), str(folder), "--"]
        return subprocess.Popen(  # noqa: S603
            [*guarded, *command],
            stdin=subprocess.PIPE,  # closes when this process ends, and with it the server
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(wheel, libpython),
            start_new_session=True,  # the terminal's Ctrl-C is for the gateway alone
        )

    async def _accepts(self, *ports: int) -> None:
        """Returns once every port accepts connections.

        Triton opens them one after the other, the metrics' last, when every model is loaded and warm.
        """
        assert self._process is not None
        waiting = list(ports)
        while waiting:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", waiting[0])
            except OSError:
                if self._process.poll() is not None:
                    message = f"Triton ended with status {self._process.returncode} instead of starting"
                    raise self._failure(message) from None
                await asyncio.sleep(0.05)
            else:
                writer.close()
                waiting.pop(0)

    def _failure(self, summary: str) -> EmbeddedTritonError:
        if self._log is not None:
            self._log.join(timeout=5)
        return EmbeddedTritonError("\n".join([f"{summary}. The end of its log:", *self._tail]))

    def _forward_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._tail.append(line.rstrip())
                level = _LEVELS.get(line[:1], logging.DEBUG) if self._serving else logging.DEBUG
                logger.log(level, "%s", line.rstrip())

    def _stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()  # the guard ends in time: it kills what does not stop
        if self._log is not None:
            self._log.join()
        if self._folder is not None:
            guard.remove_files(self._folder)  # should the guard itself have been killed


# ---------------------------------------------------------------- what the server needs around it


def wheel_folder() -> Path:
    """The folder nvidia-pytriton is installed in. Raises EmbeddedTritonError when this Python cannot run it."""
    if sys.version_info[:2] not in STUB_VERSIONS:
        raise EmbeddedTritonError(
            f"the embedded Triton runs with Python 3.10 to 3.12, not {sys.version_info[0]}.{sys.version_info[1]}: "
            "use one of those, a Triton of your own, or the in-process engine"
        )
    package = importlib.util.find_spec("pytriton")
    if package is None or package.origin is None:
        raise EmbeddedTritonError(
            "the embedded Triton needs the wheel nvidia-pytriton (Linux on x86-64 only): install h3r-landmarks[serve], "
            "use a Triton of your own, or the in-process engine"
        )
    return Path(package.origin).parent.parent


def libpython_folder() -> Path:
    """The folder that holds this Python's shared library, which the Python backend links to."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    library = f"libpython{version}.so.1.0"
    for folder in library_folders():
        if (folder / library).exists():
            return folder
    raise EmbeddedTritonError(
        f"Triton's Python backend needs {library}, which is not on this machine: install it "
        f"(Debian, Ubuntu: apt-get install libpython{version}), use a Triton of your own, or the in-process engine"
    )


def library_folders() -> list[Path]:
    """Where shared libraries lie: this Python's own folders first."""
    configured = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
    usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    return [
        Path(folder) for folder in [*configured, *os.environ.get("LD_LIBRARY_PATH", "").split(":"), *usual] if folder
    ]


def link_backend(wheel: Path, folder: Path) -> Path:
    """Puts the Python backend and this Python version's stub side by side, as Triton wants them; returns the root."""
    triton = wheel / "pytriton/tritonserver"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = folder / "backends/python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (python / name).symlink_to(triton / "backends/python" / name)
    stub = "triton_python_backend_stub"
    (python / stub).symlink_to(triton / "python_backend_stubs" / version / stub)
    return python.parent


def environment(wheel: Path, libpython: Path) -> dict[str, str]:
    """The environment of this process, with what the server and its stubs need in front."""
    inherited = os.environ.get("LD_LIBRARY_PATH")
    libraries = [str(wheel / "nvidia_pytriton.libs"), str(libpython), *([inherited] if inherited else [])]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(libraries),
        # the stub finds its packages through the first python3 on PATH
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        **allocator_environment(),
    }


def trace_options(otlp_endpoint: str) -> list[str]:
    """Has Triton add its spans to the traces of its callers."""
    settings = {
        "mode": "opentelemetry",
        "opentelemetry,url": f"{otlp_endpoint.rstrip('/')}/v1/traces",
        "opentelemetry,resource": "service.name=triton",
        "level": "TIMESTAMPS",
        # without the context of a caller none begins: probes would be traced as well
        "rate": "0",
    }
    return [f"--trace-config={name}={value}" for name, value in settings.items()]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
