"""The same face in a changed picture: turned, squeezed, cut by the frame, or with its eyes closed.

Unlike a corruption (`train.samples.corruptions`), a variant is another picture, with points and a box of its own, from
which any number of crops can be cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, transform_points, warp
from landmarks.size import Size
from train.datasets.face import AnnotatedFace
from train.datasets.image import ArrayImage, RgbImage, read_image

PICTURE: Final = 2.2
"""Side of a turned picture, in longer sides of the face's box."""
MAX_SIDE: Final = 640
"""Pixels of a turned picture's side at most."""
EDGES: Final = ("left", "top", "right", "bottom")
"""The edges of a picture, in the order of a box's numbers."""

LIDS: Final = {
    "right_eye": ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64)),
    "left_eye": ((68, 69, 70, 71, 72), (68, 75, 74, 73, 72)),
}
"""By group of WFLW's layout: the upper and the lower lid from corner to corner."""
LID_TRAVEL: Final = 0.8
"""Share of the opening that the upper lid crosses in a blink; the lower one comes to meet it."""
LID_REACH: Final = 0.4
"""Skin above and below the lids that a blink stretches, in widths of the eye: not as far as the brow."""

Points = NDArray[np.float64]
Map = NDArray[np.float32]


def turned(face: AnnotatedFace, degrees: float) -> AnnotatedFace:
    """The picture turned clockwise about the face's box. The box has the size that it had."""
    x1, y1, x2, y2 = face.box.tolist()
    side = PICTURE * max(x2 - x1, y2 - y1)
    size = Size.square(min(MAX_SIDE, math.ceil(side)))
    crop = Crop((x1 + x2) / 2, (y1 + y2) / 2, side, size, math.radians(-degrees))
    matrix = crop.image_to_crop()
    half, middle = np.array([x2 - x1, y2 - y1]) * crop.scale / 2, (size.width - 1) / 2
    picture = warp(read_image(face.image), matrix, size)
    box = np.concatenate([middle - half, middle + half])
    return changed(face, f"turned by {degrees:g}", picture, transform_points(matrix, face.points), box)


def squeezed(face: AnnotatedFace, x: float, y: float) -> AnnotatedFace:
    """The picture, as far as it shows the face, at that share of its width and of its height."""
    near = framed(face, around(face.box, PICTURE), f"squeezed by {x:g} and {y:g}")
    # given as factors, because a size in whole pixels would round them
    picture = cv2.resize(read_image(near.image), None, fx=x, fy=y, interpolation=cv2.INTER_AREA)
    factors = np.array([x, y])
    points, box = ((each.reshape(-1, 2) + 0.5) * factors - 0.5 for each in (near.points, near.box))
    return replace(
        near, image=ArrayImage(near.image.name, np.asarray(picture, np.uint8)), points=points, box=box.ravel()
    )


def around(box: Points, scale: float) -> Points:
    """The square xyxy about a box's center, its side `scale` times the box's longer one."""
    middle, half = (box[:2] + box[2:]) / 2, scale * float(np.max(box[2:] - box[:2])) / 2
    return np.concatenate([middle - half, middle + half])


def framed(face: AnnotatedFace, frame: NDArray[np.float64], what: str) -> AnnotatedFace:
    """What a frame (xyxy, in pixels of the image) shows of the picture. The box is cut with it, the points are not."""
    image = read_image(face.image)
    height, width = image.shape[:2]
    left, top = (int(v) for v in np.clip(np.round(frame[:2]), 0, [width - 2, height - 2]))
    right, bottom = (int(v) for v in np.clip(np.round(frame[2:]), [left + 2, top + 2], [width, height]))
    shift = np.array([left, top], np.float64)
    low, high = np.zeros(2), np.array([right - left - 1, bottom - top - 1], np.float64)
    box = np.concatenate([np.clip(face.box[:2] - shift, low, high - 1), np.clip(face.box[2:] - shift, low + 1, high)])
    return changed(face, what, image[top:bottom, left:right], face.points - shift, box)


def filling(face: AnnotatedFace, share: float) -> AnnotatedFace:
    """A square frame about the box that is 1 / `share` times its longer side: from 1 on forehead and chin are cut."""
    return framed(face, around(face.box, 1 / share), f"filling {share:g} of the frame")


def cut(face: AnnotatedFace, share: float, edge: str) -> AnnotatedFace:
    """A picture whose edge cuts that share off the box, from 0 to 1; the other edges are those of the photograph."""
    index = EDGES.index(edge)
    extent = face.box[2:] - face.box[:2]
    frame = np.array([-np.inf, -np.inf, np.inf, np.inf])
    inwards = 1 if index < 2 else -1
    frame[index] = face.box[index] + inwards * share * extent[index % 2]
    return framed(face, np.clip(frame, -1e6, 1e6), f"cut by {share:g} at the {edge}")


def blinking(face: AnnotatedFace) -> AnnotatedFace:
    """Both eyes closed, by stretching the skin of the lids over them; the lids' points move with them.

    The points are WFLW's. Nothing outside the eyes and the skin next to them changes, so that no other point moves.
    """
    image, points = read_image(face.image), face.points.copy()
    rows, columns = (each.astype(np.float32) for each in np.indices(image.shape[:2]))
    x, y = columns.copy(), rows.copy()
    for upper, lower in LIDS.values():
        _close(face.points, upper, lower, columns, rows, x, y)
        meeting = face.points[list(upper)] + LID_TRAVEL * (face.points[list(lower)] - face.points[list(upper)])
        points[list(upper)] = points[list(lower)] = meeting
    picture = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    return changed(face, "blinking", picture, points, face.box)


def _close(points: Points, upper: Sequence[int], lower: Sequence[int], columns: Map, rows: Map, x: Map, y: Map) -> None:
    """Writes into the maps x and y [H, W] of `cv2.remap` where the pixels about one eye come from.

    The eye is seen along the line of its corners (u) and down from it (v). In each column the skin from above the upper
    lid to its edge is stretched down to where the lids meet, and that below the lower lid up.
    """
    start, end = points[upper[0]], points[upper[-1]]
    width = float(np.linalg.norm(end - start))
    if width < 1:
        return
    along = (end - start) / width
    down = np.array([-along[1], along[0]]) * (1 if along[0] >= 0 else -1)

    def lid(indices: Sequence[int]) -> tuple[Points, Points]:
        relative = points[list(indices)] - start
        u, v = relative @ along, relative @ down
        order = np.argsort(u)
        return u[order], v[order]

    u, v = (
        along[0] * (columns - start[0]) + along[1] * (rows - start[1]),
        down[0] * (columns - start[0]) + down[1] * (rows - start[1]),
    )
    above, below = (np.interp(u, *lid(each)) for each in (upper, lower))
    opening = np.where((u > 0) & (u < width), np.maximum(below - above, 0), 0)
    meeting, reach = above + LID_TRAVEL * opening, LID_REACH * width
    top, bottom = above - reach, above + opening + reach
    upwards = (v - top) / (meeting - top) * reach + top
    downwards = bottom - (bottom - v) / (bottom - meeting) * reach
    source = np.where(v <= meeting, upwards, downwards)
    move = np.where((opening > 0) & (v > top) & (v < bottom), source - v, 0)
    x += (move * down[0]).astype(np.float32)
    y += (move * down[1]).astype(np.float32)


def changed(face: AnnotatedFace, what: str, picture: RgbImage, points: Points, box: Points) -> AnnotatedFace:
    """The face in another picture, named after the one that it was made of."""
    return replace(face, image=ArrayImage(f"{Path(face.image.name).stem}, {what}", picture), points=points, box=box)
