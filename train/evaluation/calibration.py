"""What is fitted to a trained network on faces it has not seen: the part of `train` that is held out for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, face_spread
from landmarks.layout import PointLayout
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.held_out import split_by_name
from train.errors import TrainingError
from train.evaluation.metrics import Array, Tails, fit_level, fit_power, fit_tails

if TYPE_CHECKING:
    from train.datasets.source import DataSource

CALIBRATION_FILE: Final = "calibration.json"
"""Name of the calibration within a run's folder."""


# ---------------------------------------------------------------- the calibration of the covariances


@dataclass(frozen=True)
class Calibration:
    """How errors are spread about the points of each group of a layout."""

    tails: Mapping[str, Tails]
    floor: float
    """Crop pixels squared, added to the second moments: see `landmarks.codec.CodecSpec.covariance_floor`."""
    faces: int
    held_out: int
    """Faces fitted to, and how many of them the network was not trained on."""
    power: float = 0.0
    """Of a face's spread, on its covariances: see `landmarks.codec.CodecSpec.covariance_power`."""

    @property
    def degrees_of_freedom(self) -> dict[str, float]:
        """By group, as a model's metadata states them."""
        return {name: round(tails.degrees_of_freedom, 2) for name, tails in self.tails.items()}

    def apply(self, codec: CodecSpec, layout: PointLayout) -> CodecSpec:
        """The codec with the covariances of a network of that layout calibrated."""
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
        """Into a run's folder."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Calibration | None:
        """That of a run's folder, if it has one."""
        path = folder / CALIBRATION_FILE
        if not path.is_file():
            return None
        values: dict[str, Any] = json.loads(path.read_text())
        tails = {name: Tails(**each) for name, each in values.pop("tails").items()}
        return cls(tails=tails, **values)


def uncalibrated(codec: CodecSpec) -> CodecSpec:
    """The codec that a calibration is fitted under: second moments as they are, but for a tenth of a cell."""
    floor = round((codec.stride / 10) ** 2, 6)
    return replace(codec, covariance_scale=1.0, covariance_floor=floor, covariance_power=0.0)


@dataclass(frozen=True, eq=False)
class Found:
    """What a network made of faces, under its second moments as they are."""

    distances: Array
    """[faces, P] squared, NaN where a point is not annotated"""
    spreads: Array
    """[faces] as of `landmarks.codec.face_spread`, in cells"""

    def power(self, layout: PointLayout) -> float:
        """Of the spreads, that explains best how the errors of the faces differ."""
        groups = {name: self.distances[:, list(group)] for name, group in layout.groups.items()}
        return fit_power(groups, self.spreads)

    def under(self, power: float) -> Array:
        """The distances [faces, P] once the moments are multiplied by that power of the spreads."""
        return self.distances / self.spreads[:, None] ** power


def calibrate(
    found: Found, unseen: NDArray[np.bool_], floor: float, layout: PointLayout, hardness: float = 1.0
) -> Calibration:
    """Fits to what a network found in faces; `unseen` [faces]: those not trained on.

    Scales and tails of the groups are fitted to all faces, because a group of two points takes thousands of faces to
    tell 50 % from 53; for the same reason the right brow and the left one are fitted as one. How much larger errors are
    on faces that the network has not been trained on is one factor for all groups, which the few faces held out suffice
    for. It is divided by their `hardness`.
    """
    power = found.power(layout)
    distances = found.under(power)
    tails = tails_of(distances, layout)
    level = level_of(distances[unseen], tails, layout) / hardness if unseen.any() else 1.0
    tails = {name: replace(each, scale=level * each.scale) for name, each in tails.items()}
    return Calibration(tails, floor, len(distances), int(unseen.sum()), power)


def tails_of(distances: Array, layout: PointLayout) -> dict[str, Tails]:
    """By group, what is fitted to squared distances [faces, P]; without groups that nobody annotated.

    A group and its mirror image are fitted together: a mirrored photograph has mirrored covariances.
    """
    found: dict[str, Tails] = {}
    for name, group in layout.groups.items():
        twin = mirror_image(name, layout)
        both = distances[:, list({*group, *layout.groups[twin]})]
        known = both[~np.isnan(both)]
        if len(known):
            found[name] = found[twin] if twin in found else fit_tails(known)
    return found


def mirror_image(name: str, layout: PointLayout) -> str:
    """The group that takes a group's place in a mirror: itself, where it is in the middle of the face."""
    places = {layout.flip[i] for i in layout.groups[name]}
    return next((other for other, members in layout.groups.items() if set(members) == places), name)


def level_of(distances: Array, tails: Mapping[str, Tails], layout: PointLayout) -> float:
    """The factor on all groups' scales that fits squared distances [faces, P] best."""
    return fit_level({name: (each, distances[:, list(layout.groups[name])]) for name, each in tails.items()})


def hardness_of(found: Found, unseen: NDArray[np.bool_], layout: PointLayout) -> float:
    """How much larger squared distances are on the faces held out than on all, to a network that was trained on all of
    them alike: what sets those few faces apart is then not taken for what training does.
    """
    distances = found.under(found.power(layout))
    return level_of(distances[unseen], tails_of(distances, layout), layout)


def calibrate_run(
    folder: Path,
    source: DataSource,
    boxes: BoxKind = "P2",
    every: int | None = None,
    references: Sequence[Path] = (),
) -> Calibration:
    """Calibrates a run on the faces that its data set has for training, and writes it into the run's folder.

    `every`: as in `split_by_name`; None: as the run's own configuration says. `references`: runs that kept no face out
    and say how hard those are that this one did. Raises TrainingError when the set has other points than the network,
    or a reference kept faces out itself.
    """
    from train.evaluation.trained import load_run

    every = load_run(folder)[0].held_out if every is None else every
    for reference in references:
        if load_run(reference)[0].held_out:
            raise TrainingError(f"{reference} kept faces out of training itself: it cannot tell how hard they are")
    layout = source.layout
    seen, out = split_by_name(source.train_faces(), every)
    unseen = np.arange(len(seen) + len(out)) >= len(seen)
    judged = [hardness_of(_found(each, [*seen, *out], layout, boxes)[0], unseen, layout) for each in references]
    found, floor = _found(folder, [*seen, *out], layout, boxes)
    calibration = calibrate(found, unseen, floor, layout, float(np.exp(np.mean(np.log(judged or [1.0])))))
    calibration.write(folder)
    return calibration


def _found(folder: Path, faces: Sequence[AnnotatedFace], layout: PointLayout, boxes: BoxKind) -> tuple[Found, float]:
    """What a run finds in faces under its uncalibrated covariances, and the floor of these."""
    from train.evaluation.predict import check_points, predict
    from train.evaluation.trained import open_run

    model = open_run(folder)
    check_points(model.codec, layout)
    codec = uncalibrated(model.codec)
    predictions = predict(
        model.network,
        faces,
        codec,
        model.crop_scale,
        [codec.topk],
        boxes,
        progress=True,
        layout=layout,
        correction=model.correction,
        label=f"calibrate {folder.name}",
    )
    covariances = predictions.decoded[codec.topk].covariances.astype(np.float64)
    return Found(predictions.distances(codec.topk), face_spread(covariances, codec.stride)), codec.covariance_floor
