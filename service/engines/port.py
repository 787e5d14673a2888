"""The engine port: RGB crops in, points with scores and covariances in crop pixels out.

Implementations: `service.engines.triton.engine` and `service.engines.local`. Both run the same network and the same
decoder, and their results are equal to the last bit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from service.answer import ServedModel
from service.deadline import Deadline


class EngineError(Exception):
    """The engine gave no result. The message is for logs; it may quote the server."""

    model: str | None = None
    """The model of Triton that gave none, where it is known."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or is not ready."""


class EngineTimeout(EngineError):
    """The caller's deadline passed first."""


class EngineOverloaded(EngineError):
    """The engine's queue is full."""


class EngineFailure(EngineError):
    """Any other failure: the model or its result is not what it should be."""


class Engine(Protocol):
    """Runs one model. Calls run side by side."""

    @property
    def model(self) -> ServedModel:
        """The model that is served. It is known once `start` has succeeded."""

    async def start(self) -> None:
        """Connects or loads, and verifies the model. May be called again after an error. Raises EngineError."""

    async def infer(
        self,
        crops: NDArray[np.uint8],
        *,
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        """RGB crops uint8 [N, H, W, 3] -> points, scores and covariances of N faces in crop pixels, and their
        visibility where the model states it.

        `decoder` and `topk` choose how heatmaps are decoded, as `CodecSpec.choose_decoder` describes. `deadline` None
        sets no limit. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether inference is possible now, the golden crop having been answered correctly. Never raises."""

    async def close(self) -> None:
        """Releases everything. Harmless when called twice."""
