import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from landmarks.detection import Detections
from service.deadline import Deadline
from service.engines.port import EngineTimeout
from service.errors import ServiceError
from service.request import Options
from service.triton_server.malloc import ALLOCATOR, allocator_environment
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

PICTURES = """
import numpy as np
from pathlib import Path

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

{before}
np.ones(30 << 20, np.uint8)  # the first one freed is what glibc draws its conclusions from
before, pictures, small = megabytes(), [], []
for _ in range(6):
    pictures.append(np.ones(20 << 20, np.uint8))
    small.append(np.ones(100 << 10, np.uint8))  # what outlives a picture, and lies behind it on a heap
del pictures
print(megabytes() - before)
"""


def kept(before: str, **environment: str) -> int:
    """Megabytes that a process of its own still holds of 120 in pictures that it has freed."""
    inherited = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    command = [sys.executable, "-c", PICTURES.format(before=before)]
    done = subprocess.run(command, env=inherited | environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_what_is_freed_between_things_in_use_is_given_back() -> None:
    assert kept("") > 50
    assert kept("from service.triton_server import malloc; assert malloc.set_up()") < 10
    assert kept("", **allocator_environment()) < 10


def test_the_callers_own_settings_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    assert allocator_environment() == {
        "MALLOC_ARENA_MAX": "7",
        "MALLOC_MMAP_THRESHOLD_": "16777216",
        "MALLOC_TRIM_THRESHOLD_": "33554432",
    }
    # this would keep pictures on its heaps
    mine = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
    assert kept("from service.triton_server import malloc; malloc.set_up()", **mine) > 50


class Failing(FakeDetector):
    """Tells when the picture that it fails on is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = threading.Event()

    async def detect(self, image: np.ndarray, *, deadline: Deadline | None = None) -> Detections:
        weakref.finalize(image, self.gone.set)
        raise EngineTimeout


def test_a_failed_requests_picture_goes_without_the_garbage_collector() -> None:
    async def run() -> bool:
        detector = Failing()
        gateway = make_gateway(FakeEngine(), detector)
        with pytest.raises(ServiceError), gateway.admitted("rest", "id", {}):
            await gateway.detect(encoded(gradient_image()), Options(), gateway.deadline(None))
        return detector.gone.wait(10)  # the thread that decoded it may let go of it a moment later

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())
    finally:
        gc.enable()
