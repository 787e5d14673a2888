"""USD: a layer with animated points for each face, in text (.usda).

- Origin: the outer corner of the bottom-left pixel, y up, z 0, one unit a pixel: the mark (x, y) is the point
  (x + 0.5, H - (y + 0.5), 0). The layer's `customLayerData` states this rule and the size of the plate.
- Frames: time codes are the frames' own numbers; `timeCodesPerSecond` is the rate, where it is known.
- Gaps: the points are blocked, and `visibility` is `invisible`.

`/shot/face01` has the attribute `landmarks:names`, the names of its points in their order. Points are float32, which
holds a thousandth of a pixel on plates of up to 8192 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pxr import Gf, Sdf, Usd, UsdGeom, Vt

from shots.exporters.nuke import positions
from shots.selection import Track
from shots.tracks import ShotTracks


def write(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    stage = Usd.Stage.CreateInMemory(".usda")
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    stage.SetStartTimeCode(shot.first)
    stage.SetEndTimeCode(shot.last)
    plate = shot.plate
    if plate.rate is not None:
        stage.SetTimeCodesPerSecond(float(plate.rate))
        stage.SetFramesPerSecond(float(plate.rate))
    stage.GetRootLayer().customLayerData = {
        "landmarks:rule": "pixels of the plate; x + 0.5, height - (y + 0.5), 0 for the mark x, y, which counts from "
        "the centre of the top-left pixel of the display window, y down",
        "landmarks:width": plate.width,
        "landmarks:height": plate.height,
        "landmarks:pixelAspect": plate.pixel_aspect,
    }
    root = UsdGeom.Xform.Define(stage, "/shot")
    stage.SetDefaultPrim(root.GetPrim())
    for face, own in groupby(tracks, key=lambda track: track.face):
        _add_face(stage, shot, face, list(own))
    text: str = stage.GetRootLayer().ExportToString()
    return text.encode()


def _add_face(stage: Usd.Stage, shot: ShotTracks, face: int, tracks: Sequence[Track]) -> None:
    points = UsdGeom.Points.Define(stage, f"/shot/face{face:02d}")
    names = points.GetPrim().CreateAttribute("landmarks:names", Sdf.ValueTypeNames.TokenArray, False)
    names.Set(Vt.TokenArray([shot.layout.point_names[track.point] for track in tracks]))
    points.CreateWidthsAttr().Set(Vt.FloatArray([2.0] * len(tracks)))
    position, visibility = points.CreatePointsAttr(), points.CreateVisibilityAttr()
    xy = [positions(shot, track) for track in tracks]
    first = tracks[0]
    if first.frames[0] > shot.first:
        position.Set(Sdf.ValueBlock(), shot.first)
        visibility.Set(UsdGeom.Tokens.invisible, shot.first)
    for run in first.runs(shot.step):
        for i in range(run.start, run.stop):
            values = [Gf.Vec3f(float(each[i, 0]), float(each[i, 1]), 0.0) for each in xy]
            position.Set(Vt.Vec3fArray(values), int(first.frames[i]))
        visibility.Set(UsdGeom.Tokens.inherited, int(first.frames[run.start]))
        after = int(first.frames[run.stop - 1]) + shot.step
        if after <= shot.last:
            position.Set(Sdf.ValueBlock(), after)
            visibility.Set(UsdGeom.Tokens.invisible, after)
