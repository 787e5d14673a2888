"""Answers as values, for layouts of any number of points."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landmarks_client import Face, rest, rpc
from landmarks_client.pb import landmarks_pb2 as pb
from service.wire.json import to_json

singles = st.floats(-1e6, 1e6, width=32)


@st.composite
def face_messages(draw: st.DrawFn) -> pb.Face:
    count = draw(st.integers(1, 120))

    def numbers(*shape: int) -> Any:
        return draw(arrays(np.float32, shape, elements=singles)).ravel()

    score = draw(st.none() | singles)
    return pb.Face(
        box=numbers(4),
        box_source="given" if score is None else "detected",
        box_score=score,
        score=draw(singles),
        inter_ocular=draw(singles),
        points=numbers(count, 2),
        scores=numbers(count),
        covariances=numbers(count, 3),
    )


@given(st.lists(face_messages(), max_size=2))
def test_both_apis_carry_the_same_faces(messages: list[pb.Face]) -> None:
    ours = rpc.answer(pb.DetectResponse(request_id="one", faces=messages))
    theirs = rest.answer(json.loads(to_json(ours.as_dict())))
    assert len(theirs.faces) == len(messages)
    for one, other, message in zip(ours.faces, theirs.faces, messages, strict=True):
        count = len(message.scores)
        assert (one.points.shape, one.scores.shape, one.covariance_matrices.shape) == (
            (count, 2),
            (count,),
            (count, 2, 2),
        )
        for name in Face.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_face_is_printed_in_one_line() -> None:
    face = rpc.answer(pb.DetectResponse(faces=[pb.Face(box=[1, 2.25, 3, 4], score=0.996, points=range(196))])).faces[0]
    assert repr(face) == "<Face box=[1.0, 2.2, 3.0, 4.0] score=1.00 inter_ocular=0.0 points=98>"
