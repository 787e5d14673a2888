"""The gRPC method Track: a client's stream of frames -> the faces of a shot.

Every frame is a request of its own, answered by the same pipeline as a single image, several of them side by side. In
their order they get what they have in common: the numbers of faces, and live smoothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from landmarks_client.pb import landmarks_pb2 as pb
from service.answer import Answer
from service.errors import ErrorKind, ServiceError
from service.gateway import MAX_CONCURRENT_IMAGES, Gateway
from service.images.pixels import Pixels
from service.images.raw import RawImage
from service.request import Options, invalid
from service.rpc.convert import answer_message, options_of, problem_message, refuse_unknown
from service.rpc.interceptors import Requests
from shots.cuts import GLANCE_SHAPE, glance
from shots.flow import Grey
from shots.live import DEFAULT_RATE, LiveFace, State, follow
from shots.records import FoundFace
from shots.tracks import Floats

_OF_A_FRAME: Final = frozenset(
    {
        ErrorKind.NOT_AN_IMAGE,
        ErrorKind.UNSUPPORTED_IMAGE,
        ErrorKind.DAMAGED_IMAGE,
        ErrorKind.TOO_MANY_BYTES,
        ErrorKind.TOO_MANY_PIXELS,
        ErrorKind.SIDE_TOO_LONG,
        ErrorKind.DEADLINE_EXCEEDED,
        ErrorKind.INTERNAL,
    }
)
"""After these the stream goes on. Others would meet all frames: they end it, and it can be continued."""

_LARGEST: Final = 1e9
"""Pixels, or pixels a second: more than any image has."""
_MOST_IDS: Final = 2**31


@dataclass(frozen=True, eq=False)
class _Seen:
    """One frame by itself."""

    number: int
    request_id: str
    outcome: Answer | ServiceError
    glance: Grey | None


class Stream:
    """One call."""

    def __init__(
        self,
        gateway: Gateway,
        request_id: str,
        metadata: Mapping[str, str],
        time_remaining: Callable[[], float | None],
    ) -> None:
        self._gateway = gateway
        self._request_id, self._metadata = request_id, metadata
        self._time_remaining = time_remaining
        self._options = Options()
        self._rate = DEFAULT_RATE
        self._state: State | None = None
        self._in_progress = 0
        self._slot = ExitStack()

    async def answers(self, requests: Requests) -> AsyncGenerator[pb.TrackResponse, None]:
        """The answers, in the order of the frames. Raises ServiceError."""
        first = await self._received(requests)
        with self._gateway.observed("grpc", self._request_id, self._metadata):
            self._start(first or pb.TrackRequest())
        async with aclosing(self._frames(requests)) as frames:
            async for seen in frames:
                yield self._next(seen)
                if self._gateway.readiness.stopping:
                    raise ServiceError(ErrorKind.UNAVAILABLE, "the service stops: continue the stream with another")

    def _start(self, request: pb.TrackRequest) -> None:
        options = request.options
        refuse_unknown(request, options, options.resume, *options.resume.faces)
        if request.WhichOneof("content") != "options":
            raise invalid("the first message of a stream holds its options")
        if options.detect.image or options.detect.boxes:
            raise invalid("options of a stream hold neither an image nor boxes: they come with the frames")
        primary = self._gateway.models[0]
        chosen = options_of(options.detect)
        self._options = chosen if chosen.model else chosen.model_copy(update={"model": primary.name})
        if options.HasField("rate"):
            self._rate = options.rate
        if not (math.isfinite(self._rate) and self._rate > 0):
            raise invalid("rate is not a positive number of frames per second")
        if options.HasField("resume"):
            self._state = state_of(options.resume)

    async def _frames(self, requests: Requests) -> AsyncGenerator[_Seen, None]:
        """The frames, each once it is its turn. Of those that the client has not taken yet only some are received."""
        found: asyncio.Queue[asyncio.Future[_Seen] | None] = asyncio.Queue()
        room = asyncio.Semaphore(MAX_CONCURRENT_IMAGES)
        frames: dict[asyncio.Future[_Seen], AsyncExitStack] = {}

        async def receive() -> None:
            last = None if self._state is None else self._state.frame
            while True:
                await room.acquire()
                request = await self._received(requests)
                if request is None:
                    return
                last = self._check_order(request, last)
                held = requests.keep()
                task = asyncio.create_task(self._answer(request.frame, held))
                del request  # it has the image
                frames[task] = held
                found.put_nowait(task)

        receiving = asyncio.create_task(receive())
        receiving.add_done_callback(lambda _: found.put_nowait(None))
        try:
            while (frame := await found.get()) is not None:
                yield await frame
                del frames[frame]
                room.release()
            await receiving
        finally:
            receiving.cancel()
            for frame in frames:
                frame.cancel()
            await asyncio.gather(receiving, *frames, return_exceptions=True)
            for held in frames.values():  # of those that had not begun
                await held.aclose()

    async def _received(self, requests: Requests) -> pb.TrackRequest | None:
        """The next message, None after the last. Raises ServiceError."""
        with self._refused():
            request: pb.TrackRequest | None = await anext(requests, None)
            return request

    def _check_order(self, request: pb.TrackRequest, last: int | None) -> int:
        """The number of the frame in a message after the first. Raises ServiceError of kind INVALID_REQUEST."""
        frame = request.frame
        with self._refused():
            refuse_unknown(request, frame, frame.raw)
            if request.WhichOneof("content") != "frame" or frame.WhichOneof("picture") is None:
                raise invalid("after the options a stream holds frames, each with an image or a raw one")
            if last is not None and frame.number <= last:
                raise invalid(f"frame {frame.number} comes after frame {last}: the numbers of frames must increase")
        return int(frame.number)

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Counts and logs what is wrong with a message, which ends the stream."""
        try:
            yield
        except ServiceError as error:
            self._gateway.telemetry.refused("grpc", self._request_id, error.kind.value)
            raise

    async def _answer(self, frame: pb.TrackFrame, held: AsyncExitStack) -> _Seen:
        """One frame by itself. Raises ServiceError for what ends the stream."""
        number, identity = frame.number, f"{self._request_id}/{frame.number}"
        glances: list[Grey] = []

        def look(pixels: Pixels) -> None:
            glances.append(glance(pixels))

        outcome: Answer | ServiceError
        try:
            with self._gateway.observed("grpc", identity, self._metadata), self._in_slot():
                image = raw_image(frame.raw) if frame.WhichOneof("picture") == "raw" else frame.image
                del frame  # it has a copy of the image
                deadline = self._gateway.deadline(self._time_remaining())
                outcome = await self._gateway.detect(image, self._options, deadline, look)
        except ServiceError as error:
            if error.kind not in _OF_A_FRAME:
                raise
            outcome = error
        finally:
            await held.aclose()
        return _Seen(number, identity, outcome, glances[0] if glances else None)

    @contextmanager
    def _in_slot(self) -> Iterator[None]:
        """The stream counts as one request in flight while a frame of it is in progress."""
        if not self._in_progress:
            self._slot.enter_context(self._gateway.slot("grpc"))
        self._in_progress += 1
        try:
            yield
        finally:
            self._in_progress -= 1
            if not self._in_progress:
                self._slot.close()

    def _next(self, seen: _Seen) -> pb.TrackResponse:
        """What a frame by itself is after those before it."""
        outcome = seen.outcome
        answer = None if isinstance(outcome, ServiceError) else outcome
        faces = [] if answer is None else [
            FoundFace(
                np.asarray(face.box, np.float64),
                float(face.score),
                np.asarray(face.points, np.float64),
                np.asarray(face.covariances, np.float64),
            )
            for face in answer.faces
        ]  # fmt: skip
        _check_points(self._state, faces)
        followed = follow(self._state, seen.number, None if answer is None else seen.glance, faces, self._rate)
        self._state = followed.state
        response = pb.TrackResponse(
            frame=seen.number,
            missing=followed.missing,
            cut=followed.is_cut,
            faces=[
                pb.TrackedFace(id=each.id, gap=each.gap, smoothed=each.smoothed.ravel().tolist())
                for each in followed.faces
            ],
            state=state_message(followed.state),
        )
        if isinstance(outcome, ServiceError):
            response.problem.CopyFrom(problem_message(outcome, seen.request_id))
        else:
            response.answer.CopyFrom(answer_message(outcome, seen.request_id))
        return response


def raw_image(raw: pb.RawImage) -> RawImage:
    given = {name: getattr(raw, name) for name in ("channels", "type", "stride", "colour_space") if raw.HasField(name)}
    return RawImage(raw.width, raw.height, raw.samples, planar=raw.planar, **given)


def state_message(state: State) -> pb.TrackState:
    return pb.TrackState(
        frame=state.frame,
        next_id=state.next_id,
        glance=b"" if state.glance is None else state.glance.tobytes(),
        faces=[
            pb.KnownFace(
                id=each.id,
                frame=each.index,
                box=each.box.tolist(),
                points=each.points.ravel().tolist(),
                smoothed=each.smoothed.ravel().tolist(),
                velocities=each.velocities.ravel().tolist(),
            )
            for each in state.faces
        ],
    )


def state_of(message: pb.TrackState) -> State:
    """Raises ServiceError of kind INVALID_REQUEST for what `state_message` never gives."""
    size = math.prod(GLANCE_SHAPE)
    if len(message.glance) not in (0, size):
        raise invalid("resume is no state of an answer: its glance has another size")
    look = np.frombuffer(message.glance, np.uint8).reshape(GLANCE_SHAPE) if message.glance else None
    faces = tuple(_known_face(face) for face in message.faces)
    counts = {len(face.points) for face in faces}
    ids_fit = message.next_id < _MOST_IDS and all(0 < face.id < message.next_id for face in faces)
    if len(counts) > 1 or not ids_fit or any(face.index > message.frame for face in faces):
        raise invalid("resume is no state of an answer: its faces do not fit together")
    return State(message.frame, max(1, message.next_id), look, faces)


def _known_face(face: pb.KnownFace) -> LiveFace:
    box, points, smoothed, velocities = (
        _array(values, columns)
        for values, columns in ((face.box, 4), (face.points, 2), (face.smoothed, 2), (face.velocities, 2))
    )
    if len(box) != 1 or not len(points) == len(smoothed) == len(velocities) > 0:
        raise invalid("resume is no state of an answer: a face lacks numbers")
    return LiveFace(face.id, points, box[0], face.frame, smoothed, velocities)


def _array(values: Sequence[float], columns: int) -> Floats:
    array = np.array(values, np.float64)
    if len(array) % columns or not (np.abs(array) < _LARGEST).all():
        raise invalid("resume is no state of an answer: numbers are absent or too large")
    return array.reshape(-1, columns)


def _check_points(state: State | None, faces: Sequence[FoundFace]) -> None:
    """Raises ServiceError of kind INVALID_REQUEST where a stream is continued by a model of another layout."""
    if state is not None and state.faces and faces and len(state.faces[0].points) != len(faces[0].points):
        raise invalid("resume is of a model with another number of points: begin a new shot")
