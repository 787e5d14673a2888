"""One frame as it was read, and the port of what it is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from shots.tracks import Plate, ShotFrame

Samples: TypeAlias = NDArray[Any]
"""[H, W, 3] RGB: uint8 or uint16 where the file has integers, float16 or float32 where it has such numbers."""


@dataclass(frozen=True, eq=False)
class Picture:
    """The display window of a frame. Where the file has no pixels in it, it is black."""

    samples: Samples
    """In the colours of the file."""


class Source(Protocol):
    """A sequence or a video."""

    @property
    def plate(self) -> Plate:
        """What is known of the images before the first is read."""

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """All frames of the shot, missing ones included; None of a video, whose frames are known once it is read."""

    @property
    def count(self) -> int | None:
        """About how many frames there are, for the progress that is shown."""

    def frames(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[ShotFrame, Picture | None]]:
        """The wanted frames in their order; a picture where the frame's state is `read`.

        Raises ShotError where the shot cannot be read any further.
        """
