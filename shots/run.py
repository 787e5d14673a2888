"""A shot, or a part of it, from its source to its records.

::

    frames in a row, a segment -> the first and the last are searched for faces
        both show the same faces -> these are followed through the frames between: their boxes move with the skin
        otherwise                -> each frame is searched
    -> a record of each frame, with the optical flow from the one before

Segments begin at multiples of their length, whichever part of a shot is read, and none looks beyond its own frames. So
a record depends on its segment and on the frame before alone, and parts of a shot join to what an uncut run gives
(docs/decisions/0062-faces-are-followed.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shots.cuts import differ, glance
from shots.finding import Answer, Ask, Box, find, find_in_box
from shots.flow import Flow, Grey, follow
from shots.identity import Known, matched
from shots.reading.colour import Colour, Shown, grey
from shots.reading.picture import Picture, Samples, Source
from shots.records import FoundFace, Record, rounded_face, rounded_flow
from shots.tracks import Floats, ShotFrame

DEFAULT_SEARCH_INTERVAL: Final = 12
"""Frames of a segment."""
MIN_FOLLOWED_SCORE: Final = 0.5
"""Where a face that is followed scores less, the frames of its segment are searched instead."""
_SEGMENTS: Final = 2
"""Segments in progress. Each frame of one waits for the frame before, so that one alone would leave cores idle."""

IsWanted = Callable[[int], bool]
"""The number of a frame -> whether it is wanted."""


@dataclass(frozen=True, eq=False)
class _View:
    """What is kept of a frame for the next one."""

    frame: ShotFrame
    grey: Grey | None = None
    """For the optical flow; None where there is no picture."""
    glance: Grey | None = None
    """For cuts; None likewise."""


@dataclass(frozen=True, eq=False)
class _Read:
    """A frame and its picture, if there is one."""

    view: _View
    samples: Samples | None


@dataclass(frozen=True, eq=False)
class _Looked:
    """A frame and the faces in it."""

    view: _View
    faces: tuple[FoundFace, ...] = ()
    flow: tuple[Flow, ...] | None = None
    """From the frame before, where faces were followed by it."""


class Run:
    """The records of a shot, or of a part of it."""

    def __init__(
        self, source: Source, colour: Colour, ask: Ask, *, search_size: int, search_interval: int, concurrency: int
    ) -> None:
        """`search_size`: longest side in pixels of the image that is searched for faces. `search_interval`: frames of a
        segment. `concurrency`: images asked about side by side.
        """
        self._source, self._colour, self._answer = source, colour, ask
        self._search_size, self._search_interval = search_size, search_interval
        self._places = asyncio.Semaphore(concurrency)

    async def records(self, is_wanted: IsWanted) -> AsyncGenerator[Record, None]:
        """Of the wanted frames, in order."""
        before: _Looked | None = None
        async with aclosing(self._looked(self._is_read(is_wanted))) as frames:
            async for looked in frames:
                if is_wanted(looked.view.frame.number):
                    yield await asyncio.to_thread(_record, before, looked)
                before = looked

    def _is_read(self, is_wanted: IsWanted) -> IsWanted:
        """Whether the record of a wanted frame depends on a frame."""

        def is_in_segment(number: int) -> bool:
            first = number - number % self._search_interval
            return any(map(is_wanted, range(first, first + self._search_interval)))

        return _with_one_before(self._source, is_in_segment)

    async def _looked(self, is_read: IsWanted) -> AsyncGenerator[_Looked, None]:
        """The frames in order, segments side by side."""
        tasks: deque[asyncio.Task[list[_Looked]]] = deque()
        try:
            async with aclosing(self._segments(is_read)) as segments:
                async for segment in segments:
                    tasks.append(asyncio.create_task(self._look(segment)))
                    if len(tasks) >= _SEGMENTS:
                        for looked in await tasks.popleft():
                            yield looked
            while tasks:
                for looked in await tasks.popleft():
                    yield looked
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _segments(self, is_read: IsWanted) -> AsyncGenerator[list[_Read], None]:
        frames = (_read(*each) for each in self._source.frames(is_read))
        segment: list[_Read] = []
        while (read := await asyncio.to_thread(next, frames, None)) is not None:
            if segment and self._segment_of(segment[0]) != self._segment_of(read):
                yield segment
                segment = []
            segment.append(read)
        if segment:
            yield segment

    def _segment_of(self, read: _Read) -> int:
        return read.view.frame.number // self._search_interval

    async def _look(self, segment: Sequence[_Read]) -> list[_Looked]:
        """The faces in each frame of a segment."""
        if len(segment) < 3:
            return await self._search(segment)
        first, last = await self._search([segment[0], segment[-1]])
        middle = segment[1:-1]
        return await self._follow(first, middle, last) or [first, *await self._search(middle), last]

    async def _search(self, frames: Sequence[_Read]) -> list[_Looked]:
        """The faces in each frame by itself."""

        async def search(read: _Read) -> _Looked:
            if read.samples is None:
                return _Looked(read.view)
            return _Looked(read.view, _rounded(await find(read.samples, self._colour, self._ask, self._search_size)))

        return await asyncio.gather(*map(search, frames))

    async def _follow(self, first: _Looked, middle: Sequence[_Read], last: _Looked) -> list[_Looked] | None:
        """All frames of a segment, in which the faces of the first are followed to the last; None where that fails: a
        frame is absent, a new take begins, a face is not seen well, or the last frame shows others.
        """
        segment = [first]
        for read in middle:
            flow = await asyncio.to_thread(_flow, segment[-1], read.view)
            if flow is None or read.samples is None:
                return None
            boxes = [_carried(*each) for each in zip(first.faces, segment[-1].faces, flow, strict=True)]
            if not all(_is_within(box, read.samples) for box in boxes):
                return None
            asks = (find_in_box(read.samples, self._colour, self._ask, box) for box in boxes)
            faces = _rounded(await asyncio.gather(*asks))
            if any(face.score < MIN_FOLLOWED_SCORE for face in faces):
                return None
            segment.append(_Looked(read.view, faces, flow))
        flow = await asyncio.to_thread(_flow, segment[-1], last.view)
        if flow is None or not _are_the_same(segment[-1], flow, last.faces):
            return None
        return [*segment, replace(last, flow=flow)]

    async def _ask(self, image: Shown, box: Box | None) -> list[Answer]:
        async with self._places:
            return await self._answer(image, box)


def _with_one_before(source: Source, is_wanted: IsWanted) -> IsWanted:
    """Whether a frame is wanted, or the next one of the shot is."""
    if source.numbers is None:
        return lambda number: is_wanted(number) or is_wanted(number + 1)
    following = dict(zip(source.numbers[:-1], source.numbers[1:], strict=True))
    return lambda number: is_wanted(number) or (number in following and is_wanted(following[number]))


def _read(frame: ShotFrame, picture: Picture | None) -> _Read:
    if picture is None:
        return _Read(_View(frame), None)
    image = grey(picture.samples)
    return _Read(_View(frame, image, glance(image)), picture.samples)


def _rounded(faces: Iterable[Answer]) -> tuple[FoundFace, ...]:
    return tuple(rounded_face(*face) for face in faces)


def _is_cut(before: _View, view: _View) -> bool:
    """Whether two neighbouring frames belong to different takes; False where one has no picture."""
    return before.glance is not None and view.glance is not None and differ(before.glance, view.glance)


def _flow(before: _Looked, view: _View) -> tuple[Flow, ...] | None:
    """Where the points of each face of the frame before are in a frame; None after a cut, or without a picture."""
    first, second = before.view.grey, view.grey
    if first is None or second is None or _is_cut(before.view, view):
        return None
    return tuple(rounded_flow(follow(first, second, face.points)) for face in before.faces)


def _carried(first: FoundFace, before: FoundFace, flow: Flow) -> Floats:
    """Where the box [2, 2] of a face in the first frame of a segment is in another: it moves and grows with the points.
    `before`: the face in the frame before that one. `flow`: from there.
    """
    shift = np.median(flow.points - before.points, axis=0)
    growth = _spread(before.points) / _spread(first.points)
    corners = (first.box.reshape(2, 2) - first.points.mean(axis=0)) * growth
    box: Floats = corners + before.points.mean(axis=0) + shift
    return box


def _is_within(box: Floats, samples: Samples) -> bool:
    """Whether a box ends before the image does. Else it grows or shrinks as the face moves, and has to be searched."""
    height, width = samples.shape[:2]
    return bool((box[0] > 0).all() and (box[1] < [width - 1, height - 1]).all())


def _spread(points: Floats) -> float:
    """Root mean square of the distances from the middle, in pixels."""
    return max(float(np.sqrt(points.var(axis=0).sum())), 1e-6)


def _are_the_same(before: _Looked, flow: Sequence[Flow], faces: Sequence[FoundFace]) -> bool:
    """Whether a frame shows the faces of the one before and no others."""
    pairs = zip(before.faces, flow, strict=True)
    known = [Known(i, moved.points, face.box, 0) for i, (face, moved) in enumerate(pairs)]
    return len(known) == len(faces) == len(matched(known, faces))


def _record(before: _Looked | None, looked: _Looked) -> Record:
    """A record with the flow from the frame before, if both were read and belong to one take."""
    frame = looked.view.frame
    if before is None:
        return Record(frame, looked.faces)
    if _is_cut(before.view, looked.view):
        return Record(replace(frame, is_cut=True), looked.faces)
    flow = _flow(before, looked.view) if looked.flow is None else looked.flow
    return Record(frame, looked.faces, flow)
