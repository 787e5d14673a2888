"""A model is installed completely and stamped, or the repository keeps the one it had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

import onnx

from landmarks.metadata import ModelMetadata
from landmarks.repository import RepositoryError, configurations, model_path, provenance
from landmarks.runtime import identify
from train.export.onnx_file import install, rewrite_metadata


@pytest.fixture(scope="module")
def metadata(model_repository: Path) -> ModelMetadata:
    return replace(identify(model_path(model_repository))[0], run_id="new-run")


def write(path: Path) -> None:
    path.write_bytes(b"the new model")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_installed_and_stamped(repository_copy: Path, metadata: ModelMetadata) -> None:
    install(repository_copy, metadata, write)
    assert model_path(repository_copy).read_bytes() == b"the new model"
    assert list(repository_copy.rglob("*.tmp")) == []
    for path in configurations(repository_copy, "decode"):
        assert provenance(b"the new model") in path.read_text()


def test_metadata_are_rewritten_and_the_network_is_not(repository_copy: Path, metadata: ModelMetadata) -> None:
    def network() -> bytes:
        return bytes(onnx.load(model_path(repository_copy)).graph.SerializeToString())

    before = network()
    rewrite_metadata(repository_copy, metadata)
    rewritten, model_provenance = identify(model_path(repository_copy))
    assert rewritten == metadata
    assert network() == before
    for path in configurations(repository_copy, "heatmap"):
        assert model_provenance in path.read_text()


def test_a_mistyped_repository_is_not_made(tmp_path: Path, metadata: ModelMetadata) -> None:
    with pytest.raises(RepositoryError, match=r"gone/heatmap/config\.pbtxt is missing: is .*gone a model repository"):
        install(tmp_path / "gone", metadata, write)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["heatmap", "decode", "landmarks"])
def test_a_repository_that_cannot_be_stamped_keeps_its_model(
    repository_copy: Path, metadata: ModelMetadata, name: str
) -> None:
    config = repository_copy / name / "config.pbtxt"
    config.write_text(config.read_text().replace("landmarks_provenance", "another_parameter"))
    before = content(repository_copy)
    with pytest.raises(RepositoryError, match=f"{name}/config.pbtxt must hold once"):
        install(repository_copy, metadata, write)
    assert content(repository_copy) == before


def test_a_repository_without_a_model_stays_without(repository_copy: Path, metadata: ModelMetadata) -> None:
    model_path(repository_copy).unlink()
    (repository_copy / "decode" / "config.pbtxt").unlink()
    before = content(repository_copy)
    with pytest.raises(RepositoryError, match=r"decode/config\.pbtxt cannot be read"):
        install(repository_copy, metadata, write)
    assert content(repository_copy) == before


def test_what_cannot_be_written_replaces_nothing(repository_copy: Path, metadata: ModelMetadata) -> None:
    def fail(path: Path) -> None:
        write(path)
        raise RuntimeError("out of memory")

    before = content(repository_copy)
    with pytest.raises(RuntimeError, match="out of memory"):
        install(repository_copy, metadata, fail)
    assert content(repository_copy) == before
