"""What clients do wrong on gRPC, in the log of a process: nothing past its format."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import subprocess
import sys

import grpc
import pytest

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.conftest import ROOT
from tests.contract.test_receiving import DATA, END_STREAM, MANY_FIELDS, RawClient, frame

pytestmark = pytest.mark.anyio

PROGRAM = """
import asyncio, contextlib
from service import server
from service.observability import logs
from service.settings import Settings
from tests.fakes import FakeDetector, FakeEngine, make_gateway

@contextlib.asynccontextmanager
async def running_gateway(settings):
    yield make_gateway(FakeEngine(), FakeDetector())

settings = Settings(port=0, grpc_port=0, grace=0, log_format="json")
logs.set_up(settings)
server.running_gateway = running_gateway
asyncio.run(server.serve(settings))
"""


async def test_every_line_has_the_format_whatever_clients_of_grpc_do() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        announced = ""
        while "try " not in announced:
            announced += process.stdout.readline()
        (port,) = re.findall(r"gRPC +\S+:(\d+)", announced)
        try:
            await misbehave(f"127.0.0.1:{port}")
        finally:
            process.terminate()
        _, log = process.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line.get("code") == "ok" for line in lines)
    assert not any("exception" in line for line in lines)


async def misbehave(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = landmarks_pb2_grpc.LandmarksStub(channel)
        compressed = stub.Detect(pb.DetectRequest(), compression=grpc.Compression.Gzip)
        assert await compressed.code() is grpc.StatusCode.UNIMPLEMENTED
        many = await RawClient.connect(address)
        for stream in range(1, 300, 2):
            many.begin("landmarks.v1.Landmarks/Detect", 90_000, stream, MANY_FIELDS)
        await many.answer()
        many.writer.close()
        no_window = struct.pack(">HI", 4, 0)
        leaving = [await RawClient.connect(address, settings=no_window) for _ in range(10)]
        for client in leaving:
            client.begin("landmarks.v1.Landmarks/ListModels", 0)
            client.writer.write(frame(DATA, END_STREAM, 1))
            await asyncio.wait_for(client.reader.readuntil(b"application/grpc"), 60)  # its answer is on its way
            client.writer.close()
        image = (ROOT / "landmarks" / "golden.png").read_bytes()
        await stub.Detect(pb.DetectRequest(image=image), wait_for_ready=True)
