from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.size import Size

sides = st.integers(0, 10_000)


def test_a_square_is_its_side_and_a_rectangle_height_by_width() -> None:
    assert str(Size.square(256)) == "256"
    assert Size.square(256).plain == 256
    assert str(Size(width=192, height=256)) == Size(width=192, height=256).plain == "256x192"


@given(st.builds(Size, sides, sides))
def test_what_is_written_is_read(size: Size) -> None:
    assert Size.parse(str(size)) == Size.parse(size.plain) == size


@pytest.mark.parametrize("text", ["", "x", "256x", "x192", "1x2x3", "-1", "1.0", " 256", "256X192", "²", True])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="height x width"):
        Size.parse(text)
