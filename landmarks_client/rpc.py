"""The gRPC API: messages of `proto/landmarks/v1/landmarks.proto` as values, errors from their google.rpc details."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from grpc_status import rpc_status

from landmarks_client.errors import (
    DEADLINE_EXCEEDED,
    NO_ANSWER,
    NOT_UNDERSTOOD,
    ClientUsageError,
    LandmarksError,
    NoAnswer,
    ServiceProblem,
)
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from landmarks_client.proxy import proxy_advice, proxy_options
from landmarks_client.results import Answer, AnswerWarning, Face, Model, ModelDescription, floats
from landmarks_client.tracking import AsyncProgress, Progress, TrackedFace, TrackedFrame
from landmarks_client.wire import Attempt, ImagePart, Outcome, Target, Tls

_CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # a connection of the client's own: by default all channels of a process share one
    ("grpc.use_local_subchannel_pool", 1),
    # by default, calls fail for up to two minutes after a service that was away is back
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # a stream has no deadline: this notices that the other side is gone
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]

_ENDED_MEANWHILE: Final = "Internal error from Core"
"""What grpc.aio says instead of a call's status where the call ends while a message is sent."""
_NOT_REACHED: Final = ("failed to connect", "errors resolving", "DNS resolution failed")
"""How gRPC begins to say that there was no connection, which is not the same as one that was lost."""


class RpcTransport:
    """Synchronous calls. The channel connects on the first call, and again whenever the connection is lost."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel = _open_channel(grpc, target)
        self._stub = landmarks_pb2_grpc.LandmarksStub(self._channel)  # type: ignore[no-untyped-call]

    def detect(self, part: ImagePart, attempt: Attempt) -> Answer:
        return answer(self._send(attempt, self._stub.Detect, request(part)))

    def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]:
        return outcomes(self._send(attempt, self._stub.DetectBatch, batch(parts)))

    def models(self, attempt: Attempt) -> list[ModelDescription]:
        return models(self._send(attempt, self._stub.ListModels, pb.ListModelsRequest()))

    def track(self, progress: Progress, attempt: Attempt) -> Generator[TrackedFrame, None, None]:
        """One stream, until the shot is answered or the stream breaks."""
        is_over = threading.Event()
        call = self._stub.Track(progress.messages(is_over), metadata=_metadata(self._target, attempt))
        try:
            for response in call:
                progress.answered(response)
                yield tracked_frame(response)
            _check_answered(progress.is_idle, self._target, attempt)
        except grpc.RpcError as error:
            raise failure(error, self._target, attempt) from error
        finally:
            is_over.set()
            progress.wake()
            call.cancel()

    def close(self) -> None:
        self._channel.close()

    def _send(self, attempt: Attempt, method: Any, message: Any) -> Any:
        try:
            return method(message, timeout=attempt.timeout, metadata=_metadata(self._target, attempt))
        except grpc.RpcError as error:
            raise failure(error, self._target, attempt) from error


class AsyncRpcTransport:
    """The same, asynchronous."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel = _open_channel(grpc.aio, target)
        self._stub = landmarks_pb2_grpc.LandmarksStub(self._channel)  # type: ignore[no-untyped-call]

    async def detect(self, part: ImagePart, attempt: Attempt) -> Answer:
        return answer(await self._send(attempt, self._stub.Detect, request(part)))

    async def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]:
        return outcomes(await self._send(attempt, self._stub.DetectBatch, batch(parts)))

    async def models(self, attempt: Attempt) -> list[ModelDescription]:
        return models(await self._send(attempt, self._stub.ListModels, pb.ListModelsRequest()))

    async def track(self, progress: AsyncProgress, attempt: Attempt) -> AsyncGenerator[TrackedFrame, None]:
        """One stream, until the shot is answered or the stream breaks."""
        call = self._stub.Track(progress.messages(), metadata=_metadata(self._target, attempt))
        try:
            async for response in call:
                progress.answered(response)
                yield tracked_frame(response)
            _check_answered(progress.is_idle, self._target, attempt)
        except grpc.aio.AioRpcError as error:
            raise failure(error, self._target, attempt) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()

    async def _send(self, attempt: Attempt, method: Any, message: Any) -> Any:
        try:
            return await method(message, timeout=attempt.timeout, metadata=_metadata(self._target, attempt))
        except grpc.aio.AioRpcError as error:
            raise failure(error, self._target, attempt) from error


def _check_answered(all_are: bool, target: Target, attempt: Attempt) -> None:
    if not all_are:
        message = f"{target.url} ended the stream before all frames were answered"
        raise NoAnswer(NOT_UNDERSTOOD, message, request_id=attempt.request_id)


def _open_channel(library: Any, target: Target) -> Any:
    """`library`: grpc or grpc.aio."""
    options = [*_CHANNEL_OPTIONS, *proxy_options(target.host)]
    if target.scheme == "grpcs":
        return library.secure_channel(target.host, _credentials(target.tls), options)
    return library.insecure_channel(target.host, options)


def _metadata(target: Target, attempt: Attempt) -> tuple[tuple[str, str], ...]:
    return (("x-request-id", attempt.request_id), *target.headers)


def _credentials(tls: Tls) -> Any:
    def content(path: Path | None) -> bytes | None:
        return None if path is None else path.read_bytes()

    try:
        return grpc.ssl_channel_credentials(content(tls.ca), content(tls.key), content(tls.certificate))
    except OSError as error:
        raise ClientUsageError(f"the TLS files cannot be used: {error}") from error


def request(part: ImagePart) -> pb.DetectRequest:
    """The message of one image. Raises ClientUsageError for options of a wrong type."""
    rest: dict[str, Any] = {name: value for name, value in part.options.items() if name != "boxes"}
    boxes = [pb.Box(x1=x1, y1=y1, x2=x2, y2=y2) for x1, y1, x2, y2 in part.options.get("boxes", ())]
    try:
        return pb.DetectRequest(image=part.image, boxes=boxes, **rest)
    except (ValueError, TypeError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error


def batch(parts: Sequence[ImagePart]) -> pb.DetectBatchRequest:
    return pb.DetectBatchRequest(requests=[request(part) for part in parts])


def failure(error: Any, target: Target, attempt: Attempt) -> LandmarksError:
    """The LandmarksError of a grpc.RpcError: the problem that the service reports, or the failure of the connection."""
    status = rpc_status.from_call(error)
    if status is not None:
        return _problem(status, attempt)
    code, detail = error.code(), error.details() or "no details"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"no answer from {target.url} in time{proxy_advice(target.host)}"
        return NoAnswer(DEADLINE_EXCEEDED, message, request_id=attempt.request_id)
    if code is grpc.StatusCode.INTERNAL and detail == _ENDED_MEANWHILE:
        message = f"no answer from {target.url}: the stream ended while a frame was sent"
        return NoAnswer(NO_ANSWER, message, request_id=attempt.request_id, retry_after=0.0)
    if code is grpc.StatusCode.UNAVAILABLE:
        message = f"no answer from {target.url}: {detail}{proxy_advice(target.host)}"
        # the service was reached: a new connection may serve, and at once
        delay = None if detail.startswith(_NOT_REACHED) else 0.0
        return NoAnswer(NO_ANSWER, message, request_id=attempt.request_id, retry_after=delay)
    return ServiceProblem(code.name.lower(), detail, request_id=attempt.request_id)


def _problem(status: Any, attempt: Attempt) -> ServiceProblem:
    info, request_info, retry = ErrorInfo(), RequestInfo(request_id=attempt.request_id), RetryInfo()
    known = (info, request_info, retry)
    found = {type(message) for detail in status.details for message in known if detail.Unpack(message)}
    delay = retry.retry_delay
    return ServiceProblem(
        info.reason,
        status.message,
        title=info.metadata["title"],
        action=info.metadata["action"],
        request_id=request_info.request_id,
        retry_after=delay.seconds + delay.nanos / 1e9 if RetryInfo in found else None,
    )


def answer(message: pb.DetectResponse) -> Answer:
    timings = message.timings_ms
    warnings: Any = message.warnings  # the generated types mistake the message Warning for Python's own
    return Answer(
        message.request_id,
        Model(message.model.name, message.model.version, message.model.provenance),
        message.image.width,
        message.image.height,
        tuple(_face(face) for face in message.faces),
        {f.name: getattr(timings, f.name) for f in timings.DESCRIPTOR.fields} if message.HasField("timings_ms") else {},
        tuple(AnswerWarning(warning.code, warning.message) for warning in warnings),
    )


def _face(face: pb.Face) -> Face:
    return Face(
        box=floats(face.box, 4),
        box_source=face.box_source,
        box_score=face.box_score if face.HasField("box_score") else None,
        score=face.score,
        inter_ocular=face.inter_ocular,
        points=floats(face.points, -1, 2),
        scores=floats(face.scores, -1),
        covariances=floats(face.covariances, -1, 3),
        visibility=floats(face.visibility, -1),
        passes=max(1, face.passes),
    )


def tracked_frame(message: pb.TrackResponse) -> TrackedFrame:
    """The answer to one frame."""
    by_itself = answer(message.answer) if message.HasField("answer") else None
    faces = () if by_itself is None else tuple(
        TrackedFace(each.id, each.gap, face, floats(each.smoothed, -1, 2))
        for each, face in zip(message.faces, by_itself.faces, strict=True)
    )  # fmt: skip
    problem = service_problem(message.problem) if message.HasField("problem") else None
    return TrackedFrame(message.frame, message.missing, message.cut, faces, by_itself, problem)


def outcomes(message: pb.DetectBatchResponse) -> list[Outcome]:
    return [_outcome(result) for result in message.results]


def _outcome(result: pb.DetectResult) -> Outcome:
    if result.WhichOneof("outcome") == "answer":
        return answer(result.answer)
    return service_problem(result.problem)


def service_problem(problem: pb.Problem) -> ServiceProblem:
    """The problem of one image."""
    return ServiceProblem(
        problem.code, problem.detail, title=problem.title, action=problem.action, request_id=problem.request_id
    )


def models(message: pb.ListModelsResponse) -> list[ModelDescription]:
    return [
        ModelDescription(
            each.name, each.version, each.provenance, each.layout, each.input_size, each.crop_scale, each.topk,
            tuple(each.decoders), each.run_id, tuple(each.data), dict(each.degrees_of_freedom),
            each.input_width, each.input_height,
        )
        for each in message.models
    ]  # fmt: skip
