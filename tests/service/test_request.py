"""Options as every API reads them: what is refused, and in which words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import ErrorKind, ServiceError
from service.limits import MAX_ITEMS
from service.request import Options, read_options

BOX = [1, 2.5, 30, 40]


def test_values_become_options_and_none_counts_as_not_given() -> None:
    options = read_options(
        {"boxes": [BOX, (0, 0, 9, 9)], "topk": 4, "flip": False, "omit": ["scores", "scores"], "model": None}
    )
    assert options == Options(
        boxes=((1.0, 2.5, 30.0, 40.0), (0.0, 0.0, 9.0, 9.0)), topk=4, flip=False, omit=frozenset({"scores"})
    )
    assert all(type(value) is float for box in options.boxes for value in box)
    assert read_options({"boxes": None, "omit": None, "flip": None}) == Options()


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Options().topk = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"colour": 1, "topk": 0}, "invalid_request", "unknown option 'colour': the options are box (boxes in JSON), "),
        ({"topk": "4"}, "invalid_request", "topk must be a whole number"),
        ({"topk": 4.0}, "invalid_request", "topk must be a whole number"),
        ({"topk": True}, "invalid_request", "topk must be a whole number"),
        ({"topk": 0}, "invalid_request", "topk must be at least 1"),
        ({"max_faces": 0}, "invalid_request", "max_faces must be at least 1"),
        ({"detector_threshold": "0.5"}, "invalid_request", "detector_threshold must be a number"),
        ({"detector_threshold": True}, "invalid_request", "detector_threshold must be a number"),
        ({"detector_threshold": -0.01}, "invalid_request", "detector_threshold must be at least 0"),
        ({"detector_threshold": 1.01}, "invalid_request", "detector_threshold must be at most 1"),
        ({"min_score": -0.01}, "invalid_request", "min_score must be at least 0"),
        ({"min_score": 1.01}, "invalid_request", "min_score must be at most 1"),
        ({"detector_threshold": math.nan}, "invalid_request", "detector_threshold must be a finite number"),
        ({"model": 7}, "invalid_request", "model must be text"),
        ({"decoder": 3}, "invalid_request", "decoder must be text"),
        ({"flip": 1}, "invalid_request", "flip must be true or false"),
        ({"omit": "points"}, "invalid_request", "omit must be a list"),
        ({"omit": {"points": 1}}, "invalid_request", "omit must be a list"),
        (
            {"omit": ["points", "box"]},
            "invalid_request",
            "omit takes points, scores, covariances, visibility, timings_ms, not 'box'",
        ),
        ({"omit": [1]}, "invalid_request", "omit takes points, scores, covariances, visibility, timings_ms, not 1"),
        ({"boxes": {}}, "invalid_request", "boxes must be a list"),
        ({"boxes": "box"}, "invalid_request", "boxes must be a list"),
        ({"boxes": [BOX, BOX[:3]]}, "invalid_box", "box 1 is not four numbers x1, y1, x2, y2"),
        ({"boxes": [BOX, [*BOX, 1]]}, "invalid_box", "box 1 is not four numbers x1, y1, x2, y2"),
        ({"boxes": [[1, 2, 3, True]]}, "invalid_box", "box 0 is not four numbers x1, y1, x2, y2"),
        ({"boxes": ["1,2,3,4"]}, "invalid_box", "box 0 is not four numbers x1, y1, x2, y2"),
        ({"boxes": [BOX] * (MAX_ITEMS + 1)}, "too_many_boxes", "send them in parts"),
    ],
)
def test_a_wrong_option_is_named(values: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read_options(values)
    assert caught.value.kind.value == kind
    assert message in caught.value.message


def test_a_long_value_is_quoted_in_part() -> None:
    with pytest.raises(ServiceError) as caught:
        read_options({"omit": ["x" * 5000]})
    assert len(caught.value.message) < 120


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
json_values = st.recursive(scalars, lambda each: st.lists(each, max_size=5) | st.dictionaries(st.text(), each))


@given(st.dictionaries(st.sampled_from(sorted(Options.model_fields)) | st.text(max_size=5), json_values))
def test_any_values_are_options_or_are_refused(values: dict[str, Any]) -> None:
    kind = None
    try:
        options = read_options(values)
    except ServiceError as error:
        kind = error.kind
    else:
        for name, value in values.items():
            assert value is None or type(getattr(options, name)) in (type(value), tuple, frozenset, float)
    assert kind in (None, ErrorKind.INVALID_REQUEST, ErrorKind.INVALID_BOX)
