"""Frame n of a shot is the decoder's frame n, at its own time: on files that the tests make."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shots.errors import ShotError

av: Any = pytest.importorskip("av", reason="the extra `vfx` is not installed")

from av.video.frame import PictureType  # noqa: E402

from shots.reading.source import Reading, open_shot  # noqa: E402
from shots.reading.video import Video  # noqa: E402

FRAMES = 24


def marked(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A picture that states its number: five bars, black or white, are its bits."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for bit in range(5):
        picture[8:-8, 8 + 16 * bit : 20 + 16 * bit] = 235 if number >> bit & 1 else 20
    return picture


def number_of(picture: np.ndarray) -> int:
    row = picture[picture.shape[0] // 2, :, 1]
    return sum(1 << bit for bit in range(5) if row[14 + 16 * bit] > 128)


def write_video(
    path: Path, times: list[int], *, base: Fraction = Fraction(1, 24), codec: str = "libx264", aspect: int = 1
) -> Path:
    """Pictures 0, 1, ... at these times, in units of `base`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p" if codec == "libx264" else "yuv422p10le"
        stream.time_base = stream.codec_context.time_base = base
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if codec == "libx264":
            stream.options = {"bf": "3", "b_strategy": "0", "x264-params": "keyint=12:scenecut=0:b-adapt=0"}
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(marked(number), format="rgb24")
            frame.pts, frame.time_base = time, base
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def read(source: Any) -> list[tuple[int, float, int]]:
    """Number, time and content of each frame."""
    return [(frame.number, frame.time, number_of(picture.samples)) for frame, picture in source.frames(lambda _: True)]


VARIABLE = [0, 1, 2, 5, 6, 7, 11, 12, 20, 21, 22, 23, 30, 31, 32, 33, 34, 40, 41, 42, 43, 50, 51, 60]


@pytest.mark.parametrize(
    ("name", "times", "base", "codec"),
    [
        ("b_frames.mp4", list(range(FRAMES)), Fraction(1, 24), "libx264"),
        ("ntsc.mov", list(range(FRAMES)), Fraction(1001, 24000), "libx264"),
        ("variable.mp4", VARIABLE, Fraction(1, 60), "libx264"),
        ("variable.mkv", VARIABLE, Fraction(1, 50), "libx264"),
        ("late.mp4", [7 + n for n in range(FRAMES)], Fraction(1, 24), "libx264"),
        ("prores.mov", list(range(FRAMES)), Fraction(1, 24), "prores_ks"),
    ],
)
def test_frames_are_the_decoders_with_their_times(
    name: str, times: list[int], base: Fraction, codec: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / name, times, base=base, codec=codec)
    if codec == "libx264":
        with av.open(str(path)) as container:
            kinds = {frame.pict_type for frame in container.decode(video=0)}
        assert PictureType.B in kinds
    found = read(Video(path))
    assert [(number, content) for number, _, content in found] == [(n + 1, n) for n in range(FRAMES)]
    # Matroska keeps milliseconds, and so do MP4 files that start late
    exact = 1e-3 if name in ("variable.mkv", "late.mp4") else 1e-9
    assert [time for _, time, _ in found] == pytest.approx([float(time * base) for time in times], abs=exact)


def test_a_part_of_it_counted_from_1001(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", list(range(FRAMES)))
    source = open_shot(str(path), Reading(first_frame=1001, frames="1003-1009x2"))
    assert [(number, content) for number, _, content in read(source)] == [(1003, 2), (1005, 4), (1007, 6), (1009, 8)]
    assert source.count == 4
    whole = open_shot(str(path), Reading(first_frame=1001))
    wanted = [frame.number for frame, _ in whole.frames(lambda number: number >= 1020)]
    assert wanted == [1020, 1021, 1022, 1023, 1024]


def test_the_plate(tmp_path: Path) -> None:
    plate = Video(write_video(tmp_path / "shot_010.mp4", list(range(FRAMES)), aspect=2)).plate
    assert (plate.name, plate.width, plate.height, plate.pixel_aspect) == ("shot_010", 96, 64, 2.0)
    assert plate.rate == 24


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    """The matrix in the header of an MP4 file's track says how it is shown: here turned by 90 degrees clockwise."""
    path = write_video(tmp_path / "a.mp4", list(range(FRAMES)), aspect=2)
    one, identity = 0x10000, struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    data = path.read_bytes()
    start = data.index(identity, data.index(b"tkhd"))
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, 0x40000000)
    path.write_bytes(data[:start] + turned + data[start + len(identity) :])
    source = Video(path)
    assert (source.plate.width, source.plate.height, source.plate.pixel_aspect) == (64, 96, 0.5)
    pictures = [picture.samples for _, picture in source.frames(lambda _: True) if picture is not None]
    assert pictures[0].shape == (96, 64, 3)
    # what was the left end of the picture is on top now
    assert [number_of(np.rot90(picture)) for picture in pictures] == list(range(FRAMES))


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(ShotError) as caught:
        Video(tmp_path / "none.mov")
    assert caught.value.code == "no_such_shot"
    (tmp_path / "a.mov").write_bytes(b"junk" * 100)
    with pytest.raises(ShotError) as caught:
        Video(tmp_path / "a.mov")
    assert caught.value.code == "no_such_shot"


def test_a_truncated_video_gives_its_first_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", list(range(FRAMES)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = Video(path).frames(lambda _: True)
    found = [number_of(picture.samples) for _, picture in ended_early(frames)]
    assert found[:3] == [0, 1, 2]
    assert found == sorted(found)


def ended_early(frames: Iterator[Any]) -> Iterator[Any]:
    """The frames, without the error that may end them."""
    with contextlib.suppress(ShotError):
        yield from frames


def test_the_real_clips_have_their_frames_and_times(test_data: Path) -> None:
    folder = test_data / "video"
    if not folder.is_dir():
        pytest.skip("no video/ beside faces300w/")
    book = [frame for frame, _ in Video(folder / "intel_book.mkv").frames(lambda _: True)]
    assert (len(book), book[-1].number) == (109, 109)
    assert book[0].time == pytest.approx(0.033)
    carphone = Video(folder / "carphone_pristine.mp4").plate
    assert carphone.rate == Fraction(30000, 1001)
    assert carphone.pixel_aspect == pytest.approx(128 / 117)
