"""The real `tritonserver` of the nvidia-pytriton wheel as a child process, for machines without Docker.

::

    gateway --- pipe ---> watchdog ---> tritonserver ---> one Python-backend stub process per model

The gateway reaches it by a socket that no other user can connect to. The watchdog (`service.triton_server.watchdog`)
stops the server and removes its files when the pipe closes, however the gateway ended. It also kills the server when a
stub dies. `service.triton_server.supervisor` then starts another one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from landmarks.repository import RepositoryError, check_release
from service.triton_server import folder as folders
from service.triton_server import watchdog
from service.triton_server.malloc import REGION_BYTES, allocator_environment, triton_options

logger = logging.getLogger("service.triton_server")

STUB_VERSIONS = ((3, 10), (3, 11), (3, 12))
_LEVELS = {"W": logging.WARNING, "E": logging.ERROR}
_TAIL_LINES = 60
RESTRICTED: Final = "--grpc-restricted-protocol=shared-memory,model-repository,statistics,trace,logging:Nobody=no"
"""The option of tritonserver that leaves health, inference, configurations and metadata of its gRPC API. Calls of all
other kinds need the header `triton-grpc-protocol-Nobody`. HTTP/2 forbids capital letters in names of headers, and a
call that has one is refused for that: so nobody can make these calls, and there is no secret to keep."""
MODELS = 3
"""Models of the repository that have a region in shared memory."""
MIN_SHARED_MEMORY = 56 << 20
"""Bytes of /dev/shm that the models' regions grow to, with full batches of crops and the largest images: measured."""


class EmbeddedTritonError(RuntimeError):
    """Triton cannot be started here, or did not become ready. The message says why, and what to do."""


class EmbeddedTriton:
    """One tritonserver that serves one model repository. It can be started once, and stopped for good.

    Its log goes to the logger `service.triton_server`. Until it is ready all of it has level DEBUG, because it warns of
    missing GPUs, and because a failure to start reports the end of the log anyway. After that, warnings and errors keep
    their levels.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        port: int | None = None,
        start_timeout: float = 120.0,
        stop_timeout: float = 15.0,
        otlp_endpoint: str | None = None,
        config_name: str | None = None,
        variables: Mapping[str, str] | None = None,
        free: int | None = None,
    ) -> None:
        """`port`: by default its gRPC API has a socket that only this user can connect to. With a port (0 takes a free
        one) it listens on 127.0.0.1, where every user of the machine can ask for inference and, at `metrics_url`, for
        its metrics. `start_timeout`: seconds until it must be ready. `stop_timeout`:
        seconds for requests in flight before it is killed. `otlp_endpoint`: URL of a collector that gets its traces.
        `config_name`: models use configs/<name>.pbtxt where they have that file. `variables`: of the environment, for
        its models. `free`: bytes of /dev/shm that it may
        use, by default what is free there.
        """
        self._options = [] if otlp_endpoint is None else trace_options(otlp_endpoint)
        self._options += [] if config_name is None else [f"--model-config-name={config_name}"]
        self._repository = model_repository
        self._config_name = config_name
        self._variables = variables or {}
        self._free = free
        self._port = port
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: subprocess.Popen[str] | None = None
        self.folder: Path | None = None
        """Its folder in shared memory; known after `start`."""
        self._log: threading.Thread | None = None
        self._is_ready = False
        self._address = ""
        self.metrics_url = ""
        """URL of Triton's own Prometheus metrics; known after `start` with a port."""

    async def start(self) -> str:
        """Starts the server, waits until it is ready, and returns its gRPC address: unix:PATH, or 127.0.0.1:port.

        Raises EmbeddedTritonError when that fails, after stopping and removing everything.
        """
        if self._process is not None:
            raise EmbeddedTritonError("an EmbeddedTriton can be started only once: create another one")
        try:
            await asyncio.to_thread(folders.sweep)
            self._process = self._launch()
        except OSError as error:  # too many open files, no space for its folder
            await self.stop()
            raise EmbeddedTritonError(f"Triton cannot be started: {error}") from error
        self._log = threading.Thread(target=self._forward_log, args=(self._process,), daemon=True)
        self._log.start()
        try:
            await asyncio.wait_for(self._wait_until_ready(), self._start_timeout)
        except BaseException as error:
            await self.stop()
            if isinstance(error, asyncio.TimeoutError):
                raise self._failure(f"Triton was not ready after {self._start_timeout:g} s") from error
            raise
        self._is_ready = True
        assert self._process.stdin is not None
        with suppress(OSError):  # whoever calls `wait` notices a watchdog that has just exited
            os.write(self._process.stdin.fileno(), b"ready\n")
        return self._address

    async def stop(self) -> None:
        """Stops the server and removes its files. Harmless when it is not running."""
        await asyncio.to_thread(self._stop)

    async def wait(self) -> int:
        """Returns the server's exit status (128 + n for signal n) once it has exited. Only after `start`."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    def _launch(self) -> subprocess.Popen[str]:
        wheel, libpython = wheel_folder(), libpython_folder()
        if not self._repository.is_dir():
            raise EmbeddedTritonError(f"there is no model repository {self._repository}")
        try:
            check_release(self._repository)
        except RepositoryError as error:
            raise EmbeddedTritonError(str(error)) from error
        configured = f"*/configs/{self._config_name}.pbtxt"
        if self._config_name and not any(self._repository.glob(configured)):
            # Triton would use the default configurations without a warning
            raise EmbeddedTritonError(f"no model in {self._repository} is configured by {configured[2:]}")
        region = region_bytes(free_shared_memory() if self._free is None else self._free)
        folder, lock = folders.create()
        self.folder = folder
        command = [
            str(wheel / "pytriton/tritonserver/bin/tritonserver"),
            f"--model-repository={self._repository.resolve()}",
            f"--backend-directory={link_backend(wheel, folder)}",
            f"--backend-config=python,shm-region-prefix-name={folder.name}",
            f"--exit-timeout-secs={max(1, int(self._stop_timeout) - 2)}",
            # the configurations are complete; to complete them Triton would load every model twice
            "--disable-auto-complete-config",
            "--allow-http=false",
            *self._listen(folder),
            RESTRICTED,
            *triton_options(region),
            *self._options,
        ]
        options = [f"--parent-pipe={self._stop_timeout}", f"--remove={folder}", "--"]
        try:
            return self._start_watchdog(
                [*options, *command], {**environment(wheel, libpython), **self._variables}, lock
            )
        finally:
            os.close(lock)  # the watchdog has it

    def _listen(self, folder: Path) -> list[str]:
        """Options that say where the server listens; sets the addresses, in the order in which they are opened."""
        if self._port is None:
            # gRPC's name of a socket ends with the port, which means nothing here
            self._address = f"unix:{folder}/grpc:1"
            return [f"--grpc-address=unix:{folder}/grpc", "--grpc-port=1", "--allow-metrics=false"]
        free, metrics_port = free_ports(2)
        port = self._port or free
        self._address, self.metrics_url = f"127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"
        return [
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            # the metrics of GPUs need DCGM, which the wheel lacks
            "--allow-gpu-metrics=false",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={metrics_port}",
        ]

    def _start_watchdog(self, arguments: list[str], environment: dict[str, str], lock: int) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", watchdog.__file__, *arguments],
            stdin=subprocess.PIPE,  # closes when this process ends, which stops the server
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            pass_fds=(lock,),  # held until the watchdog has ended
            start_new_session=True,  # Ctrl-C in the terminal reaches the gateway only
        )

    async def _wait_until_ready(self) -> None:
        """Returns once the server accepts connections, which it does when every model is loaded and warm.

        It opens the port of its metrics last.
        """
        assert self._process is not None
        waiting = [self._address, *([urlsplit(self.metrics_url).netloc] if self.metrics_url else [])]
        while waiting:
            try:
                await _connect(waiting[0])
            except OSError:
                if self._process.poll() is not None:
                    message = f"Triton exited with status {self._process.returncode} instead of starting"
                    raise self._failure(message) from None
                await asyncio.sleep(0.05)
            else:
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
                level = _LEVELS.get(line[:1], logging.DEBUG) if self._is_ready else logging.DEBUG
                logger.log(level, "%s", line.rstrip())

    def _stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()  # the watchdog exits in time, because it kills what does not stop
        if self._log is not None:
            self._log.join()
        if self.folder is not None:
            watchdog.remove_files(self.folder)  # in case the watchdog itself was killed


async def _connect(address: str) -> None:
    """Connects to unix:PATH or host:port, and closes the connection. Raises OSError."""
    if address.startswith("unix:"):
        _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
    writer.close()


# ---------------------------------------------------------------- the environment of the server


def wheel_folder() -> Path:
    """The folder nvidia-pytriton is installed in. Raises EmbeddedTritonError when this Python cannot run it."""
    if sys.version_info[:2] not in STUB_VERSIONS:
        raise EmbeddedTritonError(
            f"the embedded Triton runs with Python 3.10 to 3.12, not {sys.version_info[0]}.{sys.version_info[1]}: "
            "use one of those, an external Triton, or the in-process engine"
        )
    package = importlib.util.find_spec("pytriton")
    if package is None or package.origin is None:
        raise EmbeddedTritonError(
            "the embedded Triton needs the wheel nvidia-pytriton (Linux on x86-64 only): install h3r-landmarks[serve], "
            "use an external Triton, or the in-process engine"
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
        f"(Debian, Ubuntu: apt-get install libpython{version}), use an external Triton, or the in-process engine"
    )


def library_folders() -> list[Path]:
    """The folders that may hold shared libraries, this Python's own first."""
    configured = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
    common = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    return [
        Path(folder) for folder in [*configured, *os.environ.get("LD_LIBRARY_PATH", "").split(":"), *common] if folder
    ]


def link_backend(wheel: Path, folder: Path) -> Path:
    """Links the Python backend and this Python version's stub into one folder below `folder`. Returns its parent."""
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
    """The environment variables of this process, with the folders that the server and its stubs need in front."""
    inherited = os.environ.get("LD_LIBRARY_PATH")
    libraries = [str(wheel / "nvidia_pytriton.libs"), str(libpython), *([inherited] if inherited else [])]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(libraries),
        # the stub finds its packages through the first python3 on PATH
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        **allocator_environment(),
    }


def free_shared_memory() -> int:
    """Bytes that are free in /dev/shm, where Triton passes tensors to its models."""
    try:
        return shutil.disk_usage(folders.SHARED_MEMORY).free
    except OSError:
        return 0


def region_bytes(free: int) -> int:
    """The first size of each model's region in shared memory of which `free` bytes are free.

    Raises EmbeddedTritonError where even the smallest would not do.
    """
    if free >= MODELS * REGION_BYTES:
        return REGION_BYTES
    if free >= MIN_SHARED_MEMORY:
        logger.info("%d MiB of shared memory are free: the models' regions begin small and grow", free >> 20)
        return 1 << 20
    raise EmbeddedTritonError(
        f"Triton's models need {MIN_SHARED_MEMORY >> 20} MiB of shared memory, and /dev/shm has {free >> 20} MiB free: "
        "start the container with --shm-size=256m (Kubernetes: an emptyDir of medium Memory at /dev/shm), or set "
        "LANDMARKS_ENGINE=local"
    )


def trace_options(otlp_endpoint: str) -> list[str]:
    """Options that make Triton add its spans to the traces of its callers."""
    settings = {
        "mode": "opentelemetry",
        "opentelemetry,url": f"{otlp_endpoint.rstrip('/')}/v1/traces",
        "opentelemetry,resource": "service.name=triton",
        "level": "TIMESTAMPS",
        # no trace without a caller's context: otherwise probes would be traced as well
        "rate": "0",
    }
    return [f"--trace-config={name}={value}" for name, value in settings.items()]


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nothing listens on at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
