"""Damaged and hostile inputs, made from a seed: the same ones every time."""

from __future__ import annotations

import random

from tests.contract.hostile.cases import BOX, Asked, Case, Http, Message, Wire
from tests.contract.hostile.http import bodies, connections, forms, headers
from tests.contract.hostile.images import bombs, damaged, strangers
from tests.contract.hostile.options import boxes, options
from tests.contract.hostile.rpc import messages

__all__ = ["BOX", "Asked", "Case", "Http", "Message", "Wire", "corpus"]


def corpus(seed: int) -> list[Case]:
    """Every case, each with a name of its own."""
    chance = random.Random(seed)
    sources = (damaged, bombs, strangers, boxes, options, bodies, forms, headers, connections, messages)
    return [case for source in sources for case in source(chance)]
