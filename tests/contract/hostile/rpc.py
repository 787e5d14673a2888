"""Bytes that are not a message, messages that make no sense, and metadata."""

from __future__ import annotations

import random
from collections.abc import Iterator

from landmarks_client.pb import landmarks_pb2 as pb
from tests.contract.hostile.cases import Case, Message
from tests.fakes import encoded, gradient_image


def messages(chance: random.Random) -> Iterator[Case]:
    good = pb.DetectRequest(
        image=encoded(gradient_image()), boxes=[pb.Box(x1=1, y1=1, x2=99, y2=99)], model="fake"
    ).SerializeToString()
    for number in range(12):
        yield Message(f"message of noise {number}", chance.randbytes(chance.randrange(1, 400)))
        yield Message(f"message cut {number}", good[: chance.randrange(1, len(good))])
    tail = len(good) - 40
    for number in range(12):
        changed = bytearray(good)
        for _ in range(4):
            changed[chance.randrange(tail, len(good))] = chance.randrange(256)
        yield Message(f"message changed {number}", bytes(changed))
    malformed = {
        "a name that is not UTF-8": b"\x32\x02\xff\xfe", "a number where bytes belong": b"\x08\x01",
        "field 0": b"\x02\x00", "a length beyond the end": b"\x0a\xff\xff\xff\x7f",
        "an endless varint": b"\x18" + b"\xff" * 20, "wire type 7": b"\x0f", "an unknown field": b"\x98\x06\x01",
        "groups within groups": b"\x9b\x06" * 5000, "an end without a group": b"\x0c",
        "a box within boxes": b"\x12\x02\x12\x00", "100,000 empty boxes": b"\x12\x00" * 100_000,
        "a topk of 64 bits": b"\x18" + b"\xff" * 9 + b"\x01", "too many bytes": b"\x0a\x80\x80\x78" + bytes(15 * 2**17),
    }  # fmt: skip
    for name, data in malformed.items():
        yield Message(f"message with {name}", data)
        yield Message(f"batch with {name}", b"\x0a" + varint(len(data)) + data, "DetectBatch")
        yield Message(f"stream with {name}", data, "Track")
    yield Message("a batch of nothing", b"", "DetectBatch")
    yield Message("a batch of 5000", b"\x0a\x00" * 5000, "DetectBatch")
    yield Message("a method that is not there", good, "Destroy")
    yield Message("models asked with noise", chance.randbytes(99), "ListModels")
    keys: list[tuple[str, str | bytes]] = [
        ("x-request-id", ""), ("x-request-id", "a" * 5000), ("x-request-id", "../<script>"), ("x-request-id-bin",
        b"\xff\0"), ("authorization", "Bearer"), ("authorization", "Bearer " + "a" * 5000), ("authorization", "\x7e"),
        ("traceparent", "zz"), ("grpc-status-details-bin", chance.randbytes(300)), ("landmarks-error-code", "ok"),
        ("a" * 200, "b" * 3000), ("te", "x"),
    ]  # fmt: skip
    for number, pair in enumerate(keys):
        yield Message(f"metadata {number} {pair[0][:20]}", good, metadata=(pair,))
    parent = ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    for number, state in enumerate(["a=" + "b" * 10_000, "a=1," * 3000, ",", "=", "a=b=c", "a@b@c=1", " "]):
        yield Message(f"tracestate {number} {state[:12]!r}", good, metadata=(parent, ("tracestate", state)))


def varint(value: int) -> bytes:
    head = bytearray()
    while value > 127:
        head.append(value & 127 | 128)
        value >>= 7
    return bytes([*head, value])
