"""What needs no service of ours: addresses, retries, TLS and keys, strangers, and what the package stands on."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme

from landmarks_client import AsyncClient, Client, ClientUsageError, NoAnswer, ServiceProblem, Tls
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from landmarks_client.retry import Attempts
from landmarks_client.wire import parse_target
from tests.client.conftest import ask
from tests.conftest import ROOT

MODELS: dict[str, list] = {"models": []}


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://", "file:///etc/passwd"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ClientUsageError, match="is no address"):
        Client(url)


@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
@pytest.mark.parametrize(
    "host", ["[::1", ":80", "host:99999", "host:-1", "host:port", "host\n", "1.2.3.999", "h/\ud800"]
)
def test_an_address_that_nobody_can_have_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(ClientUsageError, match="is no address"):
        Client(f"{scheme}://{host}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("text", ["schl\u00fcssel", "secret\n", "se cret"])
def test_a_key_or_an_id_that_no_header_can_carry_is_refused(url: str, kind: Any, text: str) -> None:
    async def run() -> None:
        with pytest.raises(ClientUsageError, match="the API key cannot be sent: give printable ASCII") as caught:
            kind(url, api_key=text)
        assert text not in str(caught.value)
        client = kind(url)
        with pytest.raises(ClientUsageError, match="the request id cannot be sent: give printable ASCII"):
            await ask(client, "landmarks", b"", request_id=text)
        await ask(client, "close")

    asyncio.run(run())


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ClientUsageError, match="the API key cannot be sent"):
        Client("http://127.0.0.1:1", api_key="")


def test_an_address_says_how_and_where() -> None:
    found = parse_target("https://host:1/prefix/", "secret", None)
    assert (found.scheme, found.host, found.url) == ("https", "host:1/prefix", "https://host:1/prefix")
    assert found.headers == [("authorization", "Bearer secret")]
    assert parse_target("grpc://host:1", None, None).headers == []


def test_tls_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClientUsageError, match="without TLS"):
        Client("http://host", tls=Tls())
    with pytest.raises(ClientUsageError, match="go together"):
        Tls(certificate=tmp_path / "a.pem")
    for url in ("https://host", "grpcs://host"):
        with pytest.raises(ClientUsageError, match=r"TLS files.*missing\.pem"):
            Client(url, tls=Tls(ca=tmp_path / "missing.pem"))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="positive"):
        client.models(timeout=timeout)


def test_each_has_options_for_each_image() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="1 options for 2 images"):
        client.landmarks_batch([b"", b""], each=[{}])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
@pytest.mark.parametrize(
    "options",
    [
        {"boxes": [(1, 2, 3)]},
        {"boxes": 3},
        {"boxes": [("a", "b", "c", "d")]},
        {"omit": 3},
        {"topk": [9]},
        {"max_faces": np.array([1, 2])},
        {"model": b"compact"},
    ],
)
def test_options_of_a_wrong_type_are_told_before_they_are_sent(url: str, options: Any) -> None:
    with Client(url) as client:
        with pytest.raises(ClientUsageError, match="the options cannot be sent"):
            client.landmarks(b"", **options)
        with pytest.raises(ClientUsageError, match="the options cannot be sent"):
            client.landmarks_batch([b""], each=[options])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
def test_text_that_is_no_text_is_told_before_it_is_sent(url: str) -> None:
    with Client(url) as client, pytest.raises(ClientUsageError, match="the options cannot be sent"):
        client.landmarks(b"", model="\ud800")


def test_options_that_no_address_can_hold_are_told_before_they_are_sent() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="the options cannot be sent"):
        client.landmarks(b"", boxes=[(1, 2, 3, 4)] * 5000)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
@pytest.mark.parametrize("image", [np.zeros(9, np.uint8), None])
def test_an_image_is_bytes_or_a_path(url: str, image: Any) -> None:
    with Client(url) as client, pytest.raises(ClientUsageError, match="an image is the bytes of a file, or its path"):
        client.landmarks(image)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failure(retry_after: float | None) -> ServiceProblem:
    return ServiceProblem("overloaded", "busy", retry_after=retry_after)


def test_attempts_wait_as_asked_and_stop_at_the_deadline() -> None:
    clock = Clock()
    attempts = Attempts("id", 3.0, clock)
    assert (attempts.next().request_id, attempts.next().timeout) == ("id", 3.0)
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.5
    assert attempts.next().timeout == 1.5
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.0
    with pytest.raises(ServiceProblem):  # half a second is left
        attempts.delay_after(failure(1.0))


def test_attempts_wait_longer_every_time() -> None:
    attempts = Attempts("id", 3.0, Clock())
    waits = [attempts.delay_after(failure(0.0)) for _ in range(4)]
    assert all(base <= wait <= 1.25 * base for base, wait in zip((0.05, 0.1, 0.2, 0.4), waits, strict=True))


def test_a_failure_that_would_come_again_is_not_tried_again() -> None:
    with pytest.raises(ServiceProblem):
        Attempts("id", 3.0, Clock()).delay_after(failure(None))


Answering = Callable[[bytes], bytes]
"""The head of an HTTP request -> the bytes to answer; none to hang up."""


@asynccontextmanager
async def listening(answering: Answering, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answering(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "said",
    [
        http(b"<html>"),
        http(b"<html>", "502 Bad Gateway"),
        http(b"[]"),
        http(b'{"models": [{}]}'),
        http(b'{"models": 3}'),
        http(b'{"error": 1}', "401 Unauthorized"),
        http(b"null", "500 Internal Server Error"),
    ],
)
def test_a_stranger_at_the_address_is_told_of(said: bytes) -> None:
    async def run() -> Any:
        async with listening(lambda head: said) as port, AsyncClient(f"http://127.0.0.1:{port}") as client:
            return await client.models()

    with pytest.raises(NoAnswer, match=r"is not the landmark service \(not_understood\)"):
        asyncio.run(run())


def test_a_connection_that_is_lost_is_tried_again() -> None:
    heads: list[bytes] = []

    def answering(head: bytes) -> bytes:
        heads.append(head)
        return b"" if len(heads) < 3 else http(json.dumps(MODELS).encode())

    async def run() -> Any:
        async with listening(answering) as port, AsyncClient(f"http://127.0.0.1:{port}") as client:
            return await client.models()

    assert asyncio.run(run()) == []
    identities = {line for head in heads for line in head.split(b"\r\n") if line.lower().startswith(b"x-request-id")}
    assert (len(heads), len(identities)) == (3, 1)


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A listener whose kernel holds little of what was not read yet."""
    ended: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = asyncio.get_running_loop().create_future()
        ended.append(end)
        try:
            with suppress(ConnectionError):
                await handle(reader, writer)
        finally:
            writer.transport.abort()
            end.set_result(None)

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(serve, sock=listener):
        try:
            yield listener.getsockname()[1]
        finally:
            await asyncio.gather(*ended)


every_client = pytest.mark.parametrize("kind", [Client, AsyncClient])


async def too_late(kind: Any, handle: Any, timeout: float, method: str, *arguments: Any) -> str:
    """The code of what a client of this kind is told where connections are handled so."""
    async with serving(handle) as port:
        client = kind(f"http://127.0.0.1:{port}", timeout=timeout)
        with pytest.raises(NoAnswer, match="in time") as caught:
            await ask(client, method, *arguments)
        await ask(client, "close")
    return caught.value.code


@every_client
@pytest.mark.parametrize("at_once", [0, 70])
def test_a_service_that_answers_byte_by_byte_misses_the_deadline(kind: Any, at_once: int) -> None:
    """All along, or once the head is sent."""
    said = http(b'{"models": []}' + b" " * 46)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said[:at_once])
        for byte in said[at_once:]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    assert asyncio.run(too_late(kind, handle, 0.3, "models")) == "deadline_exceeded"


@every_client
def test_a_service_that_reads_bit_by_bit_misses_the_deadline(kind: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"{}"))  # read once all is sent
        while await reader.read(65536):  # 2.5 s for all of it, though none of it waits long
            await asyncio.sleep(0.01)

    assert asyncio.run(too_late(kind, handle, 0.5, "landmarks", bytes(16 << 20))) == "deadline_exceeded"


@every_client
def test_a_connection_is_kept(kind: Any) -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"models": []}')

    async def run() -> Any:
        async with serving(handle) as port:
            client = kind(f"http://127.0.0.1:{port}")
            answers = [await ask(client, "models") for _ in range(3)]
            await ask(client, "close")
            return answers

    assert asyncio.run(run()) == [[], [], []]
    assert len(connections) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> Tls:
    """A client's files."""
    own = authority.issue_cert("client@example.org")
    files = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(files[0]))
    own.cert_chain_pems[0].write_to_path(str(files[1]))
    own.private_key_pem.write_to_path(str(files[2]))
    return Tls(*files)


@every_client
def test_rest_shows_its_key_and_its_certificate(authority: trustme.CA, tls: Tls, kind: Any) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    heads: list[bytes] = []

    def answering(head: bytes) -> bytes:
        heads.append(head)
        return http(json.dumps(MODELS).encode())

    async def run() -> None:
        async with listening(answering, context) as port:
            client = kind(f"https://localhost:{port}", api_key="secret", tls=tls)
            assert await ask(client, "models") == []
            await ask(client, "close")
            stranger = kind(f"https://localhost:{port}", tls=Tls(), timeout=5)
            with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
                await ask(stranger, "models")
            await ask(stranger, "close")

    asyncio.run(run())
    assert b"authorization: bearer secret" in heads[0].lower()


class Models(landmarks_pb2_grpc.LandmarksServicer):
    async def ListModels(self, request, context):  # noqa: N802
        metadata = dict(context.invocation_metadata())
        name = f"{metadata['authorization']} {context.auth_context()['x509_subject_alternative_name'][0].decode()}"
        return pb.ListModelsResponse(models=[pb.ModelDescription(name=name)])


def test_grpc_shows_its_key_and_its_certificate(authority: trustme.CA, tls: Tls) -> None:
    own = authority.issue_cert("localhost")
    pair = own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)

    async def run() -> str:
        server = grpc.aio.server()
        landmarks_pb2_grpc.add_LandmarksServicer_to_server(Models(), server)
        port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        try:
            async with AsyncClient(f"grpcs://localhost:{port}", api_key="secret", tls=tls) as client:
                return (await client.models())[0].name
        finally:
            await server.stop(None)

    assert asyncio.run(run()) == "Bearer secret client@example.org"


def test_the_client_needs_nothing_of_the_service() -> None:
    unwanted = "{'service', 'landmarks', 'fastapi', 'torch', 'cv2', 'tritonclient', 'pydantic'}"
    program = f"import sys, landmarks_client; print({unwanted} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
