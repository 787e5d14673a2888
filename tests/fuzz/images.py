"""Damaged image files, decoded in a process of their own so that a crash or a hang is seen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import hypothesis
import numpy as np

from service.errors import ServiceError
from service.images.decode import decode_image
from service.images.limits import ImageLimits
from service.triton_server.malloc import set_up
from tests.fuzz.files import damaged, files
from tests.fuzz.run import HANG_SECONDS, ROUND, Fuzzer, Outcome, Run

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=4 * 10**6)


def decode_all(inputs: Connection) -> None:
    """Decodes each file that arrives, and sends its outcome back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the connection
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the libraries' complaints about damaged files
    set_up()
    inputs.send("ready")
    while True:
        try:
            data = inputs.recv_bytes()
        except EOFError:
            return
        inputs.send(decode(data))


def decode(data: bytes) -> Outcome:
    try:
        image = decode_image(data, LIMITS)
        crop = image.to_srgb(image.pixels[:8])
        assert all(each.dtype == np.uint8 and each.ndim == 3 and each.shape[2] == 3 for each in (image.pixels, crop))
        return Outcome("ok")
    except ServiceError as error:
        return Outcome(error.kind.value)
    except BaseException as error:
        return Outcome(type(error).__name__, traceback.format_exc())


class ImageFuzzer(Fuzzer):
    """Files for `decode_image`."""

    name = "images"

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=decode_all, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()  # "ready": how long a process takes to start is no matter of an input

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def settle(self) -> None:
        for data in files():
            self.send(data)

    def round(self, seed: int, run: Run) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(ROUND, max_examples=200)
        @hypothesis.given(damaged())
        def send(data: bytes) -> None:
            run.count(self.send(data), data, "")

        send()

    def send(self, data: bytes) -> Outcome:
        """The outcome of decoding a file. After a crash or a hang another process is started."""
        try:
            self._connection.send_bytes(data)
            if self._connection.poll(HANG_SECONDS):
                outcome: Outcome = self._connection.recv()
                return outcome
        except (EOFError, ConnectionError):
            self._process.join()
            found = Outcome("crash", f"the process ended with status {self._process.exitcode}")
        else:
            found = Outcome("hang", f"not decoded within {HANG_SECONDS:g} s")
        self.close()
        self._start()
        return found

    def repeat(self, path: Path) -> Outcome:
        return self.send(path.read_bytes())

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()
