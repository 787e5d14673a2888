"""Requests for the faces of one image: the image, and options that are right or out of range."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bench.services import portrait
from landmarks.decoders import DECODERS
from landmarks_client.pb import landmarks_pb2 as pb
from service.request import OMITTABLE
from tests.fuzz.files import damaged

PORTRAIT, _ = portrait(160)

numbers = st.one_of(st.floats(width=32), st.floats(-50, 250, width=32))
boxes = st.builds(pb.Box, x1=numbers, y1=numbers, x2=numbers, y2=numbers)
shares = st.floats(0, 1, width=32)
texts = st.text(max_size=40)
images = st.one_of(st.just(PORTRAIT), st.builds(lambda end: PORTRAIT[:end], st.integers(0, len(PORTRAIT))), damaged())

VALID: dict[str, st.SearchStrategy[Any]] = {
    "boxes": st.lists(st.just(pb.Box(x1=40, y1=20, x2=90, y2=70)), max_size=3),
    "topk": st.integers(1, 9),
    "max_faces": st.integers(1, 3),
    "detector_threshold": shares,
    "decoder": st.sampled_from([*DECODERS]),
    "flip": st.booleans(),
    "omit": st.lists(st.sampled_from(OMITTABLE), max_size=3),
    "min_score": shares,
    "refine": st.sampled_from(("never", "auto", "always")),
    "pixel_aspect": st.floats(0.25, 4, width=32),
    "min_face": st.floats(1, 2.0**99, width=32),
}
ANY = VALID | {
    "boxes": st.lists(boxes, min_size=1, max_size=3) | st.lists(boxes, max_size=40),
    "topk": st.integers(0, 2**32 - 1),
    "max_faces": st.integers(0, 2**32 - 1),
    "detector_threshold": numbers,
    "model": texts,
    "decoder": texts,
    "omit": st.lists(texts, max_size=3),
    "min_score": numbers,
    "refine": texts,
    "pixel_aspect": numbers,
    "min_face": numbers,
}
"""Values of each option, most of them out of range."""


@st.composite
def detect_requests(draw: st.DrawFn) -> pb.DetectRequest:
    """An image with options, of which at most one is out of range: the first that is refused would hide others."""
    options = draw(st.fixed_dictionaries({}, optional=VALID))
    wrong = draw(st.sampled_from(("", "", "boxes", "boxes", *ANY)))
    if wrong:
        options[wrong] = draw(ANY[wrong])
    return pb.DetectRequest(image=draw(images), **options)
