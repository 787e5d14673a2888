"""Keys and certificates that are replaced while both APIs run."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.observability.metrics import Metrics
from service.security import reload
from service.security.api_keys import SecurityError, new_key, read_protection
from service.security.reload import WatchedFiles, keep_loaded, watched
from service.security.tls import expiry
from service.settings import Settings
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "SECONDS", 0.01)


def look_twice(files: WatchedFiles) -> None:
    """A change counts once a second look finds the files as the first one did."""
    files.look()
    files.look()


async def until(is_so: Callable[[], object]) -> None:
    """Waits for at most five seconds."""
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_key_is_revoked_and_another_added_on_both_apis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (first, line), (second, other) = new_key("ana"), new_key("bea")
    path = tmp_path / "keys"
    path.write_text(line)
    settings = Settings(api_keys_file=path)
    protection = read_protection(settings)
    task = asyncio.create_task(keep_loaded(watched(protection, settings, Metrics())))

    async with open_apis(make_gateway(FakeEngine(), FakeDetector()), protection) as apis:

        async def codes(key: str) -> list[object]:
            rest = await apis["rest"].client.get("/v1/models", headers={"X-API-Key": key})
            call = apis["grpc"].channel.unary_unary("/landmarks.v1.Landmarks/ListModels")(
                b"", metadata=(("x-api-key", key),)
            )
            return [rest.status_code, (await call.code()).name]

        opened, refused = [200, "OK"], [401, "UNAUTHENTICATED"]
        assert [await codes(first), await codes(second)] == [opened, refused]
        path.write_text(f"{other}\n# and no other\n")
        await until(lambda: protection.keys.holder(second))
        assert [await codes(first), await codes(second)] == [refused, opened]
        path.write_text("no key at all")
        await until(lambda: "remains in use" in caplog.text)
        assert [await codes(first), await codes(second)] == [refused, opened]
        moved = path.rename(tmp_path / "away")
        await until(lambda: not protection.keys)
        assert "its keys are refused" in caplog.text
        assert [await codes(first), await codes(second)] == [refused, refused]
        moved.rename(path).write_text(f"{other}\n")
        await until(lambda: protection.keys)
        assert [await codes(first), await codes(second)] == [refused, opened]
        path.write_text("# all are revoked\n")
        await until(lambda: not protection.keys)
        assert [await codes(first), await codes(second)] == [refused, refused]
    task.cancel()


async def test_a_certificate_is_replaced_on_both_apis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, reload.__name__)
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    old, new = trustme.CA(), trustme.CA()

    def issue(authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1", not_after=datetime(2060, 1, 2, tzinfo=timezone.utc))
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(certificate))

    issue(old)
    settings = Settings(tls_certificate=certificate, tls_key=key)
    protection, metrics = read_protection(settings), Metrics()
    task = asyncio.create_task(keep_loaded(watched(protection, settings, metrics)))

    async def trusted(apis: dict, authority: trustme.CA) -> list[bool]:
        pem = authority.cert_pem.bytes()
        context = ssl.create_default_context(cadata=pem.decode())
        host, port = apis["rest"].url.removeprefix("http://").split(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.close()
            rest = True
        except ssl.SSLCertVerificationError:
            rest = False
        async with grpc.aio.secure_channel(apis["grpc"].address, grpc.ssl_channel_credentials(pem)) as channel:
            call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            return [rest, await call.code() is grpc.StatusCode.OK]

    async with open_apis(make_gateway(FakeEngine(), FakeDetector()), protection) as apis:
        assert await trusted(apis, old) == [True, True]
        key.write_text("half a key")
        await until(lambda: "remains in use" in caplog.text)
        assert await trusted(apis, old) == [True, True]
        issue(new)
        await until(lambda: "was read again" in caplog.text)
        assert [await trusted(apis, new), await trusted(apis, old)] == [[True, True], [False, False]]
    task.cancel()
    assert b"landmarks_certificate_expiry_timestamp_seconds 2.8402" in metrics.text()  # 2060-01-02


def test_keys_of_a_lost_file_are_refused_and_those_of_the_environment_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (in_file, line), (in_environment, other) = new_key("ana"), new_key("bea")
    path = tmp_path / "keys"
    path.write_text(line)
    settings = Settings(api_keys_file=path, api_keys=other)
    protection = read_protection(settings)
    (files,) = watched(protection, settings, Metrics())
    moved = path.rename(tmp_path / "away")
    for _ in range(3):
        files.look()
    assert (protection.keys.holder(in_file), protection.keys.holder(in_environment)) == (None, "bea")
    assert caplog.text.count("its keys are refused") == 1
    moved.rename(path)  # the same file again, unchanged
    look_twice(files)
    assert protection.keys.holder(in_file) == "ana"


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An editor empties the file, and writes its lines one after the other."""
    (first, line), (second, other) = new_key("ana"), new_key("bea")
    path = tmp_path / "keys"
    path.write_text(f"{line}\n{other}\n")
    settings = Settings(api_keys_file=path)
    protection = read_protection(settings)
    (files,) = watched(protection, settings, Metrics())
    for text in ("", line, f"{line}\n{other[:20]}", f"# changed\n{line}\n{other}\n"):
        path.write_text(text)
        files.look()
        assert (protection.keys.holder(first), protection.keys.holder(second)) == ("ana", "bea")
    path.write_text("")
    look_twice(files)
    assert (protection.keys.holder(first), protection.keys.holder(second)) == (None, None)
    assert "holds no key any more" in caplog.text
    assert "cannot be used" not in caplog.text


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
def test_keys_of_a_file_that_becomes_something_else_are_refused_without_reading_it(tmp_path: Path, kind: str) -> None:
    """Nobody writes to the pipe, and the device does not end."""
    key, line = new_key("ana")
    path = tmp_path / "keys"
    path.write_text(line)
    settings = Settings(api_keys_file=path)
    protection = read_protection(settings)
    (files,) = watched(protection, settings, Metrics())
    assert protection.keys.holder(key) == "ana"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(f"{line}\n" + "#" * 2**21)
    look_twice(files)
    assert protection.keys.holder(key) is None
    with pytest.raises(SecurityError, match="cannot be read"):
        read_protection(settings)


@pytest.mark.parametrize("year", [2049, 2051])
def test_the_expiry_is_read_from_either_form_of_a_time(year: int) -> None:
    """Years from 2050 on are written with four digits."""
    end = datetime(year, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
    issued = trustme.CA().issue_cert("127.0.0.1", not_after=end)
    assert expiry("before\n" + issued.cert_chain_pems[0].bytes().decode()) == end.timestamp()
    with pytest.raises(ValueError, match="no certificate"):
        expiry("nothing")
