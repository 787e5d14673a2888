"""How much shared memory Triton's models begin with, and where there is too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.triton_server import process
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError, free_shared_memory, region_bytes


@pytest.mark.parametrize(("free", "region"), [(96, 32), (1000, 32), (95, 1), (64, 1), (56, 1)])
def test_regions_begin_small_where_there_is_little_shared_memory(free: int, region: int) -> None:
    assert region_bytes(free << 20) == region << 20


@pytest.mark.anyio
async def test_too_little_shared_memory_is_one_line_that_says_what_to_do(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("wheel_folder", "libpython_folder"):
        monkeypatch.setattr(process, folder, lambda: Path("/nowhere"))
    monkeypatch.setattr(process, "link_backend", lambda *_: Path("/nowhere"))
    with pytest.raises(EmbeddedTritonError) as caught:
        await EmbeddedTriton(model_repository, free=(56 << 20) - 1).start()
    (line,) = str(caught.value).splitlines()
    for part in ("/dev/shm has 55 MiB free", "--shm-size=256m", "LANDMARKS_ENGINE=local"):
        assert part in line


def test_the_free_shared_memory_is_that_of_dev_shm() -> None:
    assert free_shared_memory() >= 0
