import asyncio
import json

import pytest
from google.rpc.status_pb2 import Status

from service.deadline import DeadlineExceeded
from service.engines import port as inference
from service.errors import BY_EXCEPTION, ErrorKind, ServiceError, translate
from service.rest.errors import error_response
from service.rpc.errors import STATUS as GRPC
from service.rpc.errors import trailing_metadata
from service.wire.problem import STATUS as HTTP
from tests.conftest import ROOT


def descendants(cls):
    return {cls, *(d for child in cls.__subclasses__() for d in descendants(child))}


def test_every_kind_is_in_both_tables():
    assert set(HTTP) == set(ErrorKind)
    assert set(GRPC) == set(ErrorKind)


def test_every_engine_error_is_mapped():
    assert descendants(inference.EngineError) <= set(BY_EXCEPTION)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (inference.EngineUnavailable("tcp 10.0.0.7"), ErrorKind.UNAVAILABLE),
        (inference.EngineTimeout("tcp 10.0.0.7"), ErrorKind.DEADLINE_EXCEEDED),
        (inference.EngineOverloaded("tcp 10.0.0.7"), ErrorKind.OVERLOADED),
        (inference.EngineFailure("tcp 10.0.0.7"), ErrorKind.INTERNAL),
        (inference.EngineError("tcp 10.0.0.7"), ErrorKind.INTERNAL),
        (asyncio.TimeoutError(), ErrorKind.DEADLINE_EXCEEDED),
        (DeadlineExceeded(), ErrorKind.DEADLINE_EXCEEDED),
        (KeyError("tcp 10.0.0.7"), ErrorKind.INTERNAL),
    ],
)
def test_exceptions_of_other_modules_get_a_kind_and_reveal_nothing(error, kind):
    translated = translate(error)
    assert translated.kind is kind
    assert "10.0.0.7" not in translated.message


def test_the_codes_are_stable():
    assert sorted(kind.value for kind in ErrorKind) == [
        "client_too_slow",
        "damaged_image",
        "deadline_exceeded",
        "forbidden",
        "headers_too_large",
        "internal",
        "invalid_box",
        "invalid_request",
        "method_not_allowed",
        "not_an_image",
        "not_found",
        "overloaded",
        "side_too_long",
        "too_many_boxes",
        "too_many_bytes",
        "too_many_images",
        "too_many_pixels",
        "unauthenticated",
        "unavailable",
        "unknown_model",
        "unsupported_image",
        "unsupported_media_type",
    ]


def test_every_kind_says_what_it_is_and_what_to_do():
    for kind in ErrorKind:
        assert kind.title, kind
        assert kind.action.endswith("."), kind
    assert len({kind.title for kind in ErrorKind}) == len(ErrorKind)


def test_an_error_as_rest_sends_it():
    response = error_response(ServiceError(ErrorKind.OVERLOADED, "come back"), "me")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(response.body)) == {
        "type": "urn:problem-type:landmarks:overloaded",
        "title": "Too many requests are in flight",
        "status": 429,
        "detail": "come back",
        "code": "overloaded",
        "action": "Try again after the time given.",
        "request_id": "me",
    }
    assert "retry-after" not in error_response(ServiceError(ErrorKind.INVALID_BOX, ""), "me").headers


def test_an_error_as_grpc_sends_it():
    metadata = dict(trailing_metadata(ServiceError(ErrorKind.OVERLOADED, "come back"), "me"))
    details = Status.FromString(metadata.pop("grpc-status-details-bin"))
    assert metadata == {
        "landmarks-error-code": "overloaded",
        "x-request-id": "me",
        "grpc-retry-pushback-ms": "1000",
    }
    assert (details.code, details.message) == (8, "come back")  # RESOURCE_EXHAUSTED
    assert [detail.TypeName() for detail in details.details] == [
        "google.rpc.ErrorInfo",
        "google.rpc.RequestInfo",
        "google.rpc.RetryInfo",
    ]
    final = dict(trailing_metadata(ServiceError(ErrorKind.INVALID_BOX, ""), "me"))
    assert final["grpc-retry-pushback-ms"] == "-1"
    assert len(Status.FromString(final["grpc-status-details-bin"]).details) == 2


def test_the_reference_has_every_error_as_it_is_answered():
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for kind in ErrorKind:
        row = f"| `{kind.value}` | {HTTP[kind]} | {GRPC[kind].name} | {kind.title} | {kind.action} |"
        assert row in reference, "docs/api.md lacks or misstates this row"
