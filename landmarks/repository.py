"""Triton's model repository: where the model file lies, and the two parameters its configurations are stamped with.

Every `config.pbtxt` carries the model's metadata and the hash of the model file, so that the network, the decoder and
whoever calls them can each see that they were made for one another. `stamp` writes both; loading checks them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from landmarks.metadata import METADATA_KEY, PROVENANCE_KEY, MetadataError, ModelMetadata
from landmarks.tensors import DECODE_MODEL, ENSEMBLE_MODEL, HEATMAP_MODEL, Contract, TensorSpec, contract

MODEL_FILE: Final = "model.onnx"
"""Name of the network's file within a version folder of the heatmap model."""


class RepositoryError(ValueError):
    """A model repository lacks what it should hold; the message names the file and what to do."""


def model_path(repository: Path, version: str = "1") -> Path:
    """The network's file within a model repository."""
    return repository / HEATMAP_MODEL / version / MODEL_FILE


def provenance(model: bytes) -> str:
    """`sha256:<hex>` of a model file's bytes."""
    return f"sha256:{hashlib.sha256(model).hexdigest()}"


def string_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The string parameters of a model configuration, given as Triton's JSON writes it."""
    return {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}


def check_stamp(parameters: Mapping[str, str], metadata: ModelMetadata, model_provenance: str) -> None:
    """Raises MetadataError unless a configuration's parameters are those of the model that was loaded."""
    told = ModelMetadata.from_mapping(parameters)
    if told.codec != metadata.codec:
        raise MetadataError(
            f"config.pbtxt was stamped for the codec {told.codec}, but {MODEL_FILE} was trained for {metadata.codec}: "
            "run landmarks-train export again"
        )
    if told != metadata or parameters.get(PROVENANCE_KEY) != model_provenance:
        raise MetadataError(
            f"config.pbtxt was stamped for another {MODEL_FILE} ({told.name}, run {told.run_id}, "
            f"{parameters.get(PROVENANCE_KEY)}) than the one beside it ({metadata.name}, run {metadata.run_id}, "
            f"{model_provenance}): run landmarks-train export again"
        )


def stamp(repository: Path, metadata: ModelMetadata) -> None:
    """Writes the metadata, the model file's hash and the tensors' shapes into a repository's three `config.pbtxt`.

    Raises RepositoryError, having changed nothing, when the model file or one of the parameters is not there.
    """
    try:
        values = {METADATA_KEY: metadata.to_json(), PROVENANCE_KEY: provenance(model_path(repository).read_bytes())}
        paths = [repository / name / "config.pbtxt" for name in (HEATMAP_MODEL, DECODE_MODEL, ENSEMBLE_MODEL)]
        texts = {path: _stamped(path, values, contract(metadata.codec)) for path in paths}
    except OSError as error:
        raise RepositoryError(f"{error.filename} cannot be read: is {repository} a model repository?") from error
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def _stamped(path: Path, values: Mapping[str, str], tensors: Contract) -> str:
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text = replace_parameter(text, key, value, path)
    for tensor in (tensors.crops, tensors.heatmaps, *tensors.outputs):
        text = replace_dims(text, tensor)
    return text


def replace_dims(text: str, tensor: TensorSpec) -> str:
    """The text of a `config.pbtxt` with the shape of one tensor wherever it names it, on one line, with `dims`."""
    dims = ", ".join(map(str, tensor.shape))
    return re.sub(rf"""((?:name|key): "{tensor.name}" [^\n]*dims: )\[[^\]]*\]""", rf"\1[ {dims} ]", text)


def replace_parameter(text: str, key: str, value: str, path: Path) -> str:
    """The text of a `config.pbtxt` with the single-quoted string parameter `key` set to `value`.

    Raises RepositoryError unless the parameter is there exactly once. `path` is for the message alone.
    """
    parameter = re.compile(
        rf"""(parameters\s*\{{\s*key:\s*"{re.escape(key)}"\s*value\s*\{{\s*string_value:\s*)'(?:[^'\\\n]|\\.)*'"""
    )
    # JSON holds no control characters, so these two are all there is to escape
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    text, found = parameter.subn(lambda match: f"{match[1]}'{quoted}'", text)
    if found != 1:
        raise RepositoryError(
            f"""{path} must hold once: parameters {{ key: "{key}" value {{ string_value: '...' }} }}; found {found}"""
        )
    return text
