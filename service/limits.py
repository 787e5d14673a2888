"""The bounds of settings and requests that other modules share. It imports nothing, so that settings load fast."""

from __future__ import annotations

from typing import Final

MAX_ITEMS: Final = 4096
"""Boxes of one image, or images of one batch, that the settings may allow at most."""

DEFAULT_MIN_SCORE: Final = 0.07
"""Least score of a detected face that is answered. docs/model-card.md has the scores of faces and of other boxes."""
