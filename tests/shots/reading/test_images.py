"""Image files: types, windows, layers, parts and views, all written by the tests."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shots.errors import ShotError

OpenImageIO: Any = pytest.importorskip("OpenImageIO", reason="the extra `vfx` is not installed")

from shots.reading.images import Choice, read_image_file  # noqa: E402
from shots.reading.sequences import Sequence  # noqa: E402

ANY = Choice()


def write(path: Path, samples: np.ndarray, kind: str, channels: Any = (), **about: Any) -> Path:
    """An image file. `about`: attributes of the ImageSpec (x, y, full_...), and others with a colon or a capital."""
    spec = OpenImageIO.ImageSpec(samples.shape[1], samples.shape[0], samples.shape[2], kind)
    if channels:
        spec.channelnames = channels
    for name, value in about.items():
        if hasattr(spec, name):
            setattr(spec, name, value)
        else:
            spec.attribute(name, value)
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output.open(str(path), spec)
    assert output.write_image(samples)
    output.close()
    return path


def write_parts(path: Path, parts: list[tuple[dict[str, Any], tuple[str, ...], float]]) -> Path:
    """An EXR file of parts that are flat: attributes, names of channels, value."""
    specs = []
    for attributes, channels, _ in parts:
        spec = OpenImageIO.ImageSpec(8, 6, len(channels), "half")
        spec.channelnames = channels
        for name, value in attributes.items():
            spec.attribute(name, value)
        specs.append(spec)
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output.open(str(path), tuple(specs)), output.geterror()
    for i, (_, channels, value) in enumerate(parts):
        if i:
            assert output.open(str(path), specs[i], "AppendSubimage"), output.geterror()
        assert output.write_image(np.full((6, 8, len(channels)), value, np.float32))
    output.close()
    return path


def ramp() -> np.ndarray:
    return np.linspace(0, 1, 6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "top"),
    [
        ("a.exr", "half", np.float16, 1),
        ("a.exr", "float", np.float32, 1),
        ("a.tif", "float", np.float32, 1),
        ("a.tif", "uint16", np.uint16, 65535),
        ("a.tif", "uint8", np.uint8, 255),
        ("a.png", "uint16", np.uint16, 65535),
        ("a.png", "uint8", np.uint8, 255),
        ("a.dpx", "uint16", np.uint16, 65535),
        ("a.dpx", "uint8", np.uint8, 255),
    ],
)
def test_numbers_are_read_as_the_file_has_them(name: str, kind: str, dtype: Any, top: int, tmp_path: Path) -> None:
    image = read_image_file(write(tmp_path / name, ramp(), kind), ANY)
    assert (image.samples.dtype, image.samples.shape) == (dtype, (6, 8, 3))
    assert np.abs(image.samples.astype(np.float64) / top - ramp()).max() < 0.003
    assert (image.left, image.top, image.width, image.height, image.pixel_aspect) == (0, 0, 8, 6, 1.0)


def test_dpx_of_10_bits_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dpx", ramp(), "uint16", **{"oiio:BitsPerSample": 10})
    assert np.abs(read_image_file(path, ANY).samples / 65535 - ramp()).max() < 0.001


def test_values_above_1_and_below_0_stay(tmp_path: Path) -> None:
    samples = np.full((6, 8, 3), 12.5, np.float32)
    samples[0, 0] = -0.25
    read = read_image_file(write(tmp_path / "a.exr", samples, "half"), ANY).samples
    assert (read[0, 0, 0], read[1, 1, 1]) == (-0.25, 12.5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_jpeg_files_are_read_as_openimageio_reads_them(channels: int, subsampling: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).random((48, 64, channels), np.float32)
    path = write(tmp_path / "a.jpg", samples, "uint8", **{"jpeg:subsampling": subsampling, "PixelAspectRatio": 2.0})
    image = read_image_file(path, ANY)
    assert image.samples.dtype == np.uint8
    assert (image.samples.shape, image.pixel_aspect) == ((48, 64, 3), 2.0)
    whole = OpenImageIO.ImageInput.open(str(path)).read_image("uint8")
    assert (image.samples == whole).all()


def test_alpha_is_dropped_and_colours_are_not_multiplied_by_it(tmp_path: Path) -> None:
    samples = np.full((6, 8, 4), 0.5, np.float32)
    path = write(tmp_path / "a.png", samples, "uint16", **{"oiio:UnassociatedAlpha": 1})
    assert np.abs(read_image_file(path, ANY).samples / 65535 - 0.5).max() < 0.001


def test_grey_becomes_three_channels(tmp_path: Path) -> None:
    image = read_image_file(write(tmp_path / "a.exr", ramp()[..., :1], "half", ("Y",)), ANY)
    assert image.samples.shape == (6, 8, 3)
    assert (image.samples[..., 0] == image.samples[..., 2]).all()


def test_the_pixel_aspect_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.exr", ramp(), "half", PixelAspectRatio=2.0)
    assert read_image_file(path, ANY).pixel_aspect == 2.0


# ---------------------------------------------------------------- layers, parts, views


def test_layers(tmp_path: Path) -> None:
    samples = np.zeros((6, 8, 6), np.float32)
    samples[..., 3:] = 0.5
    channels = ("R", "G", "B", "spec.R", "spec.G", "spec.B")
    path = write(tmp_path / "a.exr", samples, "half", channels)
    assert read_image_file(path, ANY).samples.max() == 0
    assert read_image_file(path, Choice(layer="spec")).samples.min() == 0.5
    with pytest.raises(ShotError, match="it has part 0") as caught:
        read_image_file(path, Choice(layer="diffuse"))
    assert caught.value.code == "no_such_image"


def test_a_file_whose_channels_all_have_a_layer_shows_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.exr", ramp(), "half", ("beauty.R", "beauty.G", "beauty.B"))
    assert read_image_file(path, ANY).samples.max() == 1


def test_channels_are_ordered_by_their_names(tmp_path: Path) -> None:
    """OpenEXR stores them as B, G, R."""
    samples = np.zeros((6, 8, 3), np.float32)
    samples[..., 0], samples[..., 2] = 0.25, 0.75
    read = read_image_file(write(tmp_path / "a.exr", samples, "half", ("B", "G", "R")), ANY).samples
    assert read[0, 0].tolist() == [0.75, 0.0, 0.25]


def test_parts(tmp_path: Path) -> None:
    path = write_parts(
        tmp_path / "a.exr",
        [
            ({"oiio:subimagename": "depth", "name": "depth"}, ("Z",), 9.0),
            ({"oiio:subimagename": "beauty", "name": "beauty"}, ("R", "G", "B"), 0.25),
            ({"oiio:subimagename": "matte", "name": "matte"}, ("R", "G", "B"), 0.5),
        ],
    )
    assert read_image_file(path, ANY).samples.max() == 0.25
    assert read_image_file(path, Choice(part="matte")).samples.max() == 0.5
    assert read_image_file(path, Choice(part="2")).samples.max() == 0.5
    with pytest.raises(ShotError):
        read_image_file(path, Choice(part="depth"))


def test_views_in_parts_and_views_in_channels(tmp_path: Path) -> None:
    parts = write_parts(
        tmp_path / "parts.exr",
        [
            ({"oiio:subimagename": "l", "view": "left"}, ("R", "G", "B"), 0.25),
            ({"oiio:subimagename": "r", "view": "right"}, ("R", "G", "B"), 0.5),
        ],
    )
    samples = np.zeros((6, 8, 6), np.float32)
    samples[..., :3], samples[..., 3:] = 0.25, 0.5
    channels = write(tmp_path / "channels.exr", samples, "half", ("R", "G", "B", "right.R", "right.G", "right.B"))
    for path in (parts, channels):
        assert read_image_file(path, ANY).samples.max() == 0.25
        assert read_image_file(path, Choice(view="right")).samples.max() == 0.5
    assert read_image_file(parts, Choice(view="left")).samples.max() == 0.25


# ---------------------------------------------------------------- windows

PLACES = (-3, 0, 2, 20)
"""Of the data window's first column (row): before the display window's, at it, in it, and beyond its last."""


@pytest.mark.parametrize(("left", "top"), [*product(PLACES, PLACES)])
def test_the_data_window_lies_in_the_display_window_where_the_file_says(left: int, top: int, tmp_path: Path) -> None:
    """The display window is 10 x 7 pixels at (5, -4), the data window 8 x 6; one pixel of the data is marked."""
    data = np.full((6, 8, 3), 0.25, np.float32)
    data[4, 5] = 1.0
    display = {"full_x": 5, "full_y": -4, "full_width": 10, "full_height": 7}
    write(tmp_path / "a.1.exr", data, "half", x=5 + left, y=-4 + top, **display)
    source = Sequence(str(tmp_path / "a.#.exr"))
    assert (source.plate.width, source.plate.height) == (10, 7)
    ((frame, picture),) = source.frames(lambda _: True)
    assert frame.data_window == (left, top, left + 7, top + 5)
    if 20 in (left, top):
        assert (frame.state, picture) == ("empty", None)
        return
    assert frame.state == "read"
    assert picture is not None
    assert picture.samples.shape == (7, 10, 3)
    expected = np.zeros((7, 10))
    for y, x in np.ndindex(6, 8):
        if 0 <= y + top < 7 and 0 <= x + left < 10:
            expected[y + top, x + left] = data[y, x, 0]
    np.testing.assert_array_equal(picture.samples[..., 0], expected)


def test_the_usual_file_has_one_window(tmp_path: Path) -> None:
    write(tmp_path / "a.1.exr", ramp(), "half")
    ((frame, _),) = Sequence(str(tmp_path / "a.#.exr")).frames(lambda _: True)
    assert frame.data_window is None


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize("name", ["a.exr", "a.png", "a.dpx", "a.tif", "a.jpg"])
def test_a_damaged_or_absent_file_is_unreadable(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(ShotError, match=name) as caught:
        read_image_file(path, ANY)
    assert caught.value.code == "unreadable"
    whole = write(path, np.random.default_rng(0).random((64, 64, 3)).astype(np.float32), "uint8").read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ShotError) as caught:
        read_image_file(path, ANY)
    assert caught.value.code == "unreadable"
