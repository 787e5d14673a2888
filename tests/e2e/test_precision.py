"""The 8-bit network, selected by a setting: in a real Triton and in the gateway's own process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from landmarks.repository import model_path, remove_int8
from landmarks.runtime import identify
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError
from tests.e2e.test_gateway import BOX, IMAGE, served


def answer(**settings: object) -> dict[str, Any]:
    with served(log_level="warning", **settings) as service:
        service.read_announcement()
        query = {"box": ",".join(map(str, BOX))}
        response = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params=query, timeout=60)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body


def test_the_8_bit_network_answers_where_it_is_selected(needs_triton: None, model_repository: Path) -> None:
    by_triton, here, plain = (
        answer(precision="int8"),
        answer(precision="int8", engine="local"),
        answer(engine="local"),
    )
    metadata, provenance = identify(model_path(model_repository, precision="int8"))
    for body in (by_triton, here):
        assert body["model"] == {"name": metadata.name, "version": "1", "provenance": provenance}
    assert by_triton["faces"][0]["points"] == here["faces"][0]["points"]
    apart = np.array(here["faces"][0]["points"]) - np.array(plain["faces"][0]["points"])
    assert 0.001 < np.linalg.norm(apart, axis=1).mean() < 1


def test_a_repository_without_one_is_reported(repository_copy: Path) -> None:
    remove_int8(repository_copy)
    with served(precision="int8", model_repository=repository_copy) as service:
        _, errors = service.process.communicate(timeout=60)
    assert service.process.returncode == 1
    assert "model-int8.onnx: make it with landmarks-train quantize, or leave LANDMARKS_PRECISION out" in errors


def test_a_configuration_that_no_model_has_is_not_taken_for_the_default(
    needs_triton: None, repository_copy: Path
) -> None:
    remove_int8(repository_copy)
    with pytest.raises(EmbeddedTritonError, match=r"is configured by configs/int8\.pbtxt"):
        asyncio.run(EmbeddedTriton(repository_copy, config_name="int8").start())
