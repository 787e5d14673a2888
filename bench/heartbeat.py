"""How long the largest requests hold up others: the slowest answers to GET /healthz while each is worked on.

A process of its own asks for the health every few milliseconds, on one connection. The figure of "nothing" is what the
machine adds by itself.

    python -m bench.heartbeat
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection

import cv2
import grpc
import httpx
import numpy as np

from bench.measuring import machine
from bench.services import portrait, started
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc

PAUSE = 0.003
"""Seconds between two questions."""
LIMIT = 0.1
"""Seconds that an answer may take."""
IMAGE_BYTES = 30 << 20
FACES = 500


def ask_health(port: int, pipe: Connection) -> None:
    """Asks until the pipe is closed; sends the slowest answer since the last message for each message received."""
    connection, slowest = http.client.HTTPConnection("127.0.0.1", port), 0.0
    try:
        while True:
            start = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            slowest = max(slowest, time.perf_counter() - start)
            time.sleep(PAUSE)
            if pipe.poll():
                pipe.recv()
                pipe.send(slowest)
                slowest = 0.0
    except EOFError:
        connection.close()


def slowest_during(pipe: Connection, work: Callable[[], object]) -> float:
    """Seconds of the slowest answer while `work` runs."""
    pipe.send(None)
    pipe.recv()
    work()
    pipe.send(None)
    return float(pipe.recv())


def form(image: bytes) -> httpx.Request:
    """A form of one image."""
    return httpx.Request("POST", "http://x/", files={"image": ("a.png", image)})


def requests(url: str, rpc: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """The largest requests, by name."""
    client = httpx.Client(base_url=url, timeout=300)
    channel = grpc.insecure_channel(f"127.0.0.1:{rpc}", [("grpc.max_send_message_length", -1)])
    stub = landmarks_pb2_grpc.LandmarksStub(channel)  # type: ignore[no-untyped-call]
    noise = np.random.default_rng(1).integers(0, 256, IMAGE_BYTES, np.uint8).tobytes()
    text = base64.b64encode(noise).decode()
    jpeg, box = portrait(512)
    black = np.zeros((10_000, 10_000), np.uint8)
    kinds = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif"}
    pictures = {name: cv2.imencode(extension, black)[1].tobytes() for name, extension in kinds.items()}
    many = [pb.Box(x1=box[0], y1=box[1], x2=box[2], y2=box[3])] * FACES
    query = "?" + "&".join(["box=" + ",".join(f"{value:g}" for value in box)] * FACES)

    def post(content: bytes, kind: str, path: str = "/v1/landmarks") -> httpx.Response:
        return client.post(path, content=content, headers={"Content-Type": kind})

    def call(message: pb.DetectRequest) -> None:
        with suppress(grpc.RpcError):  # noise is no image
            stub.Detect(message, timeout=300)

    yield "nothing", lambda: time.sleep(2)
    yield "JSON, 40 MB of base64", lambda: post(json.dumps({"image": text}).encode(), "application/json")
    yield (
        "the same, escaped",
        lambda: post(json.dumps({"image": text}).replace("/", "\\/").encode(), "application/json"),
    )
    yield "form, 30 MB", lambda: post(form(noise).read(), form(noise).headers["content-type"])
    yield "raw noise, 30 MB", lambda: post(noise, "image/png")
    yield "noise after a JPEG's signature", lambda: post(b"\xff\xd8" + b"\xff" * IMAGE_BYTES, "image/jpeg")
    for name, picture in pictures.items():
        yield f"{name}, 100 megapixels", partial(post, picture, "image/png")
    yield "protobuf, 30 MB", lambda: call(pb.DetectRequest(image=noise))
    yield "protobuf, 30 MB of boxes", lambda: call(pb.DetectRequest(boxes=many * (IMAGE_BYTES // FACES // 22)))
    yield f"REST, {FACES} faces", lambda: post(jpeg, "image/jpeg", f"/v1/landmarks{query[:15_000]}")
    yield f"gRPC, {FACES} faces", lambda: call(pb.DetectRequest(image=jpeg, boxes=many))


@contextmanager
def heart(port: int) -> Iterator[Connection]:
    """The process that asks for the health, by its pipe."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=ask_health, args=(port, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def main() -> int:
    """Prints a table in Markdown; returns 1 when an answer took longer than LIMIT beyond those of "nothing"."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.heartbeat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    slowest = {}
    with started(max_faces=str(FACES)) as service, heart(service.rest) as pipe:
        print(machine())
        print("| request | slowest answer, ms |\n| --- | ---: |", flush=True)
        for name, work in requests(service.urls["REST"], service.rpc):
            slowest[name] = slowest_during(pipe, work)
            print(f"| {name} | {1e3 * slowest[name]:.0f} |", flush=True)
    return 1 if max(slowest.values()) - slowest["nothing"] > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
