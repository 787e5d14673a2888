"""Reading a detector's maps: what the rounding writes comes back exactly, and images of any size are searched."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.detection import (
    MAX_CANDIDATES,
    MAX_FACES,
    NEVER,
    Detections,
    canvas_side,
    decode,
    downweight_small,
    enlarged,
    find_faces,
    from_sides,
    padded,
    pyramid,
    reduced,
    suppress,
    to_sides,
)
from landmarks.detector import DetectorMetadata, DetectorSpec, Level
from landmarks.metadata import MetadataError

SPEC = DetectorSpec()

Box = tuple[float, float, float, float]


def empty(height: int, width: int) -> list[np.ndarray]:
    """Maps without a face."""
    maps = [np.zeros((3, height // level.stride, width // level.stride), np.float32) for level in SPEC.levels]
    for level in maps:
        level[0] = NEVER
    return maps


def put(maps: Sequence[np.ndarray], box: Box, level: int = 0, score: float = 1.0) -> None:
    """What a network that has learnt the rounding to perfection gives for a face: bilinear probabilities."""
    stride = SPEC.levels[level].stride
    x1, y1, x2, y2 = box
    u, v = ((middle + 0.5) / stride - 0.5 for middle in ((x1 + x2) / 2, (y1 + y2) / 2))
    for row in (int(np.floor(v)), int(np.floor(v)) + 1):
        for column in (int(np.floor(u)), int(np.floor(u)) + 1):
            share = score * (1 - abs(u - column)) * (1 - abs(v - row))
            if share > 0:
                maps[level][0, row, column] = min(80.0, np.log(share) - np.log1p(-min(share, 1 - 1e-12)))
                maps[level][1:, row, column] = from_sides(np.array([x2 - x1, y2 - y1]), stride)


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize(
    ("box", "level"),
    [
        ((20.0, 30.0, 40.0, 58.0), 0),
        # the centre is the middle of a cell: one cell holds it all
        ((-8.5, 9.5, 15.5, 37.5), 0),
        # the centre is where four cells meet: they are equal, and each is a peak
        ((12.5, 7.5, 34.5, 39.5), 0),
        ((50.0, 60.0, 110.0, 140.0), 1),
        ((-20.0, -10.0, 120.0, 170.0), 2),
    ],
)
def test_a_face_comes_back_where_it_was_put(box: Box, level: int) -> None:
    maps = empty(192, 256)
    put(maps, box, level)
    found = suppress(decode(maps, SPEC, 0.5), 0.4)
    assert found.boxes.tolist() == [pytest.approx(box, abs=1e-3)]
    assert found.scores.tolist() == [pytest.approx(1.0, abs=1e-5)]


@given(
    st.integers(0, 2),
    st.floats(0.3, 0.7),
    st.floats(0.3, 0.7),
    st.floats(2.0, 6.0),
    st.floats(0.7, 1.6),
    st.floats(0.35, 1.0),
)
def test_any_face_comes_back_with_its_probability(
    level: int, x: float, y: float, cells: float, aspect: float, score: float
) -> None:
    size, stride = 256, SPEC.levels[level].stride
    width, height = cells * stride / aspect**0.5, cells * stride * aspect**0.5
    box = (x * size - width / 2, y * size - height / 2, x * size + width / 2, y * size + height / 2)
    maps = empty(size, size)
    put(maps, box, level, score)
    found = suppress(decode(maps, SPEC, 0.3), 0.4)
    assert found.boxes.tolist() == [pytest.approx(box, abs=1e-2)]
    assert found.scores.tolist() == [pytest.approx(score, abs=1e-4)]


def test_neighbours_of_a_crowd_stay_apart() -> None:
    """Faces of 14 x 18 pixels, side by side, 20 pixels from one to the next."""
    maps = empty(64, 160)
    boxes = [(8.0 + 20 * i, 20.0, 22.0 + 20 * i, 38.0) for i in range(6)]
    for box in boxes:
        put(maps, box)
    found = suppress(decode(maps, SPEC, 0.5), SPEC.nms_iou)
    assert len(found.boxes) == 6
    assert np.abs(found.boxes[np.argsort(found.boxes[:, 0])] - boxes).max() < 0.01


def test_a_face_that_two_levels_see_is_one() -> None:
    maps = empty(192, 192)
    put(maps, (60.0, 60.0, 98.0, 106.0), level=0, score=0.7)
    put(maps, (61.0, 60.0, 99.0, 106.0), level=1, score=0.9)
    found = suppress(decode(maps, SPEC, 0.5), SPEC.nms_iou)
    assert found.scores.tolist() == [pytest.approx(0.9, abs=1e-4)]


def test_the_threshold_is_on_the_score_not_on_a_cell() -> None:
    """Where four cells meet none has more than 0.2 of a face of probability 0.8."""
    maps = empty(64, 64)
    put(maps, (15.5, 15.5, 31.5, 31.5), score=0.8)
    assert 1 / (1 + np.exp(-maps[0][0].max())) == pytest.approx(0.2)
    assert len(suppress(decode(maps, SPEC, 0.79), 0.4).boxes) == 1
    assert len(decode(maps, SPEC, 0.81).boxes) == 0


def test_a_face_at_the_very_corner() -> None:
    maps = empty(64, 64)
    maps[0][0, 0, 0] = maps[0][0, 7, 7] = 5.0
    found = decode(maps, SPEC, 0.5)
    # centres on cells 0 and 7 of stride 8, sides of four cells
    assert found.boxes.round(3).tolist() == [[-12.5, -12.5, 19.5, 19.5], [43.5, 43.5, 75.5, 75.5]]


def test_nothing_is_found_in_nothing() -> None:
    found = suppress(decode(empty(32, 32), SPEC, 0.05), 0.4)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_absurd_maps_give_finite_boxes() -> None:
    maps = [np.full((3, 4, 4), value, np.float32) for value in (1e30, -1e30, 90.0)]
    found = decode(maps, SPEC, 0.5)
    assert np.isfinite(found.boxes).all()
    assert (found.scores <= 1).all()


# ---------------------------------------------------------------- bounds


def test_of_thousands_of_faces_the_best_are_found_in_linear_memory() -> None:
    """A mosaic of 4,096 faces of 24 pixels. A number for each pair of them would take 134 MB; boxes take 0.1 MB."""
    maps = empty(2048, 2048)
    scores = np.random.default_rng(0).permutation(4096) / 10_000 + 0.55
    for i, score in enumerate(scores):
        x, y = 32.0 * (i % 64) + 3.5, 32.0 * (i // 64) + 3.5
        put(maps, (x, y, x + 24, y + 24), score=score)
    image = blank_image(2048, 2048)

    def network(images: np.ndarray) -> list[np.ndarray]:
        return maps if images.shape[1] == 2048 else empty(*images.shape[1:3])

    find_faces(image, network, SPEC)  # what is made once
    tracemalloc.start()
    found = find_faces(image, network, SPEC)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.scores == pytest.approx(np.sort(scores)[::-1][:MAX_FACES], abs=1e-4)
    # the image is padded and reduced, at 12.6 MB for a copy; each cell of the maps takes a few numbers
    assert peak < 48e6


def test_maps_of_nothing_but_peaks_give_a_bounded_number_of_candidates() -> None:
    maps = empty(1024, 1024)
    maps[0][0] = 2.0
    assert len(decode(maps, SPEC, 0.5).boxes) == MAX_CANDIDATES < 128 * 128


@given(
    st.lists(
        st.tuples(st.floats(0, 40), st.floats(0, 40), st.floats(1, 20), st.floats(1, 20), st.floats(0.01, 1)),
        max_size=12,
    )
)
def test_no_two_boxes_that_are_left_overlap_and_every_other_overlaps_a_better_one(
    drawn: list[tuple[float, float, float, float, float]],
) -> None:
    boxes = np.array([(x, y, x + width, y + height) for x, y, width, height, _ in drawn]).reshape(-1, 4)
    left = suppress(Detections(boxes, np.array([score for *_, score in drawn])), 0.4)
    assert (np.diff(left.scores) <= 0).all()

    def same(one: np.ndarray, other: np.ndarray) -> bool:
        shared = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0).prod()
        areas = [(box[2:] - box[:2]).prod() for box in (one, other)]
        return bool(shared > 0.4 * (sum(areas) - shared) or shared > 0.8 * min(areas))

    assert not any(same(one, other) for i, one in enumerate(left.boxes) for other in left.boxes[:i])
    for box, (*_, score) in zip(boxes, drawn, strict=True):
        better = left.boxes[left.scores >= score]
        assert any(np.array_equal(box, other) or same(box, other) for other in better)


def test_sides_are_logarithms_of_multiples_of_four_cells() -> None:
    assert from_sides(np.array([32.0, 64.0]), 8).tolist() == pytest.approx([0.0, np.log(2)])
    assert to_sides(np.array([0.0, np.log(2)]), 16).tolist() == pytest.approx([64.0, 128.0])


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    found = suppress(Detections(boxes, np.array([0.6, 0.9, 0.7])), 0.5)
    assert found.boxes[:, 0].tolist() == [1.0, 20.0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


# ---------------------------------------------------------------- images


def blank_image(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "shapes"),
    [
        (480, 640, [(480, 640), (240, 320), (120, 160), (60, 80)]),
        (104, 100, [(104, 100)]),
        (105, 7, [(105, 7), (52, 4)]),
        (1, 1, [(1, 1)]),
        (3000, 2000, [(2048, 1365), (1024, 682), (512, 341), (256, 170), (128, 85), (64, 42)]),
        (1, 500, [(1, 500), (1, 250), (1, 125), (1, 62)]),
    ],
)
def test_the_image_is_reduced_until_no_face_can_be_large(
    height: int, width: int, shapes: list[tuple[int, int]]
) -> None:
    assert [part.shape[:2] for part in pyramid(blank_image(height, width), SPEC, max_side=2048)] == shapes


@pytest.mark.parametrize(
    ("side", "canvas"), [(1, 32), (33, 64), (256, 256), (257, 320), (512, 512), (513, 640), (800, 896), (2048, 2048)]
)
def test_canvases_have_few_sizes(side: int, canvas: int) -> None:
    assert canvas_side(side, 32) == canvas


def test_padding_is_black_below_and_to_the_right() -> None:
    out = padded(np.full((33, 64, 3), 200, np.uint8), 32)
    assert out.shape == (64, 64, 3)
    assert (out[:33] == 200).all()
    assert not out[33:].any()


def test_a_face_of_the_quarter_image_is_four_times_as_large_in_the_image() -> None:
    """The network of this test sees a face in images of 160 pixels alone."""
    asked: list[tuple[int, ...]] = []

    def network(images: np.ndarray) -> list[np.ndarray]:
        asked.append(images.shape)
        maps = empty(*images.shape[1:3])
        if images.shape[2] == 160:
            put(maps, (30.0, 20.0, 110.0, 120.0), level=2)
        return maps

    found = find_faces(blank_image(480, 640), network, SPEC)
    assert asked == [(1, 512, 640, 3), (1, 256, 320, 3), (1, 128, 160, 3), (1, 64, 96, 3)]
    # pixel edges are kept: left edge 30 - 0.5 + 0.5 = 30 pixels from the border, times 4, less half a pixel
    assert found.boxes.tolist() == [pytest.approx((121.5, 81.5, 441.5, 481.5), abs=0.02)]


def test_of_boxes_in_one_another_the_best_is_left() -> None:
    outer, inner, beside = [0.0, 0.0, 60.0, 80.0], [15.0, 20.0, 45.0, 60.0], [50.0, 0.0, 110.0, 80.0]
    found = Detections(np.array([inner, outer, beside]), np.array([0.8, 0.9, 0.7]))
    # the inner box's IoU is 0.25; the neighbour's a sixth of an area
    assert suppress(found, 0.4).boxes.tolist() == [outer, beside]
    best_within = Detections(found.boxes, np.array([0.9, 0.8, 0.7]))
    assert suppress(best_within, 0.4).boxes.tolist() == [inner, beside]


def test_the_odds_of_small_boxes_fall_with_the_fourth_power_of_their_size() -> None:
    """Odds of 9 at half the size are 9 / 16, which is a score of 0.36; from the full size on nothing changes."""
    boxes = np.array([[0.0, 0, 11, 11], [0, 0, 44, 11], [0, 0, 100, 100], [0, 0, 11, 11]])
    assert downweight_small(boxes, np.array([0.9, 0.9, 0.9, 1.0]), 22.0) == pytest.approx([0.36, 0.9, 0.9, 1.0])


@pytest.mark.parametrize("side", [320, 640])
def test_a_face_is_as_small_as_it_was_looked_at(side: int) -> None:
    """Of 11 pixels in the image that the network is given, whatever it was reduced from: odds of 9 / 16."""

    def network(images: np.ndarray) -> list[np.ndarray]:
        maps = empty(*images.shape[1:3])
        if images.shape[2] == 320:
            put(maps, (98.0, 98.0, 109.0, 109.0), score=0.9)
        return maps

    spec = replace(SPEC, small_size=22.0)
    found = find_faces(blank_image(side, side), network, spec, threshold=0.3, max_side=320)
    assert found.scores == pytest.approx([0.36])
    assert found.boxes[0, 2] - found.boxes[0, 0] == pytest.approx(11 * side / 320)
    assert not len(find_faces(blank_image(side, side), network, spec, threshold=0.4, max_side=320).boxes)


def test_a_small_face_of_a_reduced_image_is_left_to_the_larger_one() -> None:
    """52 pixels, a quarter of the largest face, are enough there; 51 are not."""

    def network_of(side: float) -> Callable[[np.ndarray], list[np.ndarray]]:
        def network(images: np.ndarray) -> list[np.ndarray]:
            maps = empty(*images.shape[1:3])
            if images.shape[2] == 160:
                put(maps, (50.0, 50.0, 50 + side, 50 + side), level=1)
            return maps

        return network

    assert len(find_faces(blank_image(320, 320), network_of(52.1), SPEC).boxes) == 1
    assert len(find_faces(blank_image(320, 320), network_of(51.0), SPEC).boxes) == 0


def test_reduced_pixels_keep_their_edges() -> None:
    image = np.zeros((1000, 1600, 3), np.uint8)
    small = reduced(image, 800)
    assert small.shape == (500, 800, 3)
    # the whole image stays the whole image
    whole = Detections(np.array([[-0.5, -0.5, 799.5, 499.5]]), np.ones(1))
    assert enlarged(whole, small, image).boxes.tolist() == [[-0.5, -0.5, 1599.5, 999.5]]
    assert reduced(np.zeros((1, 9000, 3), np.uint8), 800).shape == (1, 800, 3)
    assert reduced(image, 1600) is image


def test_the_same_face_of_two_sizes_is_reported_once() -> None:
    def network(images: np.ndarray) -> list[np.ndarray]:
        maps = empty(*images.shape[1:3])
        scale = images.shape[2] / 320
        if scale in (1.0, 0.5):
            put(maps, (100 * scale, 60 * scale, 180 * scale, 160 * scale), level=2 if scale == 1 else 1, score=0.9)
        return maps

    assert len(find_faces(blank_image(256, 320), network, SPEC).boxes) == 1


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 300))
def test_an_image_of_any_size_can_be_searched(height: int, width: int) -> None:
    def network(images: np.ndarray) -> list[np.ndarray]:
        assert images.shape[1] % 32 == 0
        assert images.shape[2] % 32 == 0
        return empty(*images.shape[1:3])

    assert len(find_faces(blank_image(height, width), network, SPEC).boxes) == 0


# ---------------------------------------------------------------- metadata

METADATA = DetectorMetadata(
    "detector", DetectorSpec(threshold=0.37), "detector-abc", "c0ffee", ("faces300w",), (1.0, 2.0, 3.5, 4)
)


def test_metadata_survives_its_text() -> None:
    again = DetectorMetadata.from_mapping({"landmarks_detector": METADATA.to_json()})
    assert again == METADATA
    assert again.spec.levels[1] == Level(16, 36.0, 96.0)
    assert again.spec.multiple == 32


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"name": 1}', METADATA.to_json().replace('"nms_iou"', '"iou"'), METADATA.to_json()[:-1]],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="not a detector's metadata"):
        DetectorMetadata.from_json(text)


@pytest.mark.parametrize(
    "wrong", [{"levels": []}, {"threshold": "x"}, {"threshold": 0}, {"nms_iou": 2}, {"small_size": 0}]
)
def test_a_spec_that_no_map_can_be_read_by_is_refused(wrong: dict[str, Any]) -> None:
    values = json.loads(METADATA.to_json())
    with pytest.raises(MetadataError):
        DetectorMetadata.from_json(json.dumps({**values, "spec": {**values["spec"], **wrong}}))


def test_metadata_exported_with_the_former_names_are_read() -> None:
    former = METADATA.to_json().replace('"nms_iou"', '"overlap"').replace('"small_size"', '"small"')
    assert "small_size" not in former
    assert DetectorMetadata.from_json(former) == METADATA


def test_a_box_of_three_numbers_is_refused() -> None:
    values = {**json.loads(METADATA.to_json()), "golden_box": [1, 2, 3]}
    with pytest.raises(MetadataError):
        DetectorMetadata.from_json(json.dumps(values))


def test_a_model_without_metadata_is_told_how_to_get_it() -> None:
    with pytest.raises(MetadataError, match="export-detector"):
        DetectorMetadata.from_mapping({})
