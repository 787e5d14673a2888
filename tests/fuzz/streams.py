"""Streams of gRPC's Track: options, frames, states that continue them, and what is wrong with any of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image as Pillow

from landmarks_client.pb import landmarks_pb2 as pb
from service.rpc.tracking import state_message
from shots.cuts import GLANCE_SHAPE
from shots.live import LiveFace, State
from tests.fuzz.options import ANY, PORTRAIT, VALID, images, texts
from tests.fuzz.run import Outcome

POINTS = 98
MAX_FRAMES = 5
TYPES: dict[str, type[np.generic]] = {"uint8": np.uint8, "uint16": np.uint16, "half": np.float16, "float": np.float32}
OPTIONS = {name: values for name, values in VALID.items() if name != "boxes"}

numbers = st.one_of(st.integers(-5, 2000), st.integers(-(2**63), 2**63 - 1))


def joined(messages: Sequence[bytes]) -> bytes:
    """The messages of a stream as one input, each behind its length."""
    return b"".join(len(each).to_bytes(4, "big") + each for each in messages)


def split(data: bytes) -> list[bytes]:
    """The messages of what `joined` gives."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:end])
        data = data[end:]
    return found


def stream(image: bytes) -> bytes:
    """A stream of two frames that are right."""
    frames = [pb.TrackRequest(frame=pb.TrackFrame(number=number, image=image)) for number in (1, 2)]
    return joined([each.SerializeToString() for each in (pb.TrackRequest(options=pb.TrackOptions()), *frames)])


@st.composite
def streams(draw: st.DrawFn) -> list[pb.TrackRequest]:
    """Messages, most of them right and in order."""
    first = draw(st.sampled_from((1, 1001, -3)))
    resumed = draw(st.none() | states(first - 1))
    steps = draw(st.lists(st.sampled_from((1, 1, 1, 2, 30)), max_size=MAX_FRAMES))
    requests = [pb.TrackRequest(options=draw(options(resumed)))]
    requests += [pb.TrackRequest(frame=draw(frames(first + sum(steps[:i])))) for i in range(len(steps))]
    match draw(st.sampled_from((*[""] * 12, "swap", "repeat", "number", "empty", "options"))):
        case "swap" if steps:
            i = draw(st.integers(1, len(steps)))
            requests[i - 1], requests[i] = requests[i], requests[i - 1]
        case "repeat":
            requests.insert(0, requests[draw(st.integers(0, len(steps)))])
        case "number" if steps:
            requests[draw(st.integers(1, len(steps)))].frame.number = draw(numbers)
        case "empty":
            requests.insert(draw(st.integers(0, len(requests))), pb.TrackRequest())
        case "options":
            requests.append(pb.TrackRequest(options=draw(options(None))))
    return requests


@st.composite
def options(draw: st.DrawFn, resumed: pb.TrackState | None) -> pb.TrackOptions:
    """Of which at most one is out of range."""
    detect: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=OPTIONS))
    wrong = draw(st.sampled_from((*[""] * 36, "image", "rate", *ANY)))
    if wrong in ANY:
        detect[wrong] = draw(ANY[wrong])
    elif wrong == "image":
        detect["image"] = draw(images)
    rates = st.floats() if wrong == "rate" else st.sampled_from((23.976, 24.0, 1000.0, 1e-6))
    return pb.TrackOptions(detect=pb.DetectRequest(**detect), resume=resumed, rate=draw(st.none() | rates))


@st.composite
def frames(draw: st.DrawFn, number: int) -> pb.TrackFrame:
    """An image file, damaged ones among them, a raw image, or seldom nothing."""
    match draw(st.sampled_from((*["image"] * 15, *["raw"] * 15, ""))):
        case "image":
            return pb.TrackFrame(number=number, image=draw(images))
        case "raw":
            return pb.TrackFrame(number=number, raw=draw(raw_images()))
    return pb.TrackFrame(number=number)


@st.composite
def raw_images(draw: st.DrawFn) -> pb.RawImage:
    """The portrait or noise, with at most one field that is wrong."""
    kind, channels = draw(st.sampled_from([*TYPES])), draw(st.sampled_from((1, 3, 4)))
    planar = draw(st.booleans())
    planes, per_row = (channels, 1) if planar else (1, channels)
    pixel = per_row * np.dtype(TYPES[kind]).itemsize
    rows = portrait_rows(kind, channels, planar) if draw(st.booleans()) else draw(noise(pixel)) * planes
    gap = draw(st.sampled_from((None, 0, 1, 64)))
    raw = pb.RawImage(
        width=len(rows[0]) // pixel,
        height=len(rows) // planes,
        planar=planar,
        channels=channels,
        type=kind,
        stride=None if gap is None else len(rows[0]) + gap,
        colour_space=draw(st.sampled_from((None, "srgb", "linear"))),
        samples=b"".join(row + bytes(gap or 0) for row in rows),
    )
    fields = ("width", "height", "channels", "stride", "type", "colour_space", "samples")
    match draw(st.sampled_from((*[""] * 50, *fields))):
        case "":
            pass
        case "samples":
            raw.samples = draw(st.binary(max_size=200)) + raw.samples[draw(st.integers(0, 400)) :]
        case "type" | "colour_space" as name:
            setattr(raw, name, draw(texts))
        case name:
            setattr(raw, name, draw(st.integers(0, 5) | st.integers(0, 2**32 - 1)))
    return raw


@cache
def portrait_rows(kind: str, channels: int, planar: bool) -> list[bytes]:
    image = np.asarray(Pillow.open(BytesIO(PORTRAIT)).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    scale = {"uint8": 1, "uint16": 257}.get(kind, 1 / 255)
    samples = (image * scale).astype(TYPES[kind])
    if planar and channels > 1:
        samples = samples.transpose(2, 0, 1).reshape(-1, samples.shape[1])
    return [row.tobytes() for row in samples]


@st.composite
def noise(draw: st.DrawFn, pixel: int) -> list[bytes]:
    """Equal rows of pixels of so many bytes. Among their floats are some that are infinite or no numbers."""
    row, height = draw(st.integers(1, 40)) * pixel, draw(st.integers(1, 40))
    pattern = draw(st.binary(min_size=1, max_size=64))
    return [(pattern * (row // len(pattern) + 1))[:row]] * height


@st.composite
def states(draw: st.DrawFn, frame: int) -> pb.TrackState:
    """A state as answers have it, with at most one number that is wrong."""
    ids = range(1, draw(st.integers(0, 3)) + 1)
    faces = tuple(known_face(id_, frame - draw(st.integers(0, 30))) for id_ in ids)
    look = draw(st.none() | st.integers(0, 255).map(lambda grey: np.full(GLANCE_SHAPE, grey, np.uint8)))
    state = state_message(State(frame, len(faces) + draw(st.integers(1, 3)), look, faces))
    wrong = draw(st.sampled_from(("", "", "", "frame", "next_id", "glance", "id", "index", "absent", "value", "value")))
    face = draw(st.sampled_from(state.faces)) if faces else None
    match wrong:
        case "frame":
            state.frame = draw(numbers)
        case "next_id":
            state.next_id = draw(st.integers(0, 2**32 - 1))
        case "glance":
            state.glance = draw(st.binary(max_size=64))
        case "id" if face:
            face.id = draw(st.integers(0, 5) | st.integers(0, 2**32 - 1))
        case "index" if face:
            face.frame = draw(numbers)
        case "absent" | "value" if face:
            values = draw(st.sampled_from((face.box, face.points, face.smoothed, face.velocities)))
            at = draw(st.integers(0, len(values) - 1))
            if wrong == "value":
                values[at] = draw(st.floats(width=32))
            else:
                del values[at:]
    return state


def known_face(id_: int, index: int) -> LiveFace:
    """A face of the portrait's size, or beside it."""
    angle = np.linspace(0, 2 * math.pi, POINTS)
    centre = np.array([25 + 40 * id_, 50])
    points = centre + np.stack([25 * np.cos(angle), 30 * np.sin(angle)], axis=1)
    box = np.concatenate([centre - 30, centre + 30])
    return LiveFace(id_, points, box, index, points + 0.1, np.zeros_like(points))


def checked_answers(answers: Sequence[pb.TrackResponse]) -> Outcome:
    """A fault of the service in one of the answers of a stream, or what is not as the schema says."""
    for answer in answers:
        if answer.problem.status >= 500:
            return Outcome(f"gRPC {answer.problem.code} in a stream", answer.problem.detail)
        ids = {face.id for face in answer.faces}
        if answer.state.frame != answer.frame or not len(ids) == len(answer.faces) == len(answer.answer.faces):
            return Outcome("gRPC stream not as described", str(answer)[:2000])
        if not all(math.isfinite(value) for face in answer.faces for value in face.smoothed):
            return Outcome("gRPC stream not as described", f"frame {answer.frame} has points that are no numbers")
    if any(a.frame >= b.frame for a, b in pairwise(answers)):
        return Outcome("gRPC stream not as described", f"frames {[answer.frame for answer in answers]}")
    return Outcome("gRPC OK in a stream")
