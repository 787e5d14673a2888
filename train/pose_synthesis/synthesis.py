"""The image of a head in another pose: the head is drawn again, the background is warped to its new outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from train.datasets.image import RgbImage
from train.pose_synthesis.head import Head, PosedPoints
from train.pose_synthesis.pose import Pose
from train.pose_synthesis.rasterizer import Raster, rasterize
from train.pose_synthesis.silhouette import JAW

Array = NDArray[np.floating[Any]]

GRAZING: Final = (0.05, 0.35)
"""Cosine between the skin's normal and the line of sight, below which the image shows nothing of a vertex, and above
which it shows all of it."""
NECK_GRAZING: Final = (0.5, 0.8)
"""The same for the neck, whose outline is not known."""
CERTAIN: Final = 0.5
"""The same cosine, above which a vertex gives its color to hidden ones; below, it may be that of the background."""
EARS: Final = 7.0
"""The x, to either side, from which on ears stand out against the background."""
NECK: Final = -7.8
"""The y below which the neck begins."""
FADING: Final = (-13.0, -10.5)
"""The y between which the neck, which is not rotated there, blends into the background."""
DEPTH_TOLERANCE: Final = 0.35
"""Centimeters by which a vertex may lie behind the surface at its pixel and still count as visible."""
CONTOUR_TOLERANCE: Final = 1.5
"""The same for points of the contour: along the outline the skin recedes steeply within a pixel."""
CRANIUM: Final = np.array([0.0, 1.0, 1.0])
"""The middle of the head, from which or towards which the background is moved."""
CHIN: Final = -6.0
"""The y above which the head's outline is measured."""
ANGLES: Final = 256
"""Directions for each of which the background has a displacement."""
SECTORS: Final = 32
"""Directions in which the head's outline is measured."""
GRID: Final = 4
"""Pixels between the positions at which the background's displacement is computed."""
MARGIN: Final = 256
"""Pixels by which the image is extended on each side."""
MARGIN_BLUR: Final = 31
"""Side in pixels of the box filter that blurs the margin, twice."""
REMAP_WIDTH: Final = 1024
"""Positions per row of a call of OpenCV's remap."""
NO_MAP: Final = np.empty(0, np.float32)
"""The second map of OpenCV's remap, which is not used: the first holds x and y."""
HAIR: Final = 0.35
"""In front of the face the background is taken this share of the head's radius farther out, past the hair."""
FAR: Final = 2.2
"""From this many radii of the head on the background stays where it is."""


@dataclass(frozen=True, eq=False)
class ObservedHead:
    """What an image shows of a head's vertices."""

    image: RgbImage
    """The image, extended by MARGIN pixels on every side."""
    head: Head
    pixels: Array
    """[V, 2] of the original image"""
    visibility: Array
    """[V] from 0 to 1"""
    colors: Array
    """[V, 3] RGB where the vertex is visible; elsewhere that of visible ones nearby"""


def observe(image: RgbImage, head: Head) -> ObservedHead:
    """What the image [H, W, 3] shows of each vertex of the head, in the head's own pose."""
    model = head.model
    camera = head.pose.rotate(head.vertices)
    pixels = head.pose.to_pixels(camera)
    extended = _extended(image)
    height, width = extended.shape[:2]
    raster = rasterize(pixels + MARGIN, camera[:, 2], model.triangles, (width, height))
    depth = np.full((height, width), np.inf, np.float32)
    depth[raster.covered] = raster.interpolate(camera[:, 2:])[:, 0]
    column, row = np.round(pixels + MARGIN).astype(int).clip(0, [width - 1, height - 1]).T
    unobstructed = camera[:, 2] > depth[row, column] - DEPTH_TOLERANCE
    neck = model.mean[:, 1] < NECK
    low, high = (np.where(neck, of_neck, elsewhere) for of_neck, elsewhere in zip(NECK_GRAZING, GRAZING, strict=True))
    facing = _normals(camera, model.triangles)[:, 2]
    visibility = unobstructed * _smooth_step(facing, low, high)
    certain = unobstructed & (facing > CERTAIN) & (abs(model.mean[:, 0]) < EARS)
    return ObservedHead(
        extended, head, pixels, visibility, _colors(extended[row, column], visibility, certain, model.mean)
    )


def _extended(image: RgbImage) -> RgbImage:
    """MARGIN more pixels on every side: the image's reflection, too blurred to show anything like a face."""
    extended = cv2.copyMakeBorder(image, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT_101)
    blurred = cv2.blur(cv2.blur(extended, (MARGIN_BLUR, MARGIN_BLUR)), (MARGIN_BLUR, MARGIN_BLUR))
    blurred[MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return np.asarray(blurred, np.uint8)


def _normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """[V, 3] unit normals, outwards."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    sums = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(normals[:, i], 3), minlength=len(vertices)) for i in range(3)], axis=1
    )
    unit: Array = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit


def _smooth_step(x: Array, low: Array | float, high: Array | float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _colors(colors: Array, visibility: Array, certain: NDArray[np.bool_], mean: Array) -> Array:
    """[V, 3] the colors, blended with the mean of the nearest certain ones by how far a vertex is hidden."""
    colors = colors.astype(np.float32)
    known, hidden = np.flatnonzero(certain), np.flatnonzero(visibility < 1)
    if len(known):
        nearest = cKDTree(mean[known]).query(mean[hidden], k=min(12, len(known)))[1]
        nearby = colors[known][nearest.reshape(len(hidden), -1)].mean(axis=1)
        part = visibility[hidden, None]
        colors[hidden] = colors[hidden] * part + nearby * (1 - part)
    return colors


def synthesize(observed: ObservedHead, pose: Pose, size: int) -> tuple[RgbImage, Array]:
    """RGB uint8 [size, size, 3] of the head in another pose, in whose pixels `pose` is, and the head's depth
    [size, size] in centimeters towards the camera, -inf beside it.
    """
    camera = observed.head.posed_vertices(pose)
    raster = rasterize(pose.to_pixels(camera), camera[:, 2], observed.head.model.triangles, (size, size))
    covered = raster.covered
    layer = np.zeros((size, size, 4), np.float32)
    layer[covered] = _texture(observed, raster)
    # the outline has steps of a pixel: only that is blurred
    inside = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    layer = np.where(inside[..., None], layer, cv2.GaussianBlur(layer, (3, 3), 0.6))
    image = layer[..., :3] + _background(observed, pose, size) * (1 - layer[..., 3:])
    depth = np.full((size, size), -np.inf, np.float32)
    depth[covered] = raster.interpolate(camera[:, 2:])[:, 0]
    return np.asarray(np.clip(image + 0.5, 0, 255), np.uint8), depth


def _texture(observed: ObservedHead, raster: Raster) -> Array:
    """[N, 4] RGB and opacity of the covered pixels, the colors premultiplied by the opacity.

    A point of the skin is drawn as the image shows it, else as the image shows its mirror image, else by its color.
    """
    model = observed.head.model
    visibility = observed.visibility
    from_mirror = visibility[model.mirror] * (1 - visibility)
    opacity = _smooth_step(model.mean[:, 1], *FADING)
    shares = np.c_[1 - visibility - from_mirror, visibility, from_mirror, opacity]
    values = np.c_[observed.pixels, observed.pixels[model.mirror], observed.colors, shares]
    at_pixels = raster.interpolate(values)
    own, mirrored = _sample(observed.image, at_pixels[:, :2]), _sample(observed.image, at_pixels[:, 2:4])
    color, share = at_pixels[:, 4:7], at_pixels[:, 7:]
    drawn = color * share[:, 0:1] + own * share[:, 1:2] + mirrored * share[:, 2:3]
    return np.asarray(np.c_[drawn * share[:, 3:], share[:, 3]])


def visible(posed: PosedPoints, depth: Array) -> NDArray[np.bool_]:
    """[98] whether each point is visible, given the depth of `synthesize`: not behind the head, and not moved."""
    rows, columns = depth.shape
    column, row = np.round(posed.points).astype(int).clip(0, [columns - 1, rows - 1]).T
    nearest = posed.depth + DEPTH_TOLERANCE
    nearest[JAW] = posed.depth[JAW] + CONTOUR_TOLERANCE
    return np.asarray((nearest > depth[row, column]) & ~posed.moved)


def _sample(image: RgbImage, pixels: Array) -> Array:
    """Pixels [N, 2] of the original image -> RGB [N, 3], bilinear."""
    rows = -(-len(pixels) // REMAP_WIDTH)  # OpenCV's remap takes no image wider than 32767
    grid = np.zeros((rows * REMAP_WIDTH, 2), np.float32)
    grid[: len(pixels)] = pixels + MARGIN
    grid = grid.reshape(rows, REMAP_WIDTH, 2)
    values = cv2.remap(image, grid, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values.reshape(-1, 3)[: len(pixels)], np.float32)


# ---------------------------------------------------------------- background


def _background(observed: ObservedHead, pose: Pose, size: int) -> RgbImage:
    """RGB [size, size, 3]: the image warped radially, so that what surrounds the head in it surrounds the head in its
    new pose, and what is far away stays where it is.
    """
    head = observed.head
    old_center, new_center = head.pose.project(CRANIUM), pose.project(CRANIUM)
    above_neck = head.vertices[head.model.mean[:, 1] > CHIN]
    old, new = _radii(head.pose.project(above_neck) - old_center), _radii(pose.project(above_neck) - new_center)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    gaze = pose.rotation[:2, 2] * [1, -1]  # where the face looks, in the image
    ahead = np.maximum(0, np.cos(angle) * gaze[0] + np.sin(angle) * gaze[1])
    x, y = np.meshgrid(*[np.arange(0, size + GRID, GRID)] * 2)
    offset = np.stack([x, y], axis=-1) - new_center
    radius = np.maximum(np.hypot(*np.moveaxis(offset, -1, 0)), 1e-3)
    direction = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) * ANGLES
    inner, outer = (np.interp(direction, np.arange(ANGLES), r, period=ANGLES) for r in (new, old * (1 + HAIR * ahead)))
    far = FAR * float(max(old.max(), new.max()))
    between = outer + (radius - inner) / (far - inner) * (far - outer)
    source = np.where(radius < inner, outer * radius / inner, np.where(radius < far, between, radius))
    at = old_center + offset * (source / radius)[..., None] + MARGIN
    # smooth enough to be computed on every GRID-th pixel: pixel x of the image lies at x / GRID
    shrink = np.array([[1 / GRID, 0, 0], [0, 1 / GRID, 0]])
    fine = cv2.warpAffine(at.astype(np.float32), shrink, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    warped = cv2.remap(observed.image, fine, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _radii(offsets: Array) -> Array:
    """[ANGLES] how far points [N, 2] extend in each direction, smoothed."""
    sector = np.round(np.arctan2(offsets[:, 1], offsets[:, 0]) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    reach = np.zeros(SECTORS)
    np.maximum.at(reach, sector, np.hypot(*offsets.T))
    angle = np.arange(ANGLES) / ANGLES * SECTORS
    full = np.interp(angle, np.arange(SECTORS), np.maximum(reach, 1), period=SECTORS)
    width = ANGLES // SECTORS * 3
    kernel = np.hanning(2 * width + 1) / np.hanning(2 * width + 1).sum()
    return np.asarray(np.convolve(np.r_[full[-width:], full, full[:width]], kernel, "valid"))
