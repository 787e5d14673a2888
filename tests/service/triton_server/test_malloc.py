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
from service.engines.port import EngineTimeout
from service.errors import ServiceError
from service.request import Options
from service.triton_server.malloc import ALLOCATOR, allocator_environment
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

IMAGES = """
import numpy as np
from pathlib import Path

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

{before}
np.ones(30 << 20, np.uint8)  # glibc raises its threshold when the first one is freed
before, images, small = megabytes(), [], []
for _ in range(6):
    images.append(np.ones(20 << 20, np.uint8))
    small.append(np.ones(100 << 10, np.uint8))  # outlives an image, and lies behind it on a heap
del images
print(megabytes() - before)
"""


def retained(before: str, **environment: str) -> int:
    """Megabytes that a new process retains after it has freed 120 in images."""
    inherited = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    command = [sys.executable, "-c", IMAGES.format(before=before)]
    done = subprocess.run(command, env=inherited | environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_memory_freed_between_objects_in_use_is_given_back() -> None:
    assert retained("") > 50
    assert retained("from service.triton_server import malloc; assert malloc.set_up()") < 10
    assert retained("", **allocator_environment()) < 10


def test_the_settings_of_the_caller_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    assert allocator_environment() == {
        "MALLOC_ARENA_MAX": "7",
        "MALLOC_MMAP_THRESHOLD_": "16777216",
        "MALLOC_TRIM_THRESHOLD_": "33554432",
    }
    # with this setting images are on the heaps
    mine = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
    assert retained("from service.triton_server import malloc; malloc.set_up()", **mine) > 50


class Failing(FakeDetector):
    """A detector that fails, and sets `gone` when the image is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = threading.Event()

    async def detect(self, image: np.ndarray, **_: object) -> Detections:
        weakref.finalize(image, self.gone.set)
        raise EngineTimeout


@pytest.mark.anyio
async def test_the_image_of_a_failed_request_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        detector = Failing()
        gateway = make_gateway(FakeEngine(), detector)
        with pytest.raises(ServiceError), gateway.admitted("rest", "id", {}):
            await gateway.detect(encoded(gradient_image()), Options(), gateway.deadline(None))
        # the thread that decoded it may release it a moment later
        assert await asyncio.to_thread(detector.gone.wait, 10)
    finally:
        gc.enable()
