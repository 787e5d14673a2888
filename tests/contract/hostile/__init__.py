"""Damaged and hostile inputs, made from a seed: the same ones every time."""

from __future__ import annotations

import random

from tests.contract.hostile.cases import BOX, Case, Http, ImageCase, Message, Wire
from tests.contract.hostile.http import bodies, connections, forms, headers
from tests.contract.hostile.images import bombs, damaged, not_images
from tests.contract.hostile.options import boxes, options
from tests.contract.hostile.rpc import messages

__all__ = ["BOX", "Case", "Http", "ImageCase", "Message", "Wire", "corpus"]


def corpus(seed: int) -> list[Case]:
    """Every case; no two have the same name."""
    chance = random.Random(seed)
    sources = (damaged, bombs, not_images, boxes, options, bodies, forms, headers, connections, messages)
    return [case for source in sources for case in source(chance)]
