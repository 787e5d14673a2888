"""A shot, or a part of it, from its source to its records.

::

    a segment of frames -> its ends are searched for faces
        both show the same faces -> these are followed through the frames between: their views move with the skin
        otherwise                -> each frame is searched
    -> a record of each frame, with the optical flow from the one before

An end belongs to the segments on both sides, and is searched once. Segments begin at multiples of their length,
whichever part of a shot is read, and none looks beyond its ends. So a record depends on one segment alone, and parts of
a shot join to what an uncut run gives (docs/decisions/0062-faces-are-followed.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from landmarks.control_groups import cores
from shots.cuts import differ, glance
from shots.finding import Finder
from shots.flow import Flow, Grey, follow
from shots.identity import Known, matched
from shots.reading.picture import Picture, Samples, Source
from shots.records import FoundFace, Record, rounded_flow
from shots.tracks import Floats, ShotFrame

DEFAULT_SEARCH_INTERVAL: Final = 12
"""Frames from one end of a segment to the other."""
MIN_FOLLOWED_SCORE: Final = 0.5
"""Where a face that is followed scores less, the frames of its segment are searched instead."""
_MIN_SEGMENTS: Final = 2
"""In progress at a time. Each frame of one waits for the frame before, so that one alone would leave cores idle."""
_MAX_BYTES: Final = 1 << 30
"""Of the pictures of further segments in progress."""

IsWanted = Callable[[int], bool]
"""The number of a frame -> whether it is wanted."""


@dataclass(frozen=True, eq=False)
class _View:
    """What is kept of a frame for the next one."""

    frame: ShotFrame
    samples: Samples | None = None
    """For the optical flow; None where there is no picture, or none is needed any more."""
    glance: Grey | None = None
    """For cuts; None likewise."""


@dataclass(eq=False)
class _Read:
    """A frame that was read."""

    view: _View
    search: asyncio.Task[_Looked] | None = None
    """Begun by the first of the segments whose end it is."""

    @property
    def samples(self) -> Samples | None:
        return self.view.samples


@dataclass(frozen=True, eq=False)
class _Looked:
    """A frame and the faces in it."""

    view: _View
    faces: tuple[FoundFace, ...] = ()
    flow: tuple[Flow, ...] | None = None
    """From the frame before, where faces were followed by it."""


class Run:
    """The records of a shot, or of a part of it."""

    def __init__(self, source: Source, finder: Finder, *, search_interval: int) -> None:
        """`search_interval`: frames from one end of a segment to the other."""
        self._finder, self._interval = finder, search_interval
        self._source = source
        self._index = _Index(source.numbers)

    async def records(self, is_wanted: IsWanted) -> AsyncGenerator[Record, None]:
        """Of the wanted frames, in order."""
        before: _Looked | None = None
        async with aclosing(self._looked(self._is_read(is_wanted))) as frames:
            async for looked in frames:
                if before is not None and looked.view is before.view:
                    continue  # the end that two segments share
                if is_wanted(looked.view.frame.number):
                    yield await asyncio.to_thread(_record, before, looked)
                before = looked

    def _is_read(self, is_wanted: IsWanted) -> IsWanted:
        """Whether the record of a wanted frame depends on a frame: that of a segment's first end on the segment before
        alone.
        """

        def is_needed(segment: int) -> bool:
            first = segment * self._interval
            return any(map(is_wanted, self._index.numbers(first + 1, first + self._interval)))

        def is_read(number: int) -> bool:
            index = self._index.of(number)
            return any(map(is_needed, {(index - 1) // self._interval, index // self._interval}))

        return is_read

    async def _looked(self, is_read: IsWanted) -> AsyncGenerator[_Looked, None]:
        """The frames in order, segments side by side."""
        tasks: deque[asyncio.Task[list[_Looked]]] = deque()
        try:
            async with aclosing(self._segments(is_read)) as segments:
                async for segment in segments:
                    tasks.append(asyncio.create_task(self._look(segment)))
                    while len(tasks) >= _most_segments(segment):
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
        """Each with both of its ends."""
        frames = (_read(*each) for each in self._source.frames(is_read))
        segment: list[_Read] = []
        current = 0
        while (read := await asyncio.to_thread(next, frames, None)) is not None:
            index = self._index.of(read.view.frame.number)
            before, current = current, (index - 1) // self._interval
            if segment and current != before:
                yield segment
                is_shared = self._index.of(segment[-1].view.frame.number) == current * self._interval
                segment = segment[-1:] if is_shared else []
            segment.append(read)
        if segment:
            yield segment

    async def _look(self, segment: Sequence[_Read]) -> list[_Looked]:
        """The faces in each frame of a segment."""
        first, last = await asyncio.gather(self._search(segment[0]), self._search(segment[-1]))
        if len(segment) == 1:
            return [last]
        followed = await self._follow(first, segment[1:-1], last)
        return followed or await asyncio.gather(*map(self._search, segment))

    def _search(self, read: _Read) -> asyncio.Task[_Looked]:
        """The faces of a frame by itself."""

        async def search() -> _Looked:
            return _Looked(read.view, () if read.samples is None else await self._finder.search(read.samples))

        if read.search is None:
            read.search = asyncio.create_task(search())
        return read.search

    async def _follow(self, first: _Looked, middle: Sequence[_Read], last: _Looked) -> list[_Looked] | None:
        """All frames of a segment, in which the faces of the first are followed to the last; None where that fails: a
        frame is absent, a new take begins, a face is cut or not seen well, or the last frame shows others.
        """
        segment = [first]
        for read in middle:
            flow = await asyncio.to_thread(_flow, segment[-1], read.view)
            if flow is None or read.samples is None:
                return None
            places = [_carried(*each) for each in zip(first.faces, segment[-1].faces, flow, strict=True)]
            looks = (self._finder.look(read.samples, points, only_whole=True) for points in places)
            found = await asyncio.gather(*looks)
            faces = tuple(face for face in found if face is not None and face.score >= MIN_FOLLOWED_SCORE)
            if len(faces) < len(places):
                return None
            segment.append(_Looked(read.view, faces, flow))
        flow = await asyncio.to_thread(_flow, segment[-1], last.view)
        if flow is None or not _are_the_same(segment[-1], flow, last.faces):
            return None
        # of frames between, whose flow is known, nothing looks at the pictures again
        between = [replace(each, view=replace(each.view, samples=None)) for each in segment[1:]]
        return [first, *between, replace(last, flow=flow)]


class _Index:
    """The frames of a shot, counted without those that it does not have."""

    def __init__(self, numbers: Sequence[int] | None) -> None:
        """`numbers`: of its frames; None of a video, whose frames have the numbers of a count."""
        self._numbers = numbers
        self._indices = None if numbers is None else {number: i for i, number in enumerate(numbers)}

    def of(self, number: int) -> int:
        return number if self._indices is None else self._indices[number]

    def numbers(self, first: int, last: int) -> Sequence[int]:
        """Of the frames from one index to another."""
        return range(first, last + 1) if self._numbers is None else self._numbers[max(first, 0) : max(last + 1, 0)]


def _most_segments(like: Sequence[_Read]) -> int:
    """How many segments may be in progress at a time: two for each core, if their pictures take as much memory as these
    and it suffices.
    """
    size = sum(read.samples.nbytes for read in like if read.samples is not None)
    return max(_MIN_SEGMENTS, min(2 * cores(), _MAX_BYTES // max(size, 1)))


def _read(frame: ShotFrame, picture: Picture | None) -> _Read:
    if picture is None:
        return _Read(_View(frame))
    return _Read(_View(frame, picture.samples, glance(picture.samples)))


def _is_cut(before: _View, view: _View) -> bool:
    """Whether two neighbouring frames belong to different takes; False where one has no picture."""
    return before.glance is not None and view.glance is not None and differ(before.glance, view.glance)


def _flow(before: _Looked, view: _View) -> tuple[Flow, ...] | None:
    """Where the points of each face of the frame before are in a frame; None after a cut, or without a picture."""
    first, second = before.view.samples, view.samples
    if first is None or second is None or _is_cut(before.view, view):
        return None
    return tuple(rounded_flow(follow(first, second, face.points)) for face in before.faces)


def _carried(first: FoundFace, before: FoundFace, flow: Flow) -> Floats:
    """Where the points [P, 2] of a face in the first frame of a segment are in another if it moved as a whole: shifted,
    turned and grown, but with the expression it had, so that the view of it does not follow the noise of single points.
    `before`: the face in the frame before that one. `flow`: from there.
    """
    middle, there = first.points.mean(axis=0), before.points.mean(axis=0)
    one, other = ((points - centre) @ [1, 1j] for points, centre in ((first.points, middle), (before.points, there)))
    # the complex number by which the points about their middle are multiplied: a least-squares rotation and growth
    turn = np.vdot(one, other) / max(float(np.vdot(one, one).real), 1e-12)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = np.median(flow.points - before.points, axis=0)
    points: Floats = (first.points - middle) @ linear.T + there + shift
    return points


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
