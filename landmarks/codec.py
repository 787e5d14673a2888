"""Coordinates <-> heatmaps: randomized rounding to encode, a decoder of `landmarks.decoders` to decode.

Pixel convention (pixel rule "center", the project's own), for stride s = 4::

    crop pixel x     0   1   2   3   4   5   6   7   8   ...     (0 is the centre of the first pixel)
                   |---------------|---------------|---
    cell u                 0               1                     u = (x + 0.5) / s - 0.5

Cell i is centred on crop pixel s*i + (s-1)/2, so a mirrored crop gives exactly mirrored heatmaps. The paper (eq. 12)
and the checkpoints released with its code use pixel rule "corner", u = x / s.

Source: Yu and Tao, "Heatmap Regression via Randomized Rounding", TPAMI 2021 (arXiv:2009.00225). Its equations:

    10, 11, 13   a fixed quantizer, argmax, and the correction of the quantizer's bias   `quantize`, `train.objectives`
    14, 15       randomized rounding                                                     `quantize`, `encode`
    7            the cross-entropy that a network is trained with                        `train.objectives`
    17           the weighted mean of cells, which recovers the fraction     `landmarks.decoders.softmax_mean`
    19, 20       which cells it is taken over: 3 x 3, or the k strongest                 `landmarks.decoders`
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks import compiled
from landmarks.decoders import DECODERS, DEFAULT_DECODER, strongest_cells
from landmarks.layout import WFLW98
from landmarks.size import DEFAULT_SIZE, Size

PixelRule = Literal["center", "corner"]
Quantizer = Literal["floor", "round", "ceil", "random"]

Floats = NDArray[np.floating[Any]]

MOMENT_WINDOW = 17
"""Side in cells of the window around a map's peak that score and covariance are taken from."""
MIN_DETERMINANT = 1e-8
"""Crop pixels to the fourth: lower bound of the determinant of second moments, for maps of a single cell."""
MAX_POWER = 4.0
"""Upper bound of `covariance_power`. Beyond it a small change of the spread changes the covariance beyond any use."""


class CodecError(ValueError):
    """A codec specification, or an argument that must agree with one, is not usable; the message says why."""


class DecoderChoice(NamedTuple):
    """A decoder that a codec can use."""

    name: str
    """Key of `landmarks.decoders.DECODERS`."""
    k: int
    """Strongest cells that the decoder is given, and whose share of the probability is the score."""


@dataclass(frozen=True)
class CodecSpec:
    """Everything encoder, network and decoder must agree on. One value feeds all three."""

    points: int = WFLW98.points
    """Number of landmarks, one heatmap each."""
    input_size: Size = DEFAULT_SIZE
    """Width and height of the crop in pixels."""
    stride: int = 4
    """Crop pixels per heatmap cell."""
    pixel_rule: PixelRule = "center"
    """Where a cell lies in the crop; see the module's diagram."""
    topk: int = 9
    """k of the top-k decoder unless the caller chooses otherwise."""
    covariance_scale: float | tuple[float, ...] = 1.0
    """Calibration: factor on the heatmap's second moments, one for all points or one for each (1 = uncalibrated)."""
    covariance_floor: float = 0.0
    """Calibration: crop pixels squared added to the second moments of both axes beforehand (0 = uncalibrated)."""
    covariance_power: float = 0.0
    """Calibration: a face's covariances are also multiplied by its `face_spread` to this power (0 = uncalibrated)."""

    def __post_init__(self) -> None:
        if any(not isinstance(value, int) for value in (self.points, *self.input_size, self.stride, self.topk)):
            raise CodecError("points, input_size, stride and topk must be integers")
        sides = self.input_size
        if self.points < 1 or self.stride < 1 or min(sides) < 1 or any(side % self.stride for side in sides):
            raise CodecError(
                f"input_size {self.input_size} must be a positive multiple of stride {self.stride}, "
                f"and points {self.points} positive"
            )
        if self.pixel_rule not in get_args(PixelRule):
            raise CodecError(f"pixel_rule must be one of {get_args(PixelRule)}, not {self.pixel_rule!r}")
        scales = np.array(self.covariance_scale, np.float64)
        if scales.shape not in ((), (self.points,)) or not ((scales > 0).all() and self.covariance_floor >= 0):
            raise CodecError(
                "covariance_scale must be positive, one for all points or one for each; covariance_floor not negative"
            )
        if not 0 <= self.covariance_power <= MAX_POWER:
            raise CodecError(f"covariance_power must lie between 0 and {MAX_POWER:g}, not {self.covariance_power!r}")
        self.check_topk(self.topk)

    @property
    def columns(self) -> int:
        """Width of a heatmap in cells."""
        return self.input_size.width // self.stride

    @property
    def rows(self) -> int:
        """Height of a heatmap in cells."""
        return self.input_size.height // self.stride

    @property
    def heatmap_shape(self) -> tuple[int, int, int]:
        """Of a face's heatmaps: points, rows, columns."""
        return self.points, self.rows, self.columns

    @property
    def offset(self) -> float:
        """Crop pixel on which cell 0 is centred."""
        return (self.stride - 1) / 2 if self.pixel_rule == "center" else 0.0

    def to_cells(self, pixels: Floats) -> Floats:
        """Crop pixels -> cell coordinates u (any shape, float)."""
        return (pixels - self.offset) / self.stride

    def to_pixels(self, cells: Floats) -> Floats:
        """Cell coordinates u -> crop pixels (any shape, float)."""
        return cells * self.stride + self.offset

    def check_topk(self, topk: int) -> int:
        """Returns `topk`; raises CodecError unless it is an integer and a map has that many cells."""
        if type(topk) is not int:
            raise CodecError(f"topk must be an integer, not {topk!r}")
        cells = self.rows * self.columns
        if not 1 <= topk <= cells:
            raise CodecError(f"topk must lie between 1 and the {cells} cells of a heatmap, not {topk}")
        return topk

    def choose_decoder(self, name: str | None = None, topk: int | None = None) -> DecoderChoice:
        """What a request's `decoder` and `topk` ask for: "topk" and the codec's own k where it leaves them out.

        Raises CodecError for a name that `landmarks.decoders.DECODERS` does not have, for a `topk` that the maps do not
        have, and for one that the decoder does not take.
        """
        name = DEFAULT_DECODER if name is None else name
        if name not in DECODERS:
            raise CodecError(f"decoder must be one of {', '.join(DECODERS)}, not {name!r:.40}")
        decoder = DECODERS[name]
        if not decoder.takes_topk and topk not in (None, decoder.k):
            raise CodecError(f"decoder {name} takes no topk: leave it out, or choose decoder {DEFAULT_DECODER}")
        given = self.topk if topk is None else topk
        return DecoderChoice(name, self.check_topk(decoder.k or given))

    def to_json(self) -> str:
        """One canonical line of JSON: equal specs give equal text."""
        return json.dumps(asdict(self) | {"input_size": self.input_size.plain}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CodecSpec:
        """Reads `to_json`'s text. Raises CodecError for unknown, missing or unusable values."""
        try:
            values = json.loads(text)
            names = {field.name for field in fields(cls)}
            if isinstance(values, dict):
                # models exported before there was a power have none
                values = {"covariance_power": 0.0} | values
            if not isinstance(values, dict) or set(values) != names:
                raise CodecError(f"a codec specification needs exactly the keys {sorted(names)}, got: {text}")
            if isinstance(values["covariance_scale"], list):
                values["covariance_scale"] = tuple(values["covariance_scale"])
            return cls(**values | {"input_size": Size.parse(values["input_size"])})
        except CodecError:
            raise
        except (ValueError, TypeError) as error:
            raise CodecError(f"not a codec specification ({error}): {text}") from error


# ---------------------------------------------------------------- encode


def quantize(u: Floats, quantizer: Quantizer, rng: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Cell coordinates (any shape, float) -> integer cells of the same shape.

    "floor", "round" (halves up) and "ceil" are eq. 10 with a threshold of 1, 0.5 and 0, but "ceil" leaves whole numbers
    as they are, which eq. 10 with a threshold of 0 moves up by one. "random" is randomized rounding (eq. 15):
    floor(u) + 1 with probability frac(u), else floor(u), independently for every number. It needs `rng`; CodecError
    without one.
    """
    low = np.floor(u)
    if quantizer == "floor":
        cells = low
    elif quantizer == "ceil":
        cells = np.ceil(u)
    elif quantizer == "round":
        cells = np.floor(u + 0.5)
    else:
        if rng is None:
            raise CodecError("randomized rounding needs a random generator")
        cells = low + (rng.random(np.shape(u)) < u - low)
    return np.asarray(cells, np.int64)


class Encoded(NamedTuple):
    cells: NDArray[np.int64]
    """[..., 2] column and row of the cell, within the map wherever `inside` holds."""
    inside: NDArray[np.bool_]
    """[...] whether the point lies on the map; a point outside has no cell, and its `cells` mean nothing."""


def encode(
    points: Floats, spec: CodecSpec, rng: np.random.Generator | None = None, quantizer: Quantizer = "random"
) -> Encoded:
    """Crop pixels [..., 2] -> one cell per point; with the default quantizer each of the four cells around it with the
    probability of eq. 14.

    A point is inside when its u lies from 0 to the last cell on both axes, where rounding in either direction stays on
    the map: randomized rounding is unbiased for every point that is flagged inside (Theorem 2).
    """
    u = spec.to_cells(np.asarray(points, np.float64))
    inside = np.all((u >= 0) & (u <= np.array([spec.columns, spec.rows]) - 1), axis=-1)
    return Encoded(quantize(np.where(inside[..., None], u, 0.0), quantizer, rng), inside)


# ---------------------------------------------------------------- decode


class NetworkOutput(NamedTuple):
    """What a network predicts of N crops."""

    heatmaps: NDArray[np.float32]
    """[N, points, rows, columns] logits."""
    visibility: NDArray[np.float32]
    """[N, points] the probability that each point is seen, hidden neither by the head itself nor by something before
    it; [N, 0] where the network does not state it."""


def without_visibility(heatmaps: NDArray[np.float32]) -> NetworkOutput:
    """The output of a network that predicts heatmaps [N, points, rows, columns] alone."""
    return NetworkOutput(heatmaps, np.empty((len(heatmaps), 0), np.float32))


class Decoded(NamedTuple):
    points: NDArray[np.float32]
    """[..., points, 2] crop pixels, x then y."""
    scores: NDArray[np.float32]
    """[..., points] in [0, 1]: the k strongest cells' share of the probability in the window around the peak (limited
    to 1, as some of the k may lie outside the window). k is `DecoderChoice.k`."""
    covariances: NDArray[np.float32]
    """[..., points, 2, 2] crop pixels squared: second moments of the window about the point, calibrated."""
    visibility: NDArray[np.float32]
    """As `NetworkOutput.visibility`, which no decoder changes."""


def decode_output(
    output: NetworkOutput, spec: CodecSpec, topk: int | None = None, decoder: str | None = None
) -> Decoded:
    """As `decode` its heatmaps, with its visibility."""
    return decode(output.heatmaps, spec, topk, decoder)._replace(visibility=output.visibility)


def decode(heatmaps: Floats, spec: CodecSpec, topk: int | None = None, decoder: str | None = None) -> Decoded:
    """Logits [N, points, rows, columns] -> points, scores and covariances, and no visibility.

    `decoder` and `topk` as `CodecSpec.choose_decoder` has them. Each face is decoded by itself with arrays of one fixed
    shape, so its numbers do not depend, to the last bit, on the faces beside it. Raises CodecError when the shape, the
    decoder or `topk` disagrees with `spec`.
    """
    chosen = spec.choose_decoder(decoder, topk)
    shape = spec.heatmap_shape
    if heatmaps.ndim != 4 or heatmaps.shape[1:] != shape:
        raise CodecError(f"heatmaps must have shape [N, {', '.join(map(str, shape))}], not {list(heatmaps.shape)}")
    faces = len(heatmaps)
    out = Decoded(
        np.empty((faces, spec.points, 2), np.float32),
        np.empty((faces, spec.points), np.float32),
        np.empty((faces, spec.points, 2, 2), np.float32),
        np.empty((faces, 0), np.float32),
    )
    pixels, width = (spec.stride, spec.offset), min(MOMENT_WINDOW, spec.rows, spec.columns)
    calibration = (spec.covariance_scale, spec.covariance_floor, spec.covariance_power, MIN_DETERMINANT)
    is_compiled = DECODERS[chosen.name].is_compiled
    if is_compiled and compiled.decode(heatmaps, chosen.k, width, pixels, calibration, out[:3]):
        return out
    for i, maps in enumerate(heatmaps):
        out.points[i], out.scores[i], out.covariances[i] = _decode_face(np.asarray(maps, np.float32), spec, chosen)
    return out


def _decode_face(
    maps: NDArray[np.float32], spec: CodecSpec, chosen: DecoderChoice
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    strongest = strongest_cells(maps, chosen.k)
    logits, cells = strongest
    u = DECODERS[chosen.name].read(maps, strongest)
    window, corner = _window(maps, cells[:, 0])
    probability = np.exp((window - logits[:, :1, None]).astype(np.float64))
    mass = probability.sum(axis=(1, 2))
    score = np.minimum(np.exp((logits - logits[:, :1]).astype(np.float64)).sum(axis=1) / mass, 1.0)
    covariance = spec.stride**2 * _second_moments(probability / mass[:, None, None], u - corner)
    return spec.to_pixels(u), score, _calibrated(covariance, spec)


def _calibrated(moments: NDArray[np.float64], spec: CodecSpec) -> NDArray[np.float64]:
    """Second moments of a face's maps [points, 2, 2] -> the covariances of its points' errors, both in crop pixels."""
    scale = np.asarray(spec.covariance_scale, np.float64).reshape(-1, 1, 1)
    with_floor = moments + spec.covariance_floor * np.eye(2)
    factor = float(face_spread(with_floor, spec.stride)) ** spec.covariance_power
    calibrated: NDArray[np.float64] = factor * scale * with_floor
    return calibrated


def face_spread(moments: Floats, stride: int) -> Floats:
    """How wide the maps of a face are overall: second moments [..., points, 2, 2] in crop pixels squared -> [...] in
    cells.

    The geometric mean of the standard deviations of all points. From face to face, errors grow faster than this spread
    does: on a difficult face the network is overconfident, so its maps are too narrow as well (docs/decisions/0015).
    """
    determinant = moments[..., 0, 0] * moments[..., 1, 1] - moments[..., 0, 1] ** 2
    spread: Floats = np.exp(np.log(np.maximum(determinant, MIN_DETERMINANT)).mean(axis=-1) / 4) / stride
    return spread


def _window(maps: NDArray[np.float32], peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The part of each map around its strongest cell, [points, w, w], and its first column and row, [points, 2].

    The window is shifted to stay on the map. It costs a sixth of exponentiating the entire map.
    """
    points, rows, columns = maps.shape
    width = min(MOMENT_WINDOW, rows, columns)
    left = np.clip(peaks % columns - width // 2, 0, columns - width)
    top = np.clip(peaks // columns - width // 2, 0, rows - width)
    windows = np.lib.stride_tricks.sliding_window_view(maps, (1, width, width))[:, :, :, 0]
    return windows[np.arange(points), top, left], np.stack([left, top], axis=1)


def _second_moments(probability: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """E[(cell - u)(cell - u)^T] of each normalised map [points, w, w]: [points, 2, 2] in cells squared.

    About the decoded point rather than the mean of the map, so that a second mode counts in full.
    """
    side = np.arange(probability.shape[-1])
    dx, dy = side - u[:, :1], side - u[:, 1:]
    xx = np.einsum("pyx,px,px->p", probability, dx, dx)
    yy = np.einsum("pyx,py,py->p", probability, dy, dy)
    xy = np.einsum("pyx,py,px->p", probability, dy, dx)
    return np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
