"""Requests made up from the OpenAPI description, right and wrong ones, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.apis import in_a_thread
from tests.fakes import FakeDetector, FakeEngine

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
]
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif", "image/heic")


@schemathesis.serializer(*IMAGES)
def unchanged(context: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else context.case.body


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_a_thread(FakeEngine(), FakeDetector(((2, 2, 13, 13), 0.9)), max_in_flight=16) as (rest, _):
        yield rest


@pytest.fixture(scope="module")
def described(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path="/metrics")


def is_short(timeout: Any) -> bool:
    try:
        return 0 < float(timeout) < 30
    except (TypeError, ValueError):
        return False


OPERATIONS = {
    ("/v1/landmarks", "POST"): 40,
    ("/v1/landmarks/batch", "POST"): 25,
    ("/v1/models", "GET"): 3,
    ("/v1/layout", "GET"): 3,
    ("/healthz", "GET"): 3,
    ("/readyz", "GET"): 3,
}
"""How many requests of each kind are made up."""


def test_every_operation_is_tried(described: Any) -> None:
    found = {(each.ok().path, each.ok().method.upper()) for each in described.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_answered_is_what_is_described(described: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = described[path][method]
    # a problem with one image of a batch is its result, in an answer of status 200
    checks = [check for check in CHECKS if "batch" not in path or check is not negative_data_rejection]

    @settings(
        max_examples=OPERATIONS[path, method],
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if is_short(case.headers.get("X-Request-Timeout")):
            del case.headers["X-Request-Timeout"]  # deadline_exceeded would be right, and is a 504
        case.validate_response(case.call(timeout=30), checks=checks)

    try:
        ask()
    except Unsatisfiable:
        assert method == "GET"  # nothing can be wrong where nothing is given
