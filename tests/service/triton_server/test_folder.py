"""Folders in shared memory, and what a start removes that processes have left which were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.triton_server import folder as module
from service.triton_server.folder import create, regions, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory as a folder")


@pytest.fixture
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another folder in place of /dev/shm, which other tests use meanwhile."""
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
    yield tmp_path
    monkeypatch.undo()


OWNER = """
import sys, time
from pathlib import Path
from service.triton_server import folder
folder.SHARED_MEMORY = Path(sys.argv[1])
path, lock = folder.create()
(path / "grpc:1").touch()
Path(f"{path}-region").write_bytes(b"tensor")
print(path, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(shared_memory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(shared_memory)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        try:
            assert sweep() == []
            assert regions(folder) == [Path(f"{folder}-region")]
        finally:
            owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert folder.exists()
    assert sweep() == [folder]
    assert list(shared_memory.iterdir()) == []


def test_other_files_and_links_are_left_alone(shared_memory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine").touch()
    (shared_memory / "landmarks-triton-link").symlink_to(elsewhere)
    (shared_memory / "landmarks-triton-12345678region").touch()  # of a folder that is gone: it may be in use
    (shared_memory / "other").mkdir()
    before = set(shared_memory.iterdir())
    assert sweep() == []
    assert set(shared_memory.iterdir()) == before
    assert (elsewhere / "mine").exists()


def test_the_folder_of_another_user_is_left_alone(shared_memory: Path) -> None:
    folder, lock = create()
    os.close(lock)
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    os.chown(folder, 65534, 65534)
    assert sweep() == []
    assert folder.exists()


def test_only_its_user_can_enter_a_folder(shared_memory: Path) -> None:
    folder, lock = create()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sweep() == []
    os.close(lock)
    assert sweep() == [folder]


def test_a_folder_that_is_swept_before_it_is_locked_is_not_used(
    shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._lock
    swept: list[Path] = []

    def another_was_faster(folder: Path) -> int | None:
        if not swept:
            monkeypatch.setattr(module, "_lock", real)
            swept.extend(sweep())
        return real(folder)

    monkeypatch.setattr(module, "_lock", another_was_faster)
    folder, lock = create()
    assert len(swept) == 1
    assert folder.exists()
    assert folder not in swept
    os.close(lock)
