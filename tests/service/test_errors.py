import asyncio

import pytest

from service import inference
from service.errors import FOREIGN, ErrorKind, ServiceError, translate
from service.rest.errors import STATUS as HTTP
from service.rest.errors import error_response
from service.rpc.errors import STATUS as GRPC
from service.rpc.errors import trailing_metadata


def descendants(cls):
    return {cls, *(d for child in cls.__subclasses__() for d in descendants(child))}


def test_every_kind_is_in_both_tables():
    assert set(HTTP) == set(ErrorKind)
    assert set(GRPC) == set(ErrorKind)


def test_every_engine_error_is_mapped():
    assert descendants(inference.EngineError) <= set(FOREIGN)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (inference.EngineUnavailable("tcp 10.0.0.7"), ErrorKind.UNAVAILABLE),
        (inference.EngineTimeout("tcp 10.0.0.7"), ErrorKind.DEADLINE_EXCEEDED),
        (inference.EngineOverloaded("tcp 10.0.0.7"), ErrorKind.OVERLOADED),
        (inference.EngineFailure("tcp 10.0.0.7"), ErrorKind.INTERNAL),
        (inference.EngineError("tcp 10.0.0.7"), ErrorKind.INTERNAL),
        (asyncio.TimeoutError(), ErrorKind.DEADLINE_EXCEEDED),
        (KeyError("tcp 10.0.0.7"), ErrorKind.INTERNAL),
    ],
)
def test_foreign_errors_get_a_kind_and_leak_nothing(error, kind):
    translated = translate(error)
    assert translated.kind is kind
    assert "10.0.0.7" not in translated.message


def test_the_codes_are_stable():
    assert sorted(kind.value for kind in ErrorKind) == [
        "damaged_image",
        "deadline_exceeded",
        "internal",
        "invalid_box",
        "invalid_request",
        "method_not_allowed",
        "not_an_image",
        "not_found",
        "overloaded",
        "too_many_boxes",
        "too_many_bytes",
        "too_many_pixels",
        "unavailable",
        "unsupported_media_type",
    ]


def test_how_the_doors_say_it():
    error = ServiceError(ErrorKind.OVERLOADED, "come back")
    response = error_response(error, "me")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.body == b'{"error":{"code":"overloaded","message":"come back"},"request_id":"me"}'
    assert dict(trailing_metadata(error, "me")) == {
        "landmarks-error-code": "overloaded",
        "x-request-id": "me",
        "grpc-retry-pushback-ms": "1000",
    }
    assert dict(trailing_metadata(ServiceError(ErrorKind.INVALID_BOX, ""), "me"))["grpc-retry-pushback-ms"] == "-1"
