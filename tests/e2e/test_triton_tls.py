"""TLS between gateway and Triton: a real Triton, started as the images start it, that asks for a certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from landmarks.golden import golden_crop
from service.bootstrap import running_gateway
from service.engines.port import EngineUnavailable
from service.engines.triton.engine import TritonEngine
from service.engines.triton.tls import TritonTls
from service.errors import StartError
from service.settings import Settings
from tests.deploy.entry_point import Container, container
from tests.service.triton_double import until

pytestmark = [pytest.mark.usefixtures("needs_triton"), pytest.mark.anyio]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.crt; the server's certificate, for localhost only; the gateway's; and those of a other-authority."""
    files = tmp_path_factory.mktemp("tls")
    ours, theirs = trustme.CA(), trustme.CA()
    for name, authority, identity in (
        ("server", ours, "localhost"),
        ("gateway", ours, "gateway.example.com"),
        ("other-authority", theirs, "gateway.example.com"),
    ):
        certificate = authority.issue_cert(identity)
        certificate.cert_chain_pems[0].write_to_path(str(files / f"{name}.crt"))
        certificate.private_key_pem.write_to_path(str(files / f"{name}.key"))
    ours.cert_pem.write_to_path(str(files / "ca.crt"))
    theirs.cert_pem.write_to_path(str(files / "other-ca.crt"))
    return files


@pytest.fixture(scope="module")
def triton(
    needs_triton: None, model_repository: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    files = {
        "tls_certificate": folder / "server.crt",
        "tls_key": folder / "server.key",
        "tls_client_ca": folder / "ca.crt",
    }
    with container(tmp_path_factory.mktemp("triton"), model_repository, **files) as running:
        yield running


@asynccontextmanager
async def engine_of(url: str, tls: TritonTls | None) -> AsyncIterator[TritonEngine]:
    """An engine that is not started yet."""
    engine = TritonEngine(url, tls=tls)
    try:
        yield engine
    finally:
        await engine.close()


async def test_a_gateway_with_a_certificate_is_answered(triton: Container, folder: Path) -> None:
    tls = TritonTls(folder / "ca.crt", folder / "gateway.crt", folder / "gateway.key")
    async with engine_of(f"localhost:{triton.grpc}", tls) as engine:
        await engine.start()
        assert np.isfinite((await engine.infer(golden_crop()[None])).points).all()


REFUSED = {
    "plain text": ("localhost", None),
    "no certificate of its own": ("localhost", ("ca.crt",)),
    "a certificate of another authority": ("localhost", ("ca.crt", "other-authority.crt", "other-authority.key")),
    "a server of another authority": ("localhost", ("other-ca.crt", "gateway.crt", "gateway.key")),
    "a server of another name": ("127.0.0.1", ("ca.crt", "gateway.crt", "gateway.key")),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_any_other_is_refused(triton: Container, folder: Path, case: str) -> None:
    host, names = REFUSED[case]
    tls = None if names is None else TritonTls(*(folder / name for name in names))
    async with engine_of(f"{host}:{triton.grpc}", tls) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.start()


async def test_files_that_are_replaced_are_used_for_the_next_connection(
    triton: Container, folder: Path, tmp_path: Path
) -> None:
    for name in ("crt", "key"):
        (tmp_path / f"mine.{name}").write_bytes((folder / f"other-authority.{name}").read_bytes())
    tls = TritonTls(folder / "ca.crt", tmp_path / "mine.crt", tmp_path / "mine.key")
    async with engine_of(f"localhost:{triton.grpc}", tls) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.start()
        for name in ("crt", "key"):
            (tmp_path / f"mine.{name}").write_bytes((folder / f"gateway.{name}").read_bytes())
        await until(lambda: engine.endpoints == 1)
        assert await engine.ready()


async def test_files_that_cannot_be_used_are_reported_at_start(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.crt").write_text("no certificate\n")
    url = "localhost:1"
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"triton_tls_ca": tmp_path / "none.crt"}, "none.crt cannot be used"),
        ({"triton_tls_ca": tmp_path / "empty.crt"}, "empty.crt cannot be used"),
        ({"triton_tls_certificate": folder / "gateway.crt"}, "LANDMARKS_TRITON_TLS_KEY belong together"),
        ({"triton_tls_certificate": folder / "gateway.crt", "triton_tls_key": folder / "gateway.key"}, "_TLS_CA"),
    )
    for files, message in cases:
        with pytest.raises(StartError, match=message):
            async with running_gateway(Settings(triton_url=url, **files)):
                pass
