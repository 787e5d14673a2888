"""The landmarker port: an image and the regions of its faces in, their landmarks in image coordinates out.

Implementations: `EngineLandmarker` here, for one model; and in `service.rollout`, composed of it, `Canary` for two
models that share the requests, and `ShadowComparison` for two models that are compared.

::

    regions -> crops -> Engine.infer -> points in crop pixels
    -> of the faces that are worth it: crops by these points -> Engine.infer -> points in crop pixels -> their mean
    -> to_image_coordinates -> faces
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import Crop, compose, transform_covariances, transform_points, warp
from landmarks.flip import average, mirror, mirrored, with_mirrored
from landmarks.layout import PointLayout
from landmarks.second_pass import SURE_SCORE, Refine, average_passes, counts, second_crops
from landmarks.uncertainty import FaceScorer, is_cut
from service.answer import Face, Floats, Region, Role, ServedModel
from service.deadline import Deadline
from service.engines.port import Engine
from service.errors import ErrorKind, ServiceError
from service.images.decode import DecodedImage
from service.request import Options
from service.stages import run_in_thread, timed, with_faces

DEFAULT_REFINE: Final[Refine] = "auto"
"""Refines half of the faces of hard photographs and few of others, for nearly all of the gain (docs/model-card.md)."""

DOUBTED_BOX_SCORE: Final = 0.5
RULED_OUT_SCORE: Final = 1e-4
"""Boxes with lower scores than these, by the detector and by the first answer, get no second pass beside a certain face
(docs/decisions/0061-coarse-to-fine.md)."""


@dataclass(frozen=True)
class Prediction:
    """The landmarks of one image's faces, and the model that found them."""

    model: ServedModel
    faces: tuple[Face, ...]
    """One for each region, in their order."""
    role: Role = "primary"
    """The part that `model` plays in the rollout."""
    is_fallback: bool = False
    """Whether another model was tried first and failed."""


@dataclass(frozen=True)
class CropAnswer:
    """What a network answered for one crop, in the crop's pixels."""

    crop: Crop
    points: Floats
    """[P, 2]"""
    scores: Floats
    """[P]"""
    covariances: Floats
    """[P, 2, 2]"""
    visibility: Floats
    """[P], or [0] where the model does not state it"""
    points_in_image: Floats
    """[P, 2] in pixels of the image"""
    score: float
    """The score of the face: see `landmarks.uncertainty.FaceScorer`."""
    passes: int = 1
    """Crops of the face that were answered up to this one."""

    @property
    def decoded(self) -> Decoded:
        """What the network answered."""
        return Decoded(self.points, self.scores, self.covariances, self.visibility)


class Landmarker(Protocol):
    """Finds the landmarks of faces whose regions are known. Calls run side by side."""

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that a request may name, the primary first."""

    def model_for(self, name: str | None) -> ServedModel:
        """The model against which the options of a request for `name` are checked.

        It is the primary unless `name` is the candidate's; None stands for any model. Raises ServiceError of kind
        UNKNOWN_MODEL, or UNAVAILABLE where the model may be known soon.
        """

    async def faces(
        self, image: DecodedImage, regions: Sequence[Region], options: Options, deadline: Deadline
    ) -> Prediction:
        """The landmarks of the faces in `regions`. Raises EngineError, or ServiceError as `model_for` does."""


class EngineLandmarker:
    """The landmarker of the one model that an engine runs."""

    def __init__(self, engine: Engine, executor: Executor) -> None:
        """`engine`: started before the first call. `executor`: threads that crop."""
        self._engine = engine
        self._executor = executor

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return (self._engine.model,)

    def model_for(self, name: str | None) -> ServedModel:
        model = self._engine.model
        if name not in (None, model.name):
            raise ServiceError(ErrorKind.UNKNOWN_MODEL, unknown_model_message(name, self.models))
        return model

    async def faces(
        self, image: DecodedImage, regions: Sequence[Region], options: Options, deadline: Deadline
    ) -> Prediction:
        model = self._engine.model
        if not regions:
            return Prediction(model, ())
        first = crops_around(regions, model)
        seen = await self._infer(image, first, options, deadline)
        second = crops_by_points(regions, seen, model, options.refine or DEFAULT_REFINE)
        if second:
            again = await self._infer(image, list(second.values()), options, deadline, mirrored_crops=True)
            for i, answer in zip(second, again, strict=True):
                seen[i] = replace(combined(seen[i], answer, image, model.metadata.scorer), passes=2)
        layout = model.metadata.layout

        def faces() -> tuple[Face, ...]:
            pairs = zip(regions, seen, strict=True)
            return tuple(to_image_coordinates(layout, region, answer) for region, answer in pairs)

        return Prediction(model, await with_faces(len(regions), faces))

    async def _infer(
        self,
        image: DecodedImage,
        crops: Sequence[Crop],
        options: Options,
        deadline: Deadline,
        mirrored_crops: bool = False,
    ) -> list[CropAnswer]:
        """The answer for each crop, for its mirror image, or the mean of both where the options say so."""
        crop_pixels = await run_in_thread(self._executor, "crop", lambda: cut(image, crops))
        inputs = (
            with_mirrored(crop_pixels) if options.flip else mirrored(crop_pixels) if mirrored_crops else crop_pixels
        )
        with timed("infer"):
            decoded = await self._engine.infer(inputs, decoder=options.decoder, topk=options.topk, deadline=deadline)
        metadata = self._engine.model.metadata
        width = metadata.codec.input_size.width
        if options.flip:
            decoded = average(decoded, width, metadata.layout)
        elif mirrored_crops:
            decoded = mirror(decoded, width, metadata.layout)
        return answers_of(decoded, crops, image, metadata.scorer)


def answers_of(decoded: Decoded, crops: Sequence[Crop], image: DecodedImage, scorer: FaceScorer) -> list[CropAnswer]:
    """What was decoded for crops of an image, with the scores of the faces."""
    pairs = zip(crops, decoded.points, strict=True)
    in_image = np.stack([transform_points(crop.crop_to_image(), points) for crop, points in pairs])
    height, width = image.pixels.shape[:2]
    scores = scorer(decoded.points, decoded.covariances, is_cut(in_image, width, height)).tolist()
    return [CropAnswer(*each) for each in zip(crops, *decoded, in_image, scores, strict=True)]


def unknown_model_message(name: str | None, models: Sequence[ServedModel]) -> str:
    """The message about a model name that none of `models` has."""
    served = " and ".join(repr(model.name) for model in models)
    return f"no model {(name or '')[:40]!r} is served; there is {served}"


def crops_around(regions: Sequence[Region], model: ServedModel) -> list[Crop]:
    """The crop of each region as the model was trained with it."""
    metadata = model.metadata
    return [Crop.around(region.box, metadata.crop_scale, metadata.codec.input_size) for region in regions]


def crops_by_points(
    regions: Sequence[Region], answers: Sequence[CropAnswer], model: ServedModel, refine: Refine
) -> dict[int, Crop]:
    """The crop of each face that gets a second pass, by its index; none with a model that does not know of it."""
    metadata = model.metadata
    if metadata.points_crop is None:
        return {}
    first = [answer.crop for answer in answers]
    crops = second_crops(
        [answer.points_in_image for answer in answers], first, metadata.points_crop, metadata.layout, refine
    )
    if refine == "always" or not any(answer.score >= SURE_SCORE for answer in answers):
        return crops
    return {i: crop for i, crop in crops.items() if not is_ruled_out(regions[i], answers[i])}


def is_ruled_out(region: Region, answer: CropAnswer) -> bool:
    """Whether a detected box holds no face, in an image that shows one for certain: the detector doubts it, and so does
    the first answer.

    The first answer for a face that is rolled by 90 degrees is as doubtful, but so is that for every other face of a
    photograph that lies on its side; and where one alone is rolled, the detector is seldom in doubt as well.
    """
    is_doubted = region.box_score is not None and region.box_score < DOUBTED_BOX_SCORE
    return bool(is_doubted and answer.score < RULED_OUT_SCORE)


def combined(first: CropAnswer, second: CropAnswer, image: DecodedImage, scorer: FaceScorer) -> CropAnswer:
    """The mean of the answers of two passes; the first where the second crop missed the face."""
    if not counts(first.score, second.score):
        return first
    first_to_second = compose(second.crop.image_to_crop(), first.crop.crop_to_image())
    mean = average_passes(first.decoded, second.decoded, first_to_second)
    (answer,) = answers_of(Decoded(*(values[None] for values in mean)), [second.crop], image, scorer)
    return answer


def cut(image: DecodedImage, crops: Sequence[Crop]) -> NDArray[np.uint8]:
    """The pixels of crops of one size in sRGB: uint8 [N, H, W, 3]."""
    size = crops[0].size
    crop_pixels = np.empty((len(crops), size.height, size.width, 3), np.uint8)
    for part, crop in zip(crop_pixels, crops, strict=True):
        part[:] = image.to_srgb(warp(image.pixels, crop.image_to_crop(), size))
    return crop_pixels


def to_image_coordinates(layout: PointLayout, region: Region, answer: CropAnswer) -> Face:
    """The face of a region, in image pixels."""
    covariances_in_image = transform_covariances(answer.crop.crop_to_image(), answer.covariances)
    xx, xy, yy = covariances_in_image[:, 0, 0], covariances_in_image[:, 0, 1], covariances_in_image[:, 1, 1]
    return Face(
        **vars(region),
        score=np.float32(answer.score),
        inter_ocular=np.float32(layout.inter_ocular(answer.points_in_image)),
        points=answer.points_in_image.astype(np.float32),
        scores=np.ascontiguousarray(answer.scores, np.float32),
        covariances=np.stack([xx, xy, yy], axis=1).astype(np.float32),
        visibility=np.ascontiguousarray(answer.visibility, np.float32),
        passes=answer.passes,
    )
