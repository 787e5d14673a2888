"""The linear 3-D face model: a head's shape from coefficients, and where the 98 points lie on it.

The model is ICT-FaceKit's "light" one (Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020),
in centimeters: x to the image's right for a face that looks at the camera, y up, z towards the camera. "Left" and
"right" are the subject's own, as in `landmarks.layout`.

The eyeballs are left out. The openings of eyes and mouth are closed by triangles instead, onto which the image is
mapped without gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from landmarks.layout import WFLW98
from train.datasets.npz import load_arrays
from train.errors import DataError

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.int32]

SKIN: Final = 11248
"""Vertices of face, head and neck; those of the eyeballs follow."""
IDENTITIES: Final = 60
"""Identity components that are used; the later ones move no point by as much as its annotation error."""
SHOULDERS: Final = -13.5
"""The y below which the model is cut off."""
NECK: Final = (-13.0, -8.5)
"""Below the first y nothing rotates with the head, above the second everything does; between them the neck twists."""

MIDLINE_AND_RIGHT: Final = {
    **dict(zip(range(33, 42), (267, 493, 1914, 2043, 1402, 2002, 2036, 1033, 1010), strict=True)),
    **dict(zip(range(51, 58), (977, 4527, 4942, 4857, 1268, 2088, 4558), strict=True)),
    **dict(zip(range(60, 68), (570, 1022, 681, 653, 1530, 572, 579, 1550), strict=True)),
    **dict(zip(range(76, 80), (5929, 5662, 6029, 0), strict=True)),
    **dict(zip(range(85, 91), (5518, 5957, 5841, 5702, 5711, 5533), strict=True)),
    **dict(zip((94, 95), (5517, 5966), strict=True)),
}
"""The vertices of the subject's right and middle points; those of the left ones are the mirror images. They are ICT's
vertices for the 68 points of 300-W, moved along the skin (by at most 4 mm) to WFLW's convention: the vertices closest
on average to near-frontal WFLW shapes to which the model was fitted. Contour and pupils follow from `CONTOUR` and the
eyes."""

CONTOUR: Final = (
    *(1280, 1278, 1275, 1272, 1248, 12, 820, 1834, 1902, 243, 844, 781, 1673, 2199, 801, 1447, 800),
    966,
    *(3041, 3661, 3042, 4390, 3880, 3022, 3085, 2484, 4102, 4036, 3061, 2253, 3466, 3490, 3493, 3496, 3498),
)
"""The edge of the face from the right ear over the chin to the left one, as vertices."""
CHIN: Final = 17
"""Index of the chin in `CONTOUR`."""
PATH_STEPS: Final = 24
"""Samples along each path from the edge of the face inwards."""

EYE_BULGE: Final = 0.45
"""Centimeters by which the eyeball protrudes from the plane of the lids' rim."""


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Vertices are a mean plus components times coefficients: first those of identity, then those of expression."""

    mean: Array
    """[V, 3]: the skin, then the vertices that close its openings, then the samples of `paths`"""
    components: Array
    """[K, V, 3]"""
    identities: int
    """How many of the K belong to identity: standard normal. Coefficients of expressions are not negative."""
    triangles: Indices
    """[T, 3] counter-clockwise seen from outside"""
    mirror: Indices
    """[V] the vertex of the other side"""
    points: Indices
    """[98] the vertex of each point, for the contour that on the face's edge in a frontal view"""
    paths: Indices
    """[35, PATH_STEPS] vertices from the edge of the face inwards, along which the contour may move"""
    midline: Indices
    """[98] for a point beside the midline the vertex on it at the same height, for others the point's own vertex"""
    rotation_share: Array
    """[V] share, from 0 to 1, of the head's rotation by which a vertex is rotated"""

    def shape(self, coefficients: Array) -> Array:
        """Coefficients [K] -> vertices [V, 3]."""
        return self.mean + np.tensordot(coefficients.astype(np.float32), self.components, axes=1)

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Reads ICT's arrays from an .npz file. Raises DataError when they are missing or have other shapes."""
        vertices, triangles, identity, expression = load_arrays(path, "vertices", "triangles", "identity", "expression")
        shapes = [vertices.shape[1:], triangles.shape[1:], identity.shape[1:], expression.shape[1:]]
        if shapes != [(3,), (3,), vertices.shape, vertices.shape] or len(vertices) < SKIN:
            raise DataError(f"{path}: expected ICT's vertices [V, 3], triangles [T, 3] and components [K, V, 3]")
        skin = triangles[(triangles < SKIN).all(axis=1)].astype(np.int32)
        basis = np.concatenate([vertices[None], identity[:IDENTITIES], expression])[:, :SKIN].astype(np.float32)
        return assemble(basis, skin, min(IDENTITIES, len(identity)))


def assemble(basis: Array, triangles: Indices, identities: int) -> FaceModel:
    """The model from the skin's mean and components [1 + K, SKIN, 3]."""
    openings, fans, pupils = _close_openings(basis[0], triangles)
    closed = _with_vertices(basis, openings)
    closed[0, pupils, 2] += EYE_BULGE
    mean = closed[0]
    full = _with_vertices(closed, _paths(mean, np.concatenate([triangles, fans])))
    paths = np.arange(len(mean), full.shape[1], dtype=np.int32).reshape(len(CONTOUR), PATH_STEPS)
    mirror = cKDTree(full[0]).query(full[0] * [-1, 1, 1])[1].astype(np.int32)
    mirror[paths] = paths[::-1]
    points = _points(mirror, pupils)
    share = np.clip((full[0, :, 1] - NECK[0]) / (NECK[1] - NECK[0]), 0, 1)
    kept = (mean[triangles, 1] > SHOULDERS).all(axis=1)
    return FaceModel(
        full[0],
        full[1:],
        identities,
        np.concatenate([triangles[kept], fans]),
        mirror,
        points,
        paths,
        _midline(basis[0], points),
        share * share * (3 - 2 * share),
    )


def _with_vertices(basis: Array, sums: sparse.csr_matrix) -> Array:
    """Adds vertices that are weighted sums [n, V] of others."""
    return np.asarray(np.concatenate([basis, np.stack([sums @ vertices for vertices in basis])], axis=1), np.float32)


def _points(mirror: Indices, pupils: list[int]) -> Indices:
    points = np.empty(WFLW98.points, np.int32)
    points[:33] = np.array(CONTOUR)[np.round(np.linspace(0, len(CONTOUR) - 1, 33)).astype(int)]
    for point, vertex in MIDLINE_AND_RIGHT.items():
        points[WFLW98.flip[point]] = mirror[vertex]
        points[point] = vertex
    points[96:] = pupils
    return points


# ---------------------------------------------------------------- openings


def _close_openings(mean: Array, triangles: Indices) -> tuple[sparse.csr_matrix, Indices, list[int]]:
    """One vertex in the middle of each eye and of the mouth, as weighted sums of its boundary [3, SKIN]; fans of
    triangles [n, 3] that close the openings; the indices of the right and the left eye's vertex.
    """
    loops = [loop for loop in _boundary_loops(triangles) if mean[loop, 2].min() > 5]  # all but the neck's end
    loops.sort(key=lambda loop: float(abs(mean[loop, 0].mean()) < 1))
    loops[:2] = sorted(loops[:2], key=lambda loop: float(mean[loop, 0].mean()))
    rows = [np.bincount(loop, minlength=len(mean)) / len(loop) for loop in loops]
    fans = [
        (b, a, len(mean) + i) for i, loop in enumerate(loops) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)
    ]
    return sparse.csr_matrix(np.stack(rows)), np.array(fans, np.int32), [len(mean), len(mean) + 1]


def _boundary_loops(triangles: Indices) -> list[list[int]]:
    """The closed loops of edges with a triangle on one side only, in the direction of that triangle."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    forward, reverse = edges @ [1 << 32, 1], edges @ [1, 1 << 32]
    following = dict(edges[~np.isin(forward, reverse)].tolist())
    loops = []
    while following:
        first, current = following.popitem()
        loop = [first]
        while current != first:
            loop.append(current)
            current = following.pop(current)
        loops.append(loop)
    return loops


# ---------------------------------------------------------------- paths of the contour


def _paths(mean: Array, triangles: Indices) -> sparse.csr_matrix:
    """Samples of a path inwards from each vertex of `CONTOUR`, as weighted sums of vertices [35 * PATH_STEPS, V].

    In a frontal view a path runs straight from the edge of the face to the midline, or to the base of the nose, behind
    which WFLW's contour passes.
    """
    rows = []
    front = triangles[(mean[triangles, 2] > 0).all(axis=1)]
    low, high = mean[front, 1].min(axis=1), mean[front, 1].max(axis=1)
    for vertex in CONTOUR[: CHIN + 1]:
        x, y, _ = mean[vertex]
        end_y = y if y > -4 else -4 + (y + 4) * 0.9
        end_x = -float(np.interp(end_y, [-2.0, -1.2, 1.5, 3.0], [0.0, 1.8, 1.4, 0.0]))
        share = 1 - np.cos(np.linspace(0, np.pi / 2, PATH_STEPS))[1:]
        samples = np.stack([x + (end_x - x) * share, y + (end_y - y) * share], axis=1)
        level = front[(low < max(y, end_y) + 0.1) & (high > min(y, end_y) - 0.1)]
        rows.append(sparse.csr_matrix(([1.0], ([0], [vertex])), shape=(1, len(mean))))
        rows.extend(_surface_point(sample, level, mean) for sample in samples)
    right = sparse.csr_matrix(sparse.vstack(rows))
    mirror = cKDTree(mean).query(mean * [-1, 1, 1])[1]
    left = right[:, mirror].tocsr()
    back = [row * PATH_STEPS + step for row in reversed(range(CHIN)) for step in range(PATH_STEPS)]
    return sparse.csr_matrix(sparse.vstack([right, left[back]]))


def _surface_point(position: Array, triangles: Indices, mean: Array) -> sparse.csr_matrix:
    """The foremost point of the skin at (x, y), as a weighted sum of three vertices [1, V]."""
    corners = mean[triangles][:, :, :2]
    a, b, c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = position - a
    area = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]
    facing = area > 1e-9
    safe = np.where(facing, area, 1)
    v, w = (p[:, 0] * c[:, 1] - p[:, 1] * c[:, 0]) / safe, (b[:, 0] * p[:, 1] - b[:, 1] * p[:, 0]) / safe
    weights = np.stack([1 - v - w, v, w], axis=1)
    inside = np.flatnonzero(facing & (weights > -1e-4).all(axis=1))
    depth = (weights[inside] * mean[triangles[inside], 2]).sum(axis=1)
    best = inside[depth.argmax()]
    return sparse.csr_matrix((weights[best], (np.zeros(3, int), triangles[best])), shape=(1, len(mean)))


def _midline(mean: Array, points: Indices) -> Indices:
    """[98] the midline's vertex at each point's height; for lips that of the lip, under the nose that of its base."""
    candidates = np.flatnonzero((abs(mean[:, 0]) < 1e-3) & (mean[:, 2] > 9))
    vertices = points.copy()
    named = {55: 57, 56: 57, 76: 90, 77: 79, 78: 79, 86: 85, 87: 85, 88: 90, 89: 90, 95: 94}
    for point in (*range(33, 42), *range(60, 68), *named, 96):
        height = mean[points[60 if point == 96 else point], 1]
        level = candidates[abs(mean[candidates, 1] - height).argmin()]
        vertices[[point, WFLW98.flip[point]]] = points[named[point]] if point in named else level
    return vertices
