"""Searches through large data: in pieces, with the result of one search."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import search as module
from service.search import search

PATTERN = re.compile(rb"a b*c")


@given(st.text("abc ", max_size=60), st.integers(0, 70), st.integers(1, 9))
def test_the_match_is_that_of_one_search(text: str, start: int, window: int) -> None:
    data = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        found = search(PATTERN, data, start, longest=60)
    expected = PATTERN.search(data, start)
    assert (found and found.span()) == (expected and expected.span())


def test_no_more_than_a_window_is_searched_at_a_time() -> None:
    ends: list[int] = []

    class Recorded:
        def search(self, data: bytes, start: int, end: int) -> None:
            ends.append(end - start)

    assert search(Recorded(), bytes(2**20)) is None  # type: ignore[arg-type]
    assert ends == [2**18 + 4096] * 4


def test_a_match_that_is_too_long_is_not_found() -> None:
    data = b"a " + b"b" * 2**19 + b"c"
    assert search(PATTERN, data) is None
    assert search(PATTERN, data, longest=2**20) is not None
