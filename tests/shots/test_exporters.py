"""A mark in every exporter is where docs/vfx.md says, in the frame that it says, and gaps stay gaps."""

from __future__ import annotations

import csv
import importlib
import json
import re
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landmarks.layout import WFLW98
from shots.errors import ShotError
from shots.exporters import EXPORTERS, export
from shots.selection import Track, select
from shots.tracks import ShotFrame, ShotTracks
from tests.conftest import ROOT
from tests.shots import readers
from tests.shots.made import FRAMES, made_face, made_shot

NAME = "face01_nose_base"
EXACT = 1e-3
"""Pixels by which a mark may be off."""


def exported(name: str, shot: ShotTracks | None = None, *points: str) -> dict[str, str]:
    shot = made_shot() if shot is None else shot
    tracks = select(shot, points=points or ("nose_base",))
    return {file: content.decode() for file, content in export(name, shot, tracks, "shot").items()}


def only(files: dict[str, str]) -> str:
    (content,) = files.values()
    return content


def assert_marks(found: dict[int, tuple[float, float]], expected: dict[int, tuple[float, float]]) -> None:
    assert list(found) == list(expected)
    assert np.abs(np.array([*found.values()]) - np.array([*expected.values()])).max() <= EXACT


# ---------------------------------------------------------------- one by one


def test_nuke_has_marks_from_the_bottom_left_edge_and_is_disabled_in_gaps() -> None:
    nkparser = pytest.importorskip("nkparser", reason="nkparser is an extra of development")
    (node,) = nkparser.Script.from_string(only(exported("nuke", None, "nose_base", "chin"))).all_nodes()
    assert (node.class_name, node.name) == ("Tracker4", "Landmarks")
    rows = [knob.value.raw for knob in node.knobs if '"face01_' in knob.value.raw]
    columns = [knob for knob in node.knobs if re.fullmatch(r"\{? ?\d \d \d+ \w+ \w+ 1 \}", knob.value.raw)]
    assert len(columns) == 31
    assert [len(split_row(row)) for row in rows] == [31, 31]
    marks, enabled = readers.tracker4(rows)
    assert list(marks) == ["face01_chin", NAME]
    assert_marks(
        marks[NAME],
        {
            1001: (100.75, 878.75), 1002: (101.75, 877.75), 1003: (102.75, 876.75),
            1006: (103.75, 875.75), 1007: (104.75, 874.75),
        },
    )  # fmt: skip
    assert enabled[NAME] == {1001: 1, 1004: 0, 1006: 1, 1008: 0}


def split_row(row: str) -> list[str]:
    """The cells of a row of a Tracker4: a word, a text in quotes, or what is in braces."""
    return re.findall(r'\{[^{}]*\}|"[^"]*"|[^\s{}"]+', row.strip().removesuffix("}"))


def test_nuke_takes_negative_frames_and_a_track_that_starts_late() -> None:
    shot = made_shot(made_face(frames=(-2, -1, 0)), frames=range(-5, 4))
    (row,) = [line for line in only(exported("nuke", shot)).splitlines() if NAME in line]
    marks, enabled = readers.tracker4([row])
    assert list(marks[NAME]) == [-2, -1, 0]
    assert enabled[NAME] == {-5: 0, -2: 1, 1: 0}


def test_nuke_ascii() -> None:
    files = exported("nuke-ascii", None, "nose_base", "chin")
    assert list(files) == ["face01_chin.txt", f"{NAME}.txt"]
    rows = [line.split(",") for line in files[f"{NAME}.txt"].splitlines()]
    assert [int(row[0]) for row in rows] == list(FRAMES)
    assert [float(value) for value in rows[0][1:]] == pytest.approx([100.75, 878.75], abs=EXACT)


def test_3dequalizer_counts_files_from_1() -> None:
    text = only(exported("3de"))
    assert_marks(
        readers.equalizer(text)[NAME],
        {1: (100.75, 878.75), 2: (101.75, 877.75), 3: (102.75, 876.75), 6: (103.75, 875.75), 7: (104.75, 874.75)},
    )
    assert "e" not in text.replace(NAME, "")


@pytest.mark.parametrize(("name", "first"), [("pftrack", 1), ("pftrack5", 0)])
def test_pftrack_has_marks_from_a_pixel_centre(name: str, first: int) -> None:
    text = only(exported(name))
    marks = readers.pftrack(text, has_camera=True)[NAME]
    assert list(marks) == [first, first + 1, first + 2, first + 5, first + 6]
    assert marks[first] == pytest.approx((100.25, 878.25), abs=EXACT)
    assert ('"Primary"\r\n' in text, text.count("\r\n") == text.count("\n")) == ((first == 0,) * 2)


def test_syntheyes_counts_from_the_first_pixel_centre_to_the_last() -> None:
    marks, outcomes = readers.syntheyes(only(exported("syntheyes", None, "nose_base", "chin")))
    assert list(marks[NAME]) == [0, 1, 2, 5, 6]
    # a thousandth of a pixel is a millionth of these units
    assert marks[NAME][0] == pytest.approx((-0.895518, -0.627896), abs=EXACT / 960)
    assert list(outcomes[NAME].values()) == [15, 7, 7, 15, 7]


@pytest.mark.parametrize("name", ["after-effects", "after-effects-8"])
def test_after_effects_counts_from_the_top_left_edge(name: str) -> None:
    header, (layer,) = readers.after_effects(only(exported(name)))
    assert header == {
        "Units Per Second": "23.976",
        "Source Width": "1920",
        "Source Height": "1080",
        "Source Pixel Aspect Ratio": "1",
        "Comp Pixel Aspect Ratio": "1",
    }
    assert list(layer["Position"]) == [0, 1, 2, 5, 6]
    assert layer["Position"][0] == pytest.approx([100.75, 201.25, 0], abs=EXACT)
    assert layer["Opacity"] == {0: [100], 2: [100], 3: [0], 4: [0], 5: [100], 6: [100], 7: [0], 8: [0]}


def test_after_effects_9_has_a_layer_for_each_track_and_8_a_file() -> None:
    _, layers = readers.after_effects(only(exported("after-effects", None, "nose_base", "chin")))
    assert len(layers) == 2
    files = exported("after-effects-8", None, "nose_base", "chin")
    assert list(files) == ["face01_chin.txt", f"{NAME}.txt"]


def test_after_effects_needs_the_rate() -> None:
    with pytest.raises(ShotError, match="--rate") as caught:
        exported("after-effects", made_shot(rate=None))
    assert caught.value.code == "rate_unknown"


class Clip:
    """What the script of the Blender export uses of `bpy`."""

    def __init__(self, width: int, height: int) -> None:
        self.name, self.size, self.tracking = "plate", (width, height), types.SimpleNamespace(tracks=self)
        self.tracks: dict[str, dict[int, tuple[tuple[float, float], bool]]] = {}

    def new(self, *, name: str, frame: int) -> Any:
        markers = self.tracks[name] = {frame: ((0.0, 0.0), False)}

        class Marker:
            def __init__(self, at: int) -> None:
                self.__dict__["at"] = at

            def __setattr__(self, _: str, mute: bool) -> None:
                markers[self.at] = (markers[self.at][0], mute)

            at: int

        def insert_frame(frame: int, *, co: tuple[float, float]) -> Marker:
            markers[frame] = (co, False)
            return Marker(frame)

        return types.SimpleNamespace(markers=types.SimpleNamespace(insert_frame=insert_frame))


def run_in_blender(script: str, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    bpy = types.SimpleNamespace(data=types.SimpleNamespace(movieclips=[clip]))
    monkeypatch.setitem(__import__("sys").modules, "bpy", bpy)
    exec(compile(script, "shot.py", "exec"), {})


def test_blender_has_shares_of_the_clip_and_disabled_markers_in_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(1920, 1080)
    run_in_blender(only(exported("blender")), clip, monkeypatch)
    markers = clip.tracks[NAME]
    assert list(markers) == [1, 2, 3, 4, 6, 7, 8]
    assert [frame for frame, (_, mute) in markers.items() if mute] == [4, 8]
    co, _ = markers[1]
    assert co == pytest.approx((100.75 / 1920, 878.75 / 1080), abs=EXACT / 1920)


def test_blender_gets_the_data_window_which_may_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip of an overscan plate is larger than the display window, by 20 pixels on the left and 10 on top here."""
    window = (-20, -10, 1939, 1089)
    shot = made_shot()
    overscan = tuple(ShotFrame(frame.number, data_window=window) for frame in shot.frames)
    clip = Clip(1960, 1100)
    run_in_blender(only(exported("blender", replaced(shot, overscan))), clip, monkeypatch)
    co, _ = clip.tracks[NAME][1]
    assert co == pytest.approx((120.75 / 1960, (1100 - 211.25) / 1100), abs=EXACT / 1960)
    with pytest.raises(ShotError) as caught:
        exported("blender", replaced(shot, (shot.frames[0], *overscan[1:])))
    assert caught.value.code == "window_varies"


def replaced(shot: ShotTracks, frames: tuple[ShotFrame, ...]) -> ShotTracks:
    return ShotTracks(shot.plate, frames, shot.layout, shot.faces)


def test_usd_has_points_that_are_blocked_in_gaps() -> None:
    pxr = pytest.importorskip("pxr", reason="the extra `usd` is not installed")
    for name in ("Usd", "UsdGeom", "Sdf"):
        importlib.import_module(f"pxr.{name}")
    layer = pxr.Sdf.Layer.CreateAnonymous(".usda")
    assert layer.ImportFromString(only(exported("usd", made_shot(made_face(), made_face(2, (1004,))))))
    stage = pxr.Usd.Stage.Open(layer)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (1001, 1009)
    assert stage.GetTimeCodesPerSecond() == pytest.approx(24000 / 1001)
    assert "x + 0.5" in stage.GetRootLayer().customLayerData["landmarks:rule"]
    face = pxr.UsdGeom.Points(stage.GetPrimAtPath("/shot/face01"))
    assert list(face.GetPrim().GetAttribute("landmarks:names").Get()) == ["nose_base"]
    points = face.GetPointsAttr()
    assert list(points.Get(1001)[0]) == pytest.approx([100.75, 878.75, 0], abs=EXACT)
    assert list(points.Get(1007)[0]) == pytest.approx([104.75, 874.75, 0], abs=EXACT)
    assert [frame for frame in range(1001, 1010) if points.Get(frame) is not None] == list(FRAMES)
    seen = [frame for frame in range(1001, 1010) if face.GetVisibilityAttr().Get(frame) == "inherited"]
    assert seen == list(FRAMES)
    assert stage.GetPrimAtPath("/shot/face02")


def test_csv_and_json_have_the_coordinates_as_they_are() -> None:
    shot = made_shot()
    rows = list(csv.DictReader(only(exported("csv", shot)).splitlines()))
    assert [int(row["frame"]) for row in rows] == list(FRAMES)
    assert [float(rows[0][name]) for name in ("x", "y", "xx", "xy", "yy")] == [100.25, 200.75, 0.04, 0.01, 0.09]
    (track,) = json.loads(only(exported("json", shot)))["tracks"]
    assert track["name"] == NAME
    assert track["keys"][0] == [1001, 100.25, 200.75, 0.04, 0.01, 0.09]
    assert [key[0] for key in track["keys"]] == list(FRAMES)


# ---------------------------------------------------------------- all


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporter_takes_a_face_of_one_frame_and_a_plate_of_odd_pixels(name: str) -> None:
    if name == "usd":
        pytest.importorskip("pxr", reason="the extra `usd` is not installed")
    shot = made_shot(made_face(frames=(1005,)), pixel_aspect=2.0, rate=Fraction(25))
    files = exported(name, shot)
    assert len(files) == 1
    if name != "after-effects":  # its layers have no names
        assert all(NAME in file or "nose_base" in content for file, content in files.items())


def test_a_sequence_of_every_second_frame_has_no_gaps() -> None:
    shot = made_shot(made_face(frames=(1001, 1003, 1005)), frames=range(1001, 1006, 2))
    assert shot.step == 2
    (track,) = select(shot, points=("nose_base",))
    assert track.runs(shot.step) == [slice(0, 3)]
    assert list(readers.equalizer(only(exported("3de", shot)))[NAME]) == [1, 2, 3]


def test_the_page_names_every_exporter_and_every_point() -> None:
    page = (ROOT / "docs" / "vfx.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert EXPORTERS.keys() <= rows.keys()
    for group, points in WFLW98.groups.items():
        assert rows[group] == ", ".join(f"`{WFLW98.point_names[i]}`" for i in points)


# ---------------------------------------------------------------- the readers, on files of productions


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("nuke__track_nuke8.nk", "nuke"),
        ("nuke__nuke8_tracker4_copypastes.nk", "nuke"),
        ("3de_v4__3de_export_cube.txt", "3de"),
        ("pftrack4__sourcefile_pftrack.2dt", "pftrack4"),
        ("syntheyes_2d_paths__one_tracker.txt", "syntheyes"),
        ("syntheyes_2d_paths__cola_plate.txt", "syntheyes"),
    ],
)
def test_the_readers_agree_on_real_files_with_an_independent_one(file: str, kind: str, test_data: Path) -> None:
    folder = test_data / "tracks"
    if not folder.is_dir():
        pytest.skip("no tracks/ beside faces300w/")
    text = (folder / file).read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    truth = json.loads((folder / f"{file}.json").read_text())
    found = to_corner(kind, text, truth["width"], truth["height"])
    assert len(found) >= len(truth["tracks"]) > 0
    for ours, theirs in zip(found, truth["tracks"], strict=False):
        keys = {key[0]: key[1:] for key in theirs["keys"]}
        assert ours.keys() == keys.keys()
        assert np.abs(np.array([*ours.values()]) - np.array([*keys.values()])).max() <= 2e-3


def to_corner(kind: str, text: str, width: int, height: int) -> list[dict[int, tuple[float, float]]]:
    """The tracks as the independent reader has them: frames from 0 on, pixels from the bottom-left corner."""
    if kind == "nuke":
        rows = [line for line in text.split("\n") if re.match(r'\s*\{ \{curve K .*"', line)]
        return [{f - 1: xy for f, xy in keys.items()} for keys in readers.tracker4(rows)[0].values()]
    if kind == "3de":
        return [{f - 1: xy for f, xy in keys.items()} for keys in readers.equalizer(text).values()]
    if kind == "pftrack4":  # the independent reader takes its frames for those of later versions
        tracks = readers.pftrack(text, has_camera=False).values()
        return [{f - 1: (x + 0.5, y + 0.5) for f, (x, y) in keys.items()} for keys in tracks]
    (x1, y1) = ((width - 1) / 2, (height - 1) / 2)
    marks = readers.syntheyes(text)[0].values()
    return [{f: (x1 * (u + 1) + 0.5, height - (y1 * (v + 1) + 0.5)) for f, (u, v) in keys.items()} for keys in marks]


def test_tracks_are_compared_by_identity() -> None:
    """They hold arrays, whose comparison would be one of elements."""
    (track,) = select(made_shot(), points=("chin",))
    (same,) = select(made_shot(), points=("chin",))
    assert track != same
    assert isinstance(track, Track)
