"""The frames of a shot as a stream, over gRPC: what is sent, what is answered, and how a stream that breaks goes on.

A frame is kept until it is answered. When a stream breaks, another one begins with the state of the last answer, and
the frames that were not answered are sent again: the answers are those of a stream that never broke.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from landmarks_client.errors import ClientUsageError, ServiceProblem
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.results import Answer, Face, Floats
from landmarks_client.wire import image_bytes

Pixels: TypeAlias = "NDArray[Any]"
"""[H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16, float16 or float32."""

WINDOW: Final = 8
"""Frames that are sent before the first of them is answered."""
_TYPES: Final[Mapping[str, str]] = {"uint8": "uint8", "uint16": "uint16", "float16": "half", "float32": "float"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a shot."""

    image: bytes | str | Path | Pixels
    """An image file: its bytes or its path; or its pixels, grey, RGB or RGBA."""
    number: int | None = None
    """Greater than that of the frame before. None: the next one; the first has 1."""
    colour_space: str | None = None
    """Of pixels: "srgb" or "linear"; None: linear if they are floating-point numbers."""


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face of a shot in one frame."""

    id: int
    """From 1 on in the order of appearance; never given to another face of the shot."""
    gap: int
    """Frames since it was last found, in which it was not."""
    face: Face
    """As the frame by itself shows it: its points are the raw ones."""
    smoothed: Floats
    """float32 [N, 2]: the points after live smoothing, which knows the past alone."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The answer to one frame."""

    number: int
    missing: int
    """Frames that are missing between the one before and this one."""
    is_cut: bool
    """Whether a new take starts here."""
    faces: tuple[TrackedFace, ...]
    answer: Answer | None
    """The frame by itself; None where it could not be answered."""
    problem: ServiceProblem | None
    """Why it could not be."""


TrackOptions: TypeAlias = pb.TrackOptions
AnyFrame: TypeAlias = "Frame | bytes | str | Path | Pixels"


def frame_message(frame: AnyFrame, number: int) -> pb.TrackRequest:
    """`number`: of a frame that has none. Raises ClientUsageError, and OSError where a file cannot be read."""
    frame = frame if isinstance(frame, Frame) else Frame(frame)
    number = number if frame.number is None else frame.number
    image = frame.image
    if isinstance(image, np.ndarray):
        return pb.TrackRequest(frame=pb.TrackFrame(number=number, raw=_raw(image, frame.colour_space)))
    if frame.colour_space is not None:
        raise ClientUsageError("colour_space is for pixels: an image file says itself what its colours are")
    content = image_bytes(image, "a frame is an image file or an array of pixels")
    return pb.TrackRequest(frame=pb.TrackFrame(number=number, image=content))


def _raw(pixels: Pixels, colour_space: str | None) -> pb.RawImage:
    if pixels.ndim not in (2, 3) or pixels.dtype.name not in _TYPES:
        raise ClientUsageError(
            f"pixels are [H, W] or [H, W, channels] of {', '.join(_TYPES)}, not {list(pixels.shape)} {pixels.dtype}"
        )
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    height, width = pixels.shape[:2]
    return pb.RawImage(
        width=width,
        height=height,
        channels=pixels.shape[2] if pixels.ndim == 3 else 1,
        type=_TYPES[pixels.dtype.name],
        colour_space=colour_space,
        samples=pixels.tobytes(),
    )


def track_options(options: Mapping[str, Any], rate: float | None) -> TrackOptions:
    """`options`: as `normalized_options` returns them. Raises ClientUsageError for those that cannot be sent."""
    if "boxes" in options:
        raise ClientUsageError("a shot has no boxes: its faces are detected")
    try:
        return pb.TrackOptions(detect=pb.DetectRequest(**options), rate=rate)
    except (ValueError, TypeError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error


class _Progress:
    """How far a shot is: the state of the last answer, and the frames that follow it as far as they have come."""

    def __init__(self, options: pb.TrackOptions) -> None:
        self._options = options
        self._waiting: deque[pb.TrackRequest] = deque()
        self._next_number, self._has_begun = 1, False
        self._has_ended = False
        self._failure: BaseException | None = None

    def _beginning(self) -> tuple[pb.TrackRequest, int | None]:
        """What a stream begins with, and the frame that it continues after."""
        last = self._options.resume.frame if self._options.HasField("resume") else None
        return pb.TrackRequest(options=self._options), last

    def _add(self, frame: AnyFrame) -> None:
        message = frame_message(frame, self._next_number)
        if self._has_begun and message.frame.number < self._next_number:
            raise ClientUsageError(
                f"frame {message.frame.number} comes after frame {self._next_number - 1}: numbers must increase"
            )
        self._has_begun = True
        self._next_number = message.frame.number + 1
        self._waiting.append(message)

    def _after(self, last: int | None) -> pb.TrackRequest | None:
        """The first frame that waits for its answer and comes after this one."""
        return next((each for each in self._waiting if last is None or each.frame.number > last), None)

    def _answered(self, response: pb.TrackResponse) -> None:
        # another message: the former may be on its way
        self._options = pb.TrackOptions(
            detect=self._options.detect,
            rate=self._options.rate if self._options.HasField("rate") else None,
            resume=response.state,
        )
        while self._waiting and self._waiting[0].frame.number <= response.frame:
            self._waiting.popleft()

    @property
    def is_idle(self) -> bool:
        """Whether no frame waits for its answer."""
        return not self._waiting

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= WINDOW

    def check(self) -> None:
        """Raises what the frames of the caller raised, once all before are answered."""
        if self._failure is not None:
            raise self._failure


class Progress(_Progress):
    """Frames are fetched in a thread, so that one that comes late delays no answer."""

    def __init__(self, frames: Iterable[AnyFrame], options: pb.TrackOptions) -> None:
        super().__init__(options)
        self._changed = threading.Condition()
        self._is_closed = False
        threading.Thread(target=self._fetch, args=(frames,), daemon=True, name="landmarks-frames").start()

    def _fetch(self, frames: Iterable[AnyFrame]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed or not self._is_full)
                    if self._is_closed:
                        return
                    self._add(frame)
                    self._changed.notify_all()
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def wait(self) -> bool:
        """Waits for a frame to be sent; False after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended)
            return not self.is_idle

    def messages(self, is_over: threading.Event) -> Iterator[pb.TrackRequest]:
        """Those of one stream, until it `is_over`."""
        with self._changed:
            message, last = self._beginning()
        yield message
        while True:
            with self._changed:
                while (following := self._after(last)) is None:
                    if self._has_ended or is_over.is_set():
                        return
                    self._changed.wait()
            if is_over.is_set():
                return
            last = following.frame.number
            yield following

    def answered(self, response: pb.TrackResponse) -> None:
        """The next frame is."""
        with self._changed:
            self._answered(response)
            self._changed.notify_all()

    def wake(self) -> None:
        """Lets a stream see that it is over."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """No more frames are fetched."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class AsyncProgress(_Progress):
    """The same for one event loop; frames are fetched in a task of it."""

    def __init__(self, frames: Iterable[AnyFrame] | AsyncIterable[AnyFrame], options: pb.TrackOptions) -> None:
        super().__init__(options)
        self._changed = asyncio.Event()
        self._fetching = asyncio.create_task(self._fetch(frames))

    async def _fetch(self, frames: Iterable[AnyFrame] | AsyncIterable[AnyFrame]) -> None:
        try:
            async for frame in _asynchronous(frames):
                while self._is_full:
                    await self._change()
                await asyncio.to_thread(self._add, frame)
                self._changed.set()
        except Exception as error:
            self._failure = error
        self._has_ended = True
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def wait(self) -> bool:
        """Waits for a frame to be sent; False after the last."""
        while self.is_idle and not self._has_ended:
            await self._change()
        return not self.is_idle

    async def messages(self) -> AsyncIterator[pb.TrackRequest]:
        """Those of one stream."""
        message, last = self._beginning()
        yield message
        while True:
            while (following := self._after(last)) is None:
                if self._has_ended:
                    return
                await self._change()
            last = following.frame.number
            yield following

    def answered(self, response: pb.TrackResponse) -> None:
        """The next frame is."""
        self._answered(response)
        self._changed.set()

    async def aclose(self) -> None:
        """No more frames are fetched."""
        self._fetching.cancel()
        await asyncio.gather(self._fetching, return_exceptions=True)


async def _asynchronous(frames: Iterable[AnyFrame] | AsyncIterable[AnyFrame]) -> AsyncIterator[AnyFrame]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
        return
    iterator, end = iter(frames), object()
    while (each := await asyncio.to_thread(next, iterator, end)) is not end:
        yield cast("AnyFrame", each)
