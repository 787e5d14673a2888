"""The client's connections to servers that misbehave, over real sockets; keys and certificates over both APIs."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from landmarks_client import AsyncClient, NoAnswer, ServiceProblem, Tls
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.client.conftest import asking, every_client

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NO_MODELS = json.dumps({"models": []}).encode()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


@asynccontextmanager
async def listening(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """host:port of a server that handles each connection so, then resets it. Its kernel buffers little unread data."""
    ended: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = asyncio.get_running_loop().create_future()
        ended.append(end)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()
            end.set_result(None)

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(serve, sock=listener, ssl=context):
        try:
            yield f"localhost:{listener.getsockname()[1]}"
        finally:
            await asyncio.gather(*ended)


def answering(*answers: bytes, heads: list[bytes] | None = None) -> Handler:
    """Answers the first request of the nth connection with the nth answer, or the last; an empty one hangs up."""
    seen = [] if heads is None else heads

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        answer = answers[min(len(seen), len(answers)) - 1]
        writer.write(answer)
        if answer:
            await reader.read()  # until the client closes

    return handle


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
@every_client
async def test_another_server_at_the_address_is_reported(said: bytes, kind: Any) -> None:
    async with listening(answering(said)) as address, asking(kind, f"http://{address}") as ask:
        with pytest.raises(NoAnswer, match=r"is not the landmark service \(not_understood\)"):
            await ask("models")


PROBLEM = {"code": "overloaded", "detail": "busy", "title": "Busy", "action": "Wait.", "request_id": "one"}


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("-1", None)])
@every_client
async def test_a_problem_says_when_to_retry(header: str, seconds: float | None, kind: Any) -> None:
    said = http(json.dumps(PROBLEM).encode(), "429 Too Many Requests", f"RETRY-After: {header}")
    async with listening(answering(said)) as address, asking(kind, f"http://{address}", timeout=5) as ask:
        with pytest.raises(ServiceProblem) as caught:
            await ask("models")
    assert (caught.value.code, caught.value.request_id, caught.value.retry_after) == ("overloaded", "one", seconds)


@every_client
async def test_a_lost_connection_is_tried_again(kind: Any) -> None:
    heads: list[bytes] = []
    async with (
        listening(answering(b"", b"", http(NO_MODELS), heads=heads)) as address,
        asking(kind, f"http://{address}") as ask,
    ):
        assert await ask("models") == []
    identities = {line for head in heads for line in head.split(b"\r\n") if line.lower().startswith(b"x-request-id")}
    assert (len(heads), len(identities)) == (3, 1)


@every_client
async def test_a_prefix_of_the_address_precedes_every_path(kind: Any) -> None:
    heads: list[bytes] = []
    async with (
        listening(answering(http(NO_MODELS), heads=heads)) as address,
        asking(kind, f"http://{address}/behind/") as ask,
    ):
        assert await ask("models") == []
    request, *headers = heads[0].lower().split(b"\r\n")
    assert request == b"get /behind/v1/models http/1.1"
    assert f"host: {address}".encode() in headers
    assert b"user-agent: landmarks-client" in headers


async def too_late(kind: Any, handler: Handler, timeout: float, method: str, *arguments: Any) -> str:
    """The code of the failure of a client of this kind, where connections are handled so."""
    async with listening(handler) as address, asking(kind, f"http://{address}", timeout=timeout) as ask:
        with pytest.raises(NoAnswer, match="in time") as caught:
            await ask(method, *arguments)
    return caught.value.code


@every_client
@pytest.mark.parametrize("at_once", [0, 50])
async def test_a_service_that_answers_byte_by_byte_misses_the_deadline(kind: Any, at_once: int) -> None:
    """All along, or once the head is sent."""
    said = http(b'{"models": []}' + b" " * 46)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said[:at_once])
        for byte in said[at_once:]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    assert await too_late(kind, handle, 0.3, "models") == "deadline_exceeded"


@every_client
async def test_a_service_that_reads_bit_by_bit_misses_the_deadline(kind: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"{}"))  # read once all is sent
        while await reader.read(65536):  # 2.5 s for all of it, though none of it waits long
            await asyncio.sleep(0.01)

    assert await too_late(kind, handle, 0.5, "landmarks", bytes(16 << 20)) == "deadline_exceeded"


@every_client
async def test_a_connection_is_reused(kind: Any) -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(http(NO_MODELS))

    async with listening(handle) as address, asking(kind, f"http://{address}") as ask:
        assert [await ask("models") for _ in range(3)] == [[], [], []]
    assert len(connections) == 1


async def test_a_cancelled_call_closes_its_connection() -> None:
    """So that the service can stop working on it."""
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        closed.set()

    async with listening(handle) as address, AsyncClient(f"http://{address}") as client:
        call = asyncio.ensure_future(client.models())
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await closed.wait()


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
async def test_rest_sends_its_key_and_its_certificate(authority: trustme.CA, tls: Tls, kind: Any) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    heads: list[bytes] = []
    async with listening(answering(http(NO_MODELS), heads=heads), context) as address:
        async with asking(kind, f"https://{address}", api_key="secret", tls=tls) as ask:
            assert await ask("models") == []
        async with asking(kind, f"https://{address}", tls=Tls(), timeout=5) as ask:
            with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
                await ask("models")
    assert b"authorization: bearer secret" in heads[0].lower()


class Models(landmarks_pb2_grpc.LandmarksServicer):
    async def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        name = f"{metadata['authorization']} {context.auth_context()['x509_subject_alternative_name'][0].decode()}"
        return pb.ListModelsResponse(models=[pb.ModelDescription(name=name)])


@every_client
async def test_grpc_sends_its_key_and_its_certificate(authority: trustme.CA, tls: Tls, kind: Any) -> None:
    own = authority.issue_cert("localhost")
    pair = own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    server = grpc.aio.server()
    landmarks_pb2_grpc.add_LandmarksServicer_to_server(Models(), server)
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    try:
        async with asking(kind, f"grpcs://localhost:{port}", api_key="secret", tls=tls) as ask:
            assert (await ask("models"))[0].name == "Bearer secret client@example.org"
    finally:
        await server.stop(None)


@every_client
async def test_a_grpc_connection_that_is_lost_in_a_call_is_tried_again(kind: Any) -> None:
    arrived = asyncio.Event()
    identities: list[Any] = []

    class FirstHangs(landmarks_pb2_grpc.LandmarksServicer):
        async def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:  # noqa: N802
            identities.append(dict(context.invocation_metadata())["x-request-id"])
            if len(identities) == 1:
                arrived.set()
                await asyncio.Event().wait()
            return pb.ListModelsResponse()

    server = grpc.aio.server()
    landmarks_pb2_grpc.add_LandmarksServicer_to_server(FirstHangs(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the first call has arrived, and later ones for as long as the client wants."""
        is_first = not arrived.is_set()
        there, back = await asyncio.open_connection("127.0.0.1", port)
        directions = [asyncio.ensure_future(pass_on(reader, back)), asyncio.ensure_future(pass_on(there, writer))]
        ended = asyncio.ensure_future(arrived.wait()) if is_first else directions[0]
        await asyncio.wait([ended])
        for direction in directions:
            direction.cancel()
        back.close()

    try:
        async with listening(relay) as address, asking(kind, f"grpc://{address}") as ask:
            assert await ask("models") == []
    finally:
        await server.stop(None)
    assert len(identities) == 2
    assert len(set(identities)) == 1


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
