"""The calibration of a network's covariances: how its errors are spread about the points of each group of a layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec
from landmarks.layout import PointLayout
from landmarks.uncertainty import Plausibility
from train.evaluation.metrics import Array
from train.evaluation.student import Tails, fit_power, fit_scale_factor, fit_tails
from train.runs.folder import CALIBRATION_FILE


@dataclass(frozen=True)
class Calibration:
    """How errors are spread about the points of each group of a layout, and which faces are plausible."""

    tails: Mapping[str, Tails]
    floor: float
    """Crop pixels squared, added to the second moments: see `landmarks.codec.CodecSpec.covariance_floor`."""
    faces: int
    """Number of faces that it was fitted to."""
    held_out: int
    """Of these, the number of faces that the network was not trained on."""
    power: float = 0.0
    """The power of a face's spread in its covariances: see `landmarks.codec.CodecSpec.covariance_power`."""
    plausibility: Plausibility | None = None
    """See `train.evaluation.plausibility`; None in calibrations made before there was one."""

    @property
    def degrees_of_freedom(self) -> dict[str, float]:
        """By group, as a model's metadata state them."""
        return {name: round(tails.degrees_of_freedom, 2) for name, tails in self.tails.items()}

    def apply(self, codec: CodecSpec, layout: PointLayout) -> CodecSpec:
        """The codec with calibrated covariances, for a network of that layout."""
        scale = np.ones(codec.points)
        for name, tails in self.tails.items():
            scale[list(layout.groups[name])] = round(tails.scale, 4)
        return replace(
            codec,
            covariance_scale=tuple(scale.tolist()),
            covariance_floor=self.floor,
            covariance_power=self.power,
        )

    def write(self, folder: Path) -> None:
        """Writes it into a run's folder."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Calibration | None:
        """The calibration of a run; None if it has not been calibrated."""
        path = folder / CALIBRATION_FILE
        if not path.is_file():
            return None
        values: dict[str, Any] = json.loads(path.read_text())
        tails = {name: Tails(**each) for name, each in values.pop("tails").items()}
        stated = values.pop("plausibility", None)
        plausibility = stated and Plausibility(tuple(stated["weights"]), stated["bias"])
        return cls(tails=tails, plausibility=plausibility, **values)


def uncalibrated(codec: CodecSpec) -> CodecSpec:
    """The codec under which a calibration is fitted: plain second moments plus the square of a tenth of a cell."""
    floor = round((codec.stride / 10) ** 2, 6)
    return replace(codec, covariance_scale=1.0, covariance_floor=floor, covariance_power=0.0)


@dataclass(frozen=True, eq=False)
class ErrorStats:
    """A network's errors on faces, relative to its uncalibrated covariances."""

    distances: Array
    """[faces, P] squared Mahalanobis distances, NaN where a point is not annotated"""
    spreads: Array
    """[faces] see `landmarks.codec.face_spread`, in cells"""

    def power(self, layout: PointLayout) -> float:
        """The power of the spreads that best explains how the errors of the faces differ."""
        groups = {name: self.distances[:, list(group)] for name, group in layout.groups.items()}
        return fit_power(groups, self.spreads)

    def normalized(self, power: float) -> Array:
        """The distances [faces, P] under second moments that are multiplied by that power of the spreads."""
        return self.distances / self.spreads[:, None] ** power


def calibrate(
    stats: ErrorStats,
    held_out: NDArray[np.bool_],
    floor: float,
    layout: PointLayout,
    difficulty: float = 1.0,
    power: float | None = None,
) -> Calibration:
    """Fits a calibration to the errors of a network; `held_out` [faces] marks faces that it was not trained on.

    Scales and degrees of freedom of the groups are fitted to all faces, because a group of two points takes thousands
    of faces to distinguish 50 % from 53; for the same reason a group and its mirror image, such as the two brows, are
    fitted as one. How much larger the errors are on faces that the network has not been trained on is one factor for
    all groups, for which the few faces held out are enough. It is divided by the `difficulty` of these faces: see
    `split_difficulty`.
    """
    power = stats.power(layout) if power is None else power
    distances = stats.normalized(power)
    tails = tails_by_group(distances, layout)
    factor = scale_factor(distances[held_out], tails, layout) / difficulty if held_out.any() else 1.0
    tails = {name: replace(each, scale=factor * each.scale) for name, each in tails.items()}
    return Calibration(tails, floor, len(distances), int(held_out.sum()), power)


def tails_by_group(distances: Array, layout: PointLayout) -> dict[str, Tails]:
    """The distributions fitted to squared distances [faces, P], by group; without groups that nobody annotated.

    A group and its mirror image are fitted together: a mirrored image has mirrored covariances.
    """
    fitted: dict[str, Tails] = {}
    for name, group in layout.groups.items():
        twin = mirrored_group(name, layout)
        both = distances[:, list({*group, *layout.groups[twin]})]
        known = both[~np.isnan(both)]
        if len(known):
            fitted[name] = fitted[twin] if twin in fitted else fit_tails(known)
    return fitted


def mirrored_group(name: str, layout: PointLayout) -> str:
    """The group that becomes this one in a mirrored image: itself, where it is in the middle of the face."""
    mirrored = {layout.flip[i] for i in layout.groups[name]}
    return next((other for other, members in layout.groups.items() if set(members) == mirrored), name)


def scale_factor(distances: Array, tails: Mapping[str, Tails], layout: PointLayout) -> float:
    """The factor on the scales of all groups that fits squared distances [faces, P] best."""
    return fit_scale_factor({name: (each, distances[:, list(layout.groups[name])]) for name, each in tails.items()})


def split_difficulty(stats: ErrorStats, held_out: NDArray[np.bool_], layout: PointLayout) -> float:
    """How much larger squared distances are on the faces held out than on all faces, for a network trained on all.

    It measures by how much the few faces held out are harder or easier than the rest, apart from the effect of
    training.
    """
    distances = stats.normalized(stats.power(layout))
    return scale_factor(distances[held_out], tails_by_group(distances, layout), layout)
