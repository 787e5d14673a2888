"""Options that make no sense, for both apis, and in a query."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests.contract.hostile.cases import BOX, INF, NAN, Case, Http, ImageCase
from tests.fakes import encoded, gradient_image


def boxes(chance: random.Random) -> Iterator[Case]:
    image = encoded(gradient_image())
    invalid: list[Any] = [
        (NAN, ) * 4, (INF, ) * 4, (-INF, -INF, INF, INF), (0, 0, INF, 9), (0, 0, 1e308, 1e308), (-1e308, -1e308, 1e308,
        1e308), (0, 0, 3.5e38, 3.5e38), (0, 0, 1e39, 1e39), (0, 0, 5e-324, 5e-324), (1, 1, 1.0000001, 1.0000001), (9, 9,
        9, 9), (9, 9, 1, 1), (-9, -9, -1, -1), (-1e9, -1e9, 1e9, 1e9), (319, 239, 330, 250), (320, 240, 330, 250),
        (-1e6, 100, 1e6, 101), (100, -1e5, 101, 1e5), (0.5, 0.5, 0.5, 9), (-0.0, -0.0, 0.0, 0.0), (2**31, 0, 2**32, 9),
        (0, 0, 1e-40, 1e-40), (1e30, 1e30, 2e30, 2e30), (-31_999, -31_999, 1, 1), (0, 0, 31_999, 1),
    ]  # fmt: skip
    for number, box in enumerate(invalid):
        yield ImageCase(f"box {number} {box}", image, {"boxes": [box]})
    for number in range(15):
        drawn = tuple(chance.choice((-1, 1)) * 10 ** chance.uniform(-45, 308) for _ in range(4))
        yield ImageCase(f"drawn box {number}", image, {"boxes": [BOX, drawn]})
    yield ImageCase("more boxes than are answered", image, {"boxes": [BOX] * 200})


def options(chance: random.Random) -> Iterator[Case]:
    image = encoded(gradient_image())
    small = {
        "topk": (0, 4096, 4097, 2**31, 2**32 - 1), "max_faces": (0, 2**32 - 1), "detector_threshold": (-1, 1.5, NAN,
        INF, -INF, 1e30, 5e-324),
        "min_score": (-1, 1.5, NAN, INF, -INF, 1e30, 5e-324),
        "model": ("", "x" * 5000, "\0", "../../etc/passwd"), "decoder": ("", "\u202e", "TOPK",
        "x" * 5000), "omit": (["box"], [""], ["points"] * 500, ["x" * 5000]),
    }  # fmt: skip
    for name, values in small.items():
        for number, value in enumerate(values):
            yield ImageCase(f"{name} {number} {str(value)[:20]!r}", image, {"boxes": [BOX], name: value})
    huge = "9" * 5000
    texts = [
        "topk=-1", "topk=1.5", "topk=" + huge, "topk=1e9", "topk=٣", "topk=1_0", "topk=", "topk=1&topk=2",
        "max_faces=-5", "flip=1", "flip=TRUE", "flip=", "detector_threshold=1e400", "detector_threshold=0x1", "box=",
        "box=,,,", "box=1,2,3", "box=1,2,3,4,5", "box=a,b,c,d", "box=nan,nan,nan,nan", "box=1e400,0,2,2",
        "box=" + ",".join(["1"] * 5000), "boxes=1", "box=0,0," + huge + ",9", "%00=1", "a[]=1", "model=%ff%fe",
        "model=%00", "omit=", "omit=,", "omit=points,,", "=1", "&" * 3000, "a=1&" * 2000, "image=@/etc/passwd",
        "url=http://127.0.0.1/", "topk=%F0%9F%98%80", "model=" + "m" * 30_000,
    ]  # fmt: skip
    for number, text in enumerate(texts):
        yield Http(f"query {number} {text[:20]}", image, (("Content-Type", "image/png"),), text)
