"""What is kept out of training is kept out by image, with all that was derived from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.datasets.face import AnnotatedFace
from train.datasets.held_out import split_by_name, split_sets, without


def face(name: str) -> AnnotatedFace:
    return AnnotatedFace(Path("images") / name, np.zeros((98, 2)), np.zeros(4))


FACES = [face(f"photograph_{i}.jpg") for i in range(1000) for _ in range(1 + i % 2)]


def test_the_parts_make_the_whole_and_share_no_image() -> None:
    training, out = split_by_name(FACES, 20)
    assert len(training) + len(out) == len(FACES)
    assert not {each.image for each in training} & {each.image for each in out}
    assert len({each.image for each in out}) == pytest.approx(50, abs=20)


def test_an_image_is_held_out_whatever_stands_beside_it() -> None:
    _, out = split_by_name(FACES, 20)
    _, fewer = split_by_name(FACES[:300], 20)
    assert fewer == [each for each in out if each in FACES[:300]]


def test_nothing_is_held_out_unless_asked() -> None:
    assert split_by_name(FACES, 0) == (FACES, [])


def test_what_was_derived_from_a_held_out_image_goes_with_it() -> None:
    made = [face("a_1_0_0.jpg"), face("a_10_0_0.jpg"), face("b_3_1.jpg")]
    assert without(made, [face("a_1.png"), face("b.png")]) == made[1:2]


def test_every_set_has_faces_held_out_and_derived_images_go_with_their_originals() -> None:
    derived = [face(f"photograph_{i}_0_0.jpg") for i in range(1000)]
    others = [face(f"other_{i}.jpg") for i in range(1000)]
    split = split_sets([FACES, derived, others], 20)
    for faces, (kept, out) in zip((FACES, derived, others), split, strict=True):
        assert len(kept) + len(out) == len(faces)
        assert not {each.image for each in kept} & {each.image for each in out}
        assert len({each.image for each in out}) >= 30
    originals = {Path(each.image.name).stem for each in split[0][1]}
    assert not {Path(each.image.name).stem.removesuffix("_0_0") for each in split[1][0]} & originals
    assert split[2] == split_by_name(others, 20)
    assert [out for _, out in split_sets([FACES, derived], 0)] == [[], []]
