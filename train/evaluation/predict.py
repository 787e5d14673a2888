"""Runs a network over annotated faces, with the decoders that are served: the errors are those that callers get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from landmarks.codec import CodecSpec, Decoded, NetworkOutput, without_visibility
from landmarks.crop import Crop, Matrix, compose, invert, transform_points
from landmarks.flip import mirror, mirrored
from landmarks.layout import WFLW98, PointLayout
from landmarks.metadata import PointsCrop
from landmarks.second_pass import Refine, average_passes, counts, second_crops
from landmarks.size import Size
from landmarks.uncertainty import FaceScorer, Plausibility, is_cut
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.image import RgbImage
from train.errors import TrainingError
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName, Flip, HeatmapNetwork, make_decoder, make_flip_averaging_decoder
from train.objectives import Objective
from train.samples.corruptions import Cropper, crop_face
from train.samples.image_cache import ImageCache

BATCH: Final = 16
"""Crops that a network computes at once."""


def torch_network(model: nn.Module, objective: Objective) -> HeatmapNetwork:
    """A PyTorch model as a HeatmapNetwork: in evaluation mode and float32, with maps of logarithms of activations.

    `model`: returns logits, or logits and visibility (`train.backbones.refinement.RefinedNetwork`).
    """
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def run(crops: NDArray[np.uint8]) -> NetworkOutput:
        answer: Tensor | tuple[Tensor, Tensor] = model(torch.from_numpy(crops).to(device))
        logits, *rest = (answer,) if isinstance(answer, Tensor) else answer
        heatmaps = objective.log_activation(logits.float().cpu().numpy())
        return NetworkOutput(heatmaps, rest[0].float().cpu().numpy()) if rest else without_visibility(heatmaps)

    return run


def crops_of(
    faces: Sequence[AnnotatedFace],
    crop_scale: float,
    input_size: Size,
    boxes: BoxKind,
    images: ImageCache,
    cut: Cropper = crop_face,
) -> Iterator[tuple[NDArray[np.uint8], list[Matrix]]]:
    """Batches of crops RGB uint8 [N, H, W, 3], and the matrix from image to crop of each.

    `cut` makes the crop of an image: see `train.samples.corruptions`.
    """
    for start in range(0, len(faces), BATCH):
        part = faces[start : start + BATCH]
        crops = [Crop.around(face.box_of(boxes), crop_scale, input_size) for face in part]
        yield cut_all([images.load(face.image) for face in part], crops, cut)


def cut_all(
    pictures: Sequence[RgbImage], crops: Sequence[Crop], cut: Cropper = crop_face
) -> tuple[NDArray[np.uint8], list[Matrix]]:
    """The pixels of a crop of each picture, RGB uint8 [N, H, W, 3], and the matrix from image to crop of each."""
    pairs = [cut(picture, crop) for picture, crop in zip(pictures, crops, strict=True)]
    return np.stack([pixels for pixels, _ in pairs]), [matrix for _, matrix in pairs]


def predict(
    network: HeatmapNetwork,
    faces: Sequence[AnnotatedFace],
    codec: CodecSpec,
    crop_scale: float,
    decoders: Sequence[DecoderName],
    boxes: BoxKind = "P2",
    images: ImageCache | None = None,
    progress: bool = False,
    layout: PointLayout = WFLW98,
    correction: float = 0.0,
    flip: Flip | None = None,
    cut: Cropper = crop_face,
    label: str = "evaluate",
    second: SecondPass | None = None,
    plausibility: Plausibility | None = None,
) -> Predictions:
    """Computes the maps of every face once, or twice to average with its mirror image, and applies all decoders.

    `flip`: what is averaged; see `train.evaluation.readers.Flip`.

    `correction`: cells, of the quantizer that the network was trained with (`train.objectives.correction`). `progress`:
    whether to show a progress bar, with the `label`. `second`: which faces are then cropped again, by the points that
    the first of the decoders found. `plausibility`: the network's.
    Raises TrainingError when there are no faces, CodecError for an unknown decoder.
    """
    if not faces:
        raise TrainingError("there are no faces to evaluate in this split")
    if flip:
        decode = make_flip_averaging_decoder(network, codec, decoders, layout, correction, flip)
    else:
        decode = make_decoder(network, codec, decoders, correction)
    scorer = FaceScorer(layout, plausibility)
    parts: dict[DecoderName, list[Decoded]] = {decoder: [] for decoder in decoders}
    edges: dict[DecoderName, list[NDArray[np.bool_]]] = {decoder: [] for decoder in decoders}
    matrices: list[Matrix] = []
    images = images or ImageCache(limit=0)
    with tqdm(total=len(faces), desc=f"{label} {boxes}", unit="face", disable=not progress, leave=False) as bar:
        for start in range(0, len(faces), BATCH):
            part = faces[start : start + BATCH]
            crops = [Crop.around(face.box_of(boxes), crop_scale, codec.input_size) for face in part]
            pictures = [images.load(face.image) for face in part]
            pixels, batch = cut_all(pictures, crops, cut)
            found = decode(pixels)
            again = second.crops(found[decoders[0]].points, crops, layout) if second else {}
            if again:
                seen_again = [pictures[i] for i in again]
                pixels, second_batch = cut_all(seen_again, list(again.values()), cut)
                width = codec.input_size.width
                better = {key: mirror(decoded, width, layout) for key, decoded in decode(mirrored(pixels)).items()}
                before = face_scores(found[decoders[0]], batch, pictures, scorer)
                after = face_scores(better[decoders[0]], second_batch, seen_again, scorer)
                pairs = [
                    (i, row, compose(second_batch[row], invert(batch[i])))
                    for row, i in enumerate(again)
                    if counts(float(before[i]), float(after[row]))
                ]
                found = {key: averaged(decoded, better[key], pairs) for key, decoded in found.items()}
                for i, row, _ in pairs:
                    batch[i] = second_batch[row]
            for decoder, decoded in found.items():
                parts[decoder].append(decoded)
                edges[decoder].append(cut_by_edges(decoded.points, batch, pictures))
            matrices += batch
            bar.update(len(batch))
    decoded_by = {
        key: Decoded(*(np.concatenate(column) for column in zip(*rows, strict=True))) for key, rows in parts.items()
    }
    truth = [transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)]
    return Predictions(
        decoded_by,
        np.stack(truth),
        np.stack(matrices),
        faces,
        layout,
        boxes,
        flip,
        plausibility=plausibility,
        cut={decoder: np.concatenate(each) for decoder, each in edges.items()},
    )


@dataclass(frozen=True)
class SecondPass:
    """Which faces are cropped again by their points, as the service does it (`landmarks.second_pass`)."""

    rule: PointsCrop
    refine: Refine

    def crops(self, points: NDArray[np.floating[Any]], first: Sequence[Crop], layout: PointLayout) -> dict[int, Crop]:
        """The second crops by the index of the face. `points` [N, P, 2] in pixels of the first crops."""
        in_image = [transform_points(crop.crop_to_image(), each) for crop, each in zip(first, points, strict=True)]
        return second_crops(in_image, first, self.rule, layout, self.refine)


def face_scores(
    decoded: Decoded, matrices: Sequence[Matrix], pictures: Sequence[RgbImage], scorer: FaceScorer
) -> NDArray[np.floating[Any]]:
    """The score [N] of each face, of answers [N, ...] in the pixels of its crop."""
    return scorer(decoded.points, decoded.covariances, cut_by_edges(decoded.points, matrices, pictures))


def cut_by_edges(
    points: NDArray[np.floating[Any]], matrices: Sequence[Matrix], pictures: Sequence[RgbImage]
) -> NDArray[np.bool_]:
    """Whether the edge of its picture cuts each face: [N], of points [N, P, 2] in the pixels of its crop."""
    return np.array(
        [
            is_cut(transform_points(invert(matrix), each), picture.shape[1], picture.shape[0])
            for each, matrix, picture in zip(points, matrices, pictures, strict=True)
        ]
    )


def averaged(first: Decoded, second: Decoded, pairs: Sequence[tuple[int, int, Matrix]]) -> Decoded:
    """First answers [N, ...], of which some are averaged with second ones [M, ...], in pixels of the second crops.

    `pairs`: the index of a first answer, that of the second, and the 2x3 matrix from the first crop to the second.
    """
    values = [each.copy() for each in first]
    for i, row, matrix in pairs:
        one, other = (Decoded(*(each[at] for each in answers)) for answers, at in ((first, i), (second, row)))
        for value, mean in zip(values, average_passes(one, other, matrix), strict=True):
            value[i] = mean
    return Decoded(*values)


def check_points(codec: CodecSpec, layout: PointLayout) -> None:
    """Raises TrainingError unless the network and the data set have the same number of points."""
    if codec.points != layout.points:
        raise TrainingError(f"the network finds {codec.points} points, but {layout.name} has {layout.points}")
