"""Errors as values."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks_client import LandmarksError, NoAnswer, ServiceProblem

texts = st.text(max_size=20)
delays = st.none() | st.floats(0, 1e6)
errors = st.one_of(
    st.builds(ServiceProblem, texts, texts, title=texts, action=texts, request_id=texts, retry_after=delays),
    st.builds(
        NoAnswer,
        st.sampled_from(["no_answer", "deadline_exceeded", "not_understood"]),
        texts,
        request_id=texts,
        retry_after=delays,
    ),
)


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@given(error=errors)
def test_an_error_crosses_processes_unchanged(
    duplicate: Callable[[LandmarksError], LandmarksError], error: LandmarksError
) -> None:
    other = duplicate(error)
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
    assert "code" in vars(other)
