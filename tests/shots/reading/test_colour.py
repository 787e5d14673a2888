"""What a screen shows of linear, logarithmic and integer plates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shots.errors import ShotError

pytest.importorskip("PyOpenColorIO", reason="the extra `vfx` is not installed")

from shots.reading.colour import BuiltIn
from shots.reading.ocio import PINNED_CONFIG, Ocio


def grey(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.full((1, 1, 3), value, dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("linear", "shown"), [(0.0, 0), (0.18, 118), (0.5, 188), (1.0, 255), (40.0, 255), (-1.0, 0)])
def test_linear_light_gets_the_curve_of_srgb(linear: float, shown: int, dtype: type) -> None:
    assert BuiltIn().shown(grey(linear, dtype)).tolist() == [[[shown] * 3]]


@given(st.floats(0, 1, width=32))
def test_the_table_of_halves_is_the_curve_to_one_level(linear: float) -> None:
    exact = 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)
    assert abs(int(BuiltIn().shown(grey(linear))[0, 0, 0]) - exact) <= 1


def test_what_is_not_finite_is_black_or_white() -> None:
    samples = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    assert BuiltIn().shown(samples).tolist() == [[[0, 255, 0]]]
    assert Ocio("ACEScg").shown(samples).dtype == np.uint8


def test_integers_are_shown_as_they_are() -> None:
    assert BuiltIn().shown(grey(77, np.uint8)).tolist() == [[[77] * 3]]
    assert BuiltIn().shown(grey(77 * 257, np.uint16)).tolist() == [[[77] * 3]]


def test_exposure_is_in_stops_of_light() -> None:
    assert BuiltIn(1.0).shown(grey(0.25)).tolist() == BuiltIn().shown(grey(0.5)).tolist()
    assert BuiltIn(-1.0).shown(grey(188, np.uint8))[0, 0, 0] == pytest.approx(137, abs=1)  # half the light of 188
    assert BuiltIn(1.0).shown(grey(137, np.uint8))[0, 0, 0] == pytest.approx(188, abs=1)


def test_opencolorio_agrees_on_linear_rec_709() -> None:
    colour = Ocio("Linear Rec.709 (sRGB)")
    for linear in (0.0, 0.18, 0.5, 1.0):
        assert abs(int(colour.shown(grey(linear))[0, 0, 0]) - int(BuiltIn().shown(grey(linear))[0, 0, 0])) <= 1
    assert colour.settings["config"] == PINNED_CONFIG
    assert colour.settings["view"] == "Un-tone-mapped"
    assert len(colour.settings["config_hash"]) > 30


def test_opencolorio_reads_logarithmic_integers_and_exposes() -> None:
    """Middle grey of ARRI's LogC3 is 0.391 of the range."""
    logc = np.full((1, 1, 3), round(0.391 * 65535), np.uint16)
    assert Ocio("ARRI LogC3 (EI800)").shown(logc)[0, 0] == pytest.approx([118] * 3, abs=2)
    assert Ocio("ARRI LogC3 (EI800)", exposure=1.0).shown(logc)[0, 0] == pytest.approx([162] * 3, abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "LogC"}, "among others, ARRI LogC3"),
        ({"space": "ACEScg", "view": "Nice"}, "it has ACES 1.0 - SDR Video"),
        ({"space": "ACEScg", "display": "Projector"}, "Projector"),
        ({"space": "ACEScg", "config": "/no/such/config.ocio"}, "/no/such/config.ocio"),
        ({"space": "ACEScg", "config": "ocio://studio-config-v9"}, "studio-config-v9"),
    ],
)
def test_mistakes_name_what_there_is(options: dict, message: str) -> None:
    with pytest.raises(ShotError) as caught:
        Ocio(**options)
    assert caught.value.code == "wrong_colour"
    assert message in str(caught.value)
