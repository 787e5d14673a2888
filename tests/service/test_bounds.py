"""The memory of a gateway's process, whatever arrives on either API."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.conftest import ROOT
from tests.contract.test_receiving import MANY_FIELDS, RawClient
from tests.fakes import encoded, gradient_image

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")]

MEMORY = 300 << 20
"""What requests may hold."""
OWN = 200 << 20
"""What the process and the libraries take of their own while they work."""
LARGEST = 8 << 20

PROGRAM = f"""
import asyncio, contextlib
from service import server
from service.memory import MemoryBudget
from service.settings import Settings
from service.triton_server import malloc
from tests.fakes import FakeDetector, FakeEngine, make_gateway

@contextlib.asynccontextmanager
async def running_gateway(settings):
    yield make_gateway(
        FakeEngine(), FakeDetector(), memory=MemoryBudget({MEMORY}, 0.5), max_bytes={LARGEST},
        max_batch_bytes={LARGEST}, max_pixels=10**8, max_side=30_000, max_in_flight=64, request_timeout=60.0,
    )

malloc.set_up()
server.running_gateway = running_gateway
asyncio.run(server.serve(Settings(port=0, grpc_port=0, grace=0, log_level="error")))
"""

SMALL = encoded(gradient_image())
WIDE = encoded(np.zeros((5000, 5000), np.uint8))
"""A file of 25 kB, of which one image alone takes 175 of the 200 MiB for images."""
HUGE = encoded(np.zeros((9000, 9000), np.uint8))
"""Takes more than there is."""


class Process:
    def __init__(self, pid: int, announced: str) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.rest = re.findall(r"REST +(\S+)", announced)[0]
        self.rpc = re.findall(r"gRPC +(\S+)", announced)[0]

    def peak(self) -> int:
        """The most bytes that were resident so far."""
        return int(re.findall(r"VmHWM:\s+(\d+)", self._status.read_text())[0]) << 10


@pytest.fixture
def process() -> Iterator[Process]:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            announced = ""
            while "try " not in announced:
                line = child.stdout.readline()
                assert line, "the process has ended"
                announced += line
            yield Process(child.pid, announced)
        finally:
            child.kill()


async def test_the_process_stays_within_its_memory_and_answers_what_comes_next(process: Process) -> None:
    before = process.peak()
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=process.rest, timeout=120, limits=limits) as client,
        grpc.aio.insecure_channel(process.rpc, [("grpc.max_send_message_length", -1)]) as channel,
    ):
        stub = landmarks_pb2_grpc.LandmarksStub(channel)

        async def rest(body: bytes, kind: str = "application/octet-stream") -> str:
            response = await client.post("/v1/landmarks", content=body, headers={"Content-Type": kind})
            return str(response.json().get("code", "ok"))

        async def rpc(image: bytes) -> str:
            try:
                await stub.Detect(pb.DetectRequest(image=image), timeout=120)
            except grpc.aio.AioRpcError as error:
                return dict(error.trailing_metadata() or ()).get("landmarks-error-code", error.code().name)
            return "ok"

        async def stream(image: bytes) -> str:
            frames = [pb.TrackRequest(frame=pb.TrackFrame(number=number, image=image)) for number in range(8)]
            call = stub.Track(iter([pb.TrackRequest(options=pb.TrackOptions()), *frames]), timeout=120)
            try:
                codes = {answer.problem.code or "ok" async for answer in call}
            except grpc.aio.AioRpcError as error:
                # grpc.aio does not tell the code of a call that ends while a message is sent
                return dict(error.trailing_metadata() or ()).get("landmarks-error-code", "overloaded")
            (code,) = codes
            return code

        async def all_codes(*calls: Awaitable[str]) -> Counter[str]:
            return Counter(await asyncio.gather(*calls))

        pictures = await all_codes(*(ask(WIDE) for ask in (rest, rpc, stream) * 3), rest(HUGE), rpc(HUGE), stream(HUGE))
        assert pictures == {"ok": 9, "too_many_pixels": 3}

        noise = bytes(LARGEST - 10)
        text = json.dumps({"image": base64.b64encode(noise).decode()}).encode()
        codes = await all_codes(*(rest(noise) for _ in range(16)), *(rest(text, "application/json") for _ in range(8)))
        codes += await all_codes(*(rpc(noise) for _ in range(16)), *(stream(noise) for _ in range(16)))
        assert set(codes) <= {"not_an_image", "overloaded"}
        assert codes["not_an_image"]

        uploads = [asyncio.create_task(drip(client)) for _ in range(40)]
        drips = [await RawClient.connect(process.rpc.replace("localhost", "127.0.0.1")) for _ in range(40)]
        for number, raw in enumerate(drips):
            raw.begin("landmarks.v1.Landmarks/Detect", LARGEST - 100)
            with suppress(ConnectionError):
                raw.writer.write(bytes(60_000 if number else 0))
        while await rest(SMALL) == "overloaded" or await rpc(SMALL) == "overloaded":
            await asyncio.sleep(0.2)
        for raw in drips:
            raw.writer.close()
        for upload in uploads:
            upload.cancel()
        assert (await rest(SMALL), await rpc(SMALL)) == ("ok", "ok")
    assert process.peak() - before < MEMORY + OWN


async def test_metadata_that_grow_when_they_are_parsed_take_little_of_it(process: Process) -> None:
    """Fields of a byte each, from clients to which gRPC's limit of metadata does not apply yet."""
    before = process.peak()
    address = process.rpc.replace("localhost", "127.0.0.1")
    clients = [await RawClient.connect(address) for _ in range(10)]
    for client in clients:
        with suppress(ConnectionError):
            for stream in range(1, 1000, 2):
                client.begin("landmarks.v1.Landmarks/Detect", LARGEST - 100, stream, MANY_FIELDS)
                await client.writer.drain()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = landmarks_pb2_grpc.LandmarksStub(channel)
        code = grpc.StatusCode.CANCELLED  # while too many calls wait
        while code is grpc.StatusCode.CANCELLED:
            code = await stub.Detect(pb.DetectRequest(image=SMALL), timeout=120, wait_for_ready=True).code()
        assert code is grpc.StatusCode.OK
    for client in clients:
        client.writer.close()
    assert process.peak() - before < MEMORY + OWN


async def drip(client: httpx.AsyncClient) -> None:
    """Sends most of a body at once, and does not end it."""

    async def body() -> AsyncIterator[bytes]:
        yield bytes(LARGEST - 100_000)
        await asyncio.sleep(100)

    with suppress(httpx.HTTPError):
        await client.post("/v1/landmarks", content=body(), headers={"Content-Type": "image/png"})
