"""The photograph of a head turned elsewhere: the head drawn anew, the background drawn up to its new outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from train.datasets.image import RgbImage
from train.pose_synthesis.head import Carried, Head
from train.pose_synthesis.pose import Pose
from train.pose_synthesis.render import Raster, rasterize
from train.pose_synthesis.silhouette import JAW

Array = NDArray[np.floating[Any]]

GRAZING: Final = (0.05, 0.35)
"""Cosine between skin and line of sight below which the photograph shows nothing of a vertex, and above which all."""
NECK_GRAZING: Final = (0.5, 0.8)
"""The same for the neck, whose outline nothing is known of."""
CERTAIN: Final = 0.5
"""The same cosine above which a vertex gives its colour to what is not seen; below, it may be background's."""
EARS: Final = 7.0
"""The x, to either side, from which ears stand out against the background."""
NECK: Final = -7.8
"""The y below which the neck begins."""
FADING: Final = (-13.0, -10.5)
"""The y between which the neck, which does not turn there, passes into the background."""
BEHIND: Final = 0.35
"""Centimetres by which a vertex may lie behind what is seen at its pixel and still count as seen."""
BEHIND_EDGE: Final = 1.5
"""The same for points of the contour: along the outline the skin falls away steeply within a pixel."""
CRANIUM: Final = np.array([0.0, 1.0, 1.0])
"""The middle of the head; the background is moved away from it or towards it."""
CHIN: Final = -6.0
"""The y above which the head's outline is measured."""
ANGLES: Final = 256
"""Directions in which the background is moved by an amount of their own."""
SECTORS: Final = 32
"""Directions in which the head's outline is measured."""
COARSE: Final = 4
"""Pixels between the places whose background is computed."""
MARGIN: Final = 256
"""Pixels by which the photograph is continued."""
BLUR: Final = 31
"""Side in pixels of the mean that the continuation is blurred by, twice."""
WIDEST: Final = 1024
"""Places that are sampled in one row."""
NO_MAP: Final = np.empty(0, np.float32)
"""Where OpenCV takes a second map; one map holds x and y."""
HAIR: Final = 0.35
"""Where a head comes to look away from its hair, the background is taken from this share of its radius farther out."""
FAR: Final = 2.2
"""The background stays where it is from this many radii of the head on."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a photograph shows of a head's vertices."""

    image: RgbImage
    """the photograph, continued by MARGIN pixels on every side"""
    head: Head
    at: Array
    """[V, 2] pixels of the photograph"""
    share: Array
    """[V] in [0, 1] how well each is seen"""
    colours: Array
    """[V, 3] RGB where it is seen, elsewhere of what is near"""


def look(image: RgbImage, head: Head) -> Seen:
    """What the photograph shows of each vertex, in the head's own pose."""
    model = head.model
    turned = head.pose.turn(head.vertices)
    at = head.pose.to_pixels(turned)
    wide = _continued(image)
    height, width = wide.shape[:2]
    raster = rasterize(at + MARGIN, turned[:, 2], model.triangles, (width, height))
    depth = np.full((height, width), np.inf, np.float32)
    depth[raster.covered] = raster.interpolate(turned[:, 2:])[:, 0]
    column, row = np.round(at + MARGIN).astype(int).clip(0, [width - 1, height - 1]).T
    seen = turned[:, 2] > depth[row, column] - BEHIND
    neck = model.mean[:, 1] < NECK
    low, high = (np.where(neck, of_neck, elsewhere) for of_neck, elsewhere in zip(NECK_GRAZING, GRAZING, strict=True))
    facing = _normals(turned, model.triangles)[:, 2]
    share = seen * _smooth_step(facing, low, high)
    certain = seen & (facing > CERTAIN) & (abs(model.mean[:, 0]) < EARS)
    return Seen(wide, head, at, share, _colours(wide[row, column], share, certain, model.mean))


def _continued(image: RgbImage) -> RgbImage:
    """MARGIN pixels more on every side: the picture's mirror image, too blurred to show what could be a face."""
    wide = cv2.copyMakeBorder(image, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT_101)
    soft = cv2.blur(cv2.blur(wide, (BLUR, BLUR)), (BLUR, BLUR))
    soft[MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return np.asarray(soft, np.uint8)


def _normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """[V, 3] unit normals, outwards."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    sums = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(faces[:, i], 3), minlength=len(vertices)) for i in range(3)], axis=1
    )
    unit: Array = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit


def _smooth_step(x: Array, low: Array | float, high: Array | float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _colours(colours: Array, share: Array, certain: NDArray[np.bool_], mean: Array) -> Array:
    """[V, 3] the colours; of vertices that the photograph does not show, the mean of the nearest certain ones."""
    colours = colours.astype(np.float32)
    known, wanted = np.flatnonzero(certain), np.flatnonzero(share < 1)
    if len(known):
        nearest = cKDTree(mean[known]).query(mean[wanted], k=min(12, len(known)))[1]
        blended = colours[known][nearest.reshape(len(wanted), -1)].mean(axis=1)
        part = share[wanted, None]
        colours[wanted] = colours[wanted] * part + blended * (1 - part)
    return colours


def turn(seen: Seen, pose: Pose, size: int) -> tuple[RgbImage, Array]:
    """RGB [size, size, 3] of the head in another pose, and its depth [size, size] in centimetres towards the camera,
    -inf beside it. `pose` is in the pixels of this picture.
    """
    turned = seen.head.turned(pose)
    raster = rasterize(pose.to_pixels(turned), turned[:, 2], seen.head.model.triangles, (size, size))
    covered = raster.covered
    layer = np.zeros((size, size, 4), np.float32)
    layer[covered] = _texture(seen, raster)
    # the outline has steps of a pixel: soften it, and it alone
    inside = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    layer = np.where(inside[..., None], layer, cv2.GaussianBlur(layer, (3, 3), 0.6))
    picture = layer[..., :3] + _background(seen, pose, size) * (1 - layer[..., 3:])
    depth = np.full((size, size), -np.inf, np.float32)
    depth[covered] = raster.interpolate(turned[:, 2:])[:, 0]
    return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8), depth


def _texture(seen: Seen, raster: Raster) -> Array:
    """[N, 4] RGB and opacity of the covered pixels, the colours multiplied by the opacity.

    A place shows what the photograph shows of it, else what that shows of its mirror image, else a colour.
    """
    model = seen.head.model
    mirrored = seen.share[model.mirror] * (1 - seen.share)
    opacity = _smooth_step(model.mean[:, 1], *FADING)
    shares = np.c_[1 - seen.share - mirrored, seen.share, mirrored, opacity]
    values = np.c_[seen.at, seen.at[model.mirror], seen.colours, shares]
    found = raster.interpolate(values)
    own, other, colour = _sample(seen.image, found[:, :2]), _sample(seen.image, found[:, 2:4]), found[:, 4:7]
    drawn = colour * found[:, 7:8] + own * found[:, 8:9] + other * found[:, 9:10]
    return np.asarray(np.c_[drawn * found[:, 10:], found[:, 10]])


def visible(carried: Carried, depth: Array) -> NDArray[np.bool_]:
    """[98] whether each point is seen, given the picture's depth: not behind the head, nor moved from behind it."""
    rows, columns = depth.shape
    column, row = np.round(carried.points).astype(int).clip(0, [columns - 1, rows - 1]).T
    nearest = carried.depth + BEHIND
    nearest[JAW] = carried.depth[JAW] + BEHIND_EDGE
    return np.asarray((nearest > depth[row, column]) & ~carried.slipped)


def _sample(image: RgbImage, at: Array) -> Array:
    """Pixels [N, 2] of the photograph -> RGB [N, 3], between pixels linearly."""
    rows = -(-len(at) // WIDEST)  # OpenCV's remap takes no picture wider than 32767
    grid = np.zeros((rows * WIDEST, 2), np.float32)
    grid[: len(at)] = at + MARGIN
    found = cv2.remap(image, grid.reshape(rows, WIDEST, 2), NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, 3)[: len(at)], np.float32)


# ---------------------------------------------------------------- background


def _background(seen: Seen, pose: Pose, size: int) -> RgbImage:
    """RGB [size, size, 3]: the photograph drawn radially, so that what surrounds the head in it surrounds the turned
    one, and what is far away stays where it is.
    """
    head = seen.head
    first, second = head.pose.project(CRANIUM), pose.project(CRANIUM)
    above_neck = head.vertices[head.model.mean[:, 1] > CHIN]
    old, new = _radii(head.pose.project(above_neck) - first), _radii(pose.project(above_neck) - second)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    towards = pose.rotation[:2, 2] * [1, -1]  # where the face looks, in the picture
    ahead = np.maximum(0, np.cos(angle) * towards[0] + np.sin(angle) * towards[1])
    x, y = np.meshgrid(*[np.arange(0, size + COARSE, COARSE)] * 2)
    offset = np.stack([x, y], axis=-1) - second
    radius = np.maximum(np.hypot(*np.moveaxis(offset, -1, 0)), 1e-3)
    place = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) * ANGLES
    inner, outer = (np.interp(place, np.arange(ANGLES), r, period=ANGLES) for r in (new, old * (1 + HAIR * ahead)))
    far = FAR * float(max(old.max(), new.max()))
    between = outer + (radius - inner) / (far - inner) * (far - outer)
    source = np.where(radius < inner, outer * radius / inner, np.where(radius < far, between, radius))
    at = first + offset * (source / radius)[..., None] + MARGIN
    # smooth enough to be computed on every COARSE-th pixel: fine pixel x lies at x / COARSE
    shrink = np.array([[1 / COARSE, 0, 0], [0, 1 / COARSE, 0]])
    fine = cv2.warpAffine(at.astype(np.float32), shrink, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(cv2.remap(seen.image, fine, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _radii(offsets: Array) -> Array:
    """[ANGLES] how far points [N, 2] reach in each direction, smoothed."""
    sector = np.round(np.arctan2(offsets[:, 1], offsets[:, 0]) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    reach = np.zeros(SECTORS)
    np.maximum.at(reach, sector, np.hypot(*offsets.T))
    angle = np.arange(ANGLES) / ANGLES * SECTORS
    full = np.interp(angle, np.arange(SECTORS), np.maximum(reach, 1), period=SECTORS)
    width = ANGLES // SECTORS * 3
    kernel = np.hanning(2 * width + 1) / np.hanning(2 * width + 1).sum()
    return np.asarray(np.convolve(np.r_[full[-width:], full, full[:width]], kernel, "valid"))
