"""Triton's model repository: where model files lie, and what `landmarks-train export` writes into its configurations.

A model file (ONNX) carries its own metadata. Every configuration (`config.pbtxt`, and those of `configs/` that Triton's
--model-config-name selects) carries the SHA-256 of the model file that it was written for, so that a file and a
configuration that do not belong together are rejected at load. `stamp` writes it, `check_stamp` checks it.

A repository may hold the same network in 8-bit integers as well: a second file beside the first one, and configurations
for it, `configs/int8.pbtxt`, which equal `config.pbtxt` except for the hash and the parameter that names the
precision::

    heatmap/1/model.onnx  model-int8.onnx          {heatmap,decode,landmarks}/config.pbtxt  configs/int8.pbtxt
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from landmarks.detector import DETECTOR_METADATA_KEY, DetectorMetadata
from landmarks.metadata import METADATA_KEY, MetadataError, ModelMetadata
from landmarks.tensors import (
    DECODE_MODEL,
    DETECTOR_MODEL,
    ENSEMBLE_MODEL,
    HEATMAP_MODEL,
    VISIBILITY,
    Contract,
    Precision,
    TensorSpec,
    contract,
)

PROVENANCE_KEY: Final = "landmarks_provenance"
"""Key of the model file's `sha256:<hex>` in the `parameters` of a configuration."""
PRECISION_KEY: Final = "landmarks_precision"
"""Key of the precision in the `parameters` of a configuration; where it is missing, the precision is float32."""

MODEL_FILE: Final = "model.onnx"
"""Name of a network's file within a version folder of its model."""
INT8_FILE: Final = "model-int8.onnx"
"""Name of the file of the same network in 8-bit integers, beside it."""
INT8_CONFIG: Final = "int8"
"""Value of Triton's --model-config-name that selects the 8-bit network."""

INT8_NOTE: Final = "# For --model-config-name=int8, written by landmarks-train quantize from config.pbtxt:\n"
INT8_PARAMETER: Final = f"""parameters {{ key: "{PRECISION_KEY}" value {{ string_value: 'int8' }} }}\n"""

_BEFORE_VISIBILITY: Final[Mapping[str, tuple[str, ...]]] = {
    HEATMAP_MODEL: ('output { name: "heatmaps" ',),
    ENSEMBLE_MODEL: ('output { name: "covariances" ', 'output_map { key: "heatmaps" '),
}
"""By model: the lines of its configurations, of the same type and written alike, after which visibility is declared."""

ENGINES: Final = "/engines"
"""Where the containers keep TensorRT's engines: a volume."""

Metadata: TypeAlias = ModelMetadata | DetectorMetadata


class ModelKind(NamedTuple):
    """How a kind of network is kept in a repository."""

    key: str
    """Of its metadata in the model file."""
    models: tuple[str, ...]
    """The Triton models that are stamped for it; the first holds its file."""
    command: str
    """What writes it."""


MODEL_KINDS: Final[Mapping[type, ModelKind]] = {
    ModelMetadata: ModelKind(METADATA_KEY, (HEATMAP_MODEL, DECODE_MODEL, ENSEMBLE_MODEL), "landmarks-train export"),
    DetectorMetadata: ModelKind(DETECTOR_METADATA_KEY, (DETECTOR_MODEL,), "landmarks-train export-detector"),
}


class RepositoryError(ValueError):
    """A model repository lacks something, or is of an earlier release; the message names the file and what to do."""


def model_path(
    repository: Path, version: str = "1", kind: type[Metadata] = ModelMetadata, precision: Precision = "float32"
) -> Path:
    """The file of the network with such metadata within a model repository."""
    return repository / MODEL_KINDS[kind].models[0] / version / (INT8_FILE if precision == "int8" else MODEL_FILE)


def provenance(model: bytes) -> str:
    """`sha256:<hex>` of a model file's bytes."""
    return f"sha256:{hashlib.sha256(model).hexdigest()}"


# ---------------------------------------------------------------- reading configurations


def string_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The string parameters of a model configuration, given as Triton's JSON writes it."""
    return {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}


def precision_of(parameters: Mapping[str, str]) -> Precision:
    """Which network a configuration with such string parameters is for."""
    return "int8" if parameters.get(PRECISION_KEY) == "int8" else "float32"


def check_stamp(parameters: Mapping[str, str], metadata: Metadata, model_provenance: str) -> None:
    """Raises MetadataError unless a configuration with such string parameters is for the model file that was loaded."""
    stamped = parameters.get(PROVENANCE_KEY)
    if stamped != model_provenance:
        raise MetadataError(
            f"config.pbtxt was stamped for another model file ({stamped}) than the one beside it ({metadata.name}, run "
            f"{metadata.run_id}, {model_provenance}): run {MODEL_KINDS[type(metadata)].command} again"
        )


def check_release(repository: Path) -> None:
    """Raises RepositoryError when a configuration is of an earlier release, whose models this one cannot use."""
    for path in sorted([*repository.glob("*/config.pbtxt"), *repository.glob("*/configs/*.pbtxt")]):
        _check_release(path, path.read_text(encoding="utf-8"))


def _check_release(path: Path, text: str) -> None:
    for kind in MODEL_KINDS.values():
        if f'"{kind.key}"' in text:
            raise RepositoryError(
                f"{path} is of an earlier release, whose configurations held the metadata: take the model_repo/ of "
                f"this release, then run {kind.command} again for a model of your own"
            )


# ---------------------------------------------------------------- writing configurations


def stamp(repository: Path, metadata: Metadata, precision: Precision = "float32") -> None:
    """Writes the model file's hash and the shapes of its tensors into the configurations of a network's models.

    In those for TensorRT also the shapes of its profile, and where it keeps its engines. Raises RepositoryError,
    having changed nothing, when the model file is missing or a configuration cannot be stamped.
    """
    path = model_path(repository, kind=type(metadata), precision=precision)
    models = MODEL_KINDS[type(metadata)].models
    try:
        model_provenance = provenance(path.read_bytes())
        configs = {config: model for model in models for config in configurations(repository, model, precision)}
        texts = {config: config.read_text(encoding="utf-8") for config in configs}
    except OSError as error:
        raise RepositoryError(f"{error.filename} cannot be read: is {repository} a model repository?") from error
    folder = engine_folder(path, model_provenance)
    tensors = _tensors(metadata)
    sized = (tensors.crops, tensors.heatmaps, *tensors.decoded) if tensors else ()
    stamped = {}
    for config, text in texts.items():
        declared = declare_visibility(text, configs[config], tensors.visibility, config) if tensors else text
        stamped[config] = _stamped(config, declared, model_provenance, sized, folder)
    for config, text in stamped.items():
        config.write_text(text, encoding="utf-8")


def configurations(repository: Path, model: str, precision: Precision = "float32") -> list[Path]:
    """Every configuration of a model for one precision: the default one, then those of --model-config-name."""
    other = int8_config(repository, model)
    if precision == "int8":
        return [other]
    named = sorted(set((repository / model / "configs").glob("*.pbtxt")) - {other})
    return [repository / model / "config.pbtxt", *named]


def int8_config(repository: Path, model: str) -> Path:
    """The path of a model's configuration for 8 bits."""
    return repository / model / "configs" / f"{INT8_CONFIG}.pbtxt"


def add_int8(repository: Path) -> None:
    """Writes the configurations for 8 bits from the default ones; `stamp` then makes them fit the file.

    Raises RepositoryError when one of those is missing.
    """
    for model in MODEL_KINDS[ModelMetadata].models:
        default, path = repository / model / "config.pbtxt", int8_config(repository, model)
        try:
            text = default.read_text(encoding="utf-8")
        except OSError as error:
            raise RepositoryError(f"{default} cannot be read: is {repository} a model repository?") from error
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{INT8_NOTE}{text}{INT8_PARAMETER}", encoding="utf-8")


def remove_int8(repository: Path) -> None:
    """Removes the 8-bit network from a repository, if it has one."""
    model_path(repository, precision="int8").unlink(missing_ok=True)
    for model in MODEL_KINDS[ModelMetadata].models:
        int8_config(repository, model).unlink(missing_ok=True)


def engine_folder(path: Path, model_provenance: str) -> str:
    """Where TensorRT keeps what it built of the model file at `path`: a folder for each version and each content.

    TensorRT's cache does not look at the weights: in one folder, a new version would be served with the engine of the
    old one (docs/decisions/0012). It is a single folder, because ONNX Runtime creates no parents.
    """
    return f"{ENGINES}/{path.parent.parent.name}-{path.parent.name}-{model_provenance.removeprefix('sha256:')}"


def _tensors(metadata: Metadata) -> Contract | None:
    """The tensors of a landmark network; those of a detector do not depend on it."""
    return None if isinstance(metadata, DetectorMetadata) else contract(metadata.codec, metadata.has_visibility)


def _stamped(path: Path, text: str, model_provenance: str, tensors: tuple[TensorSpec, ...], engines: str) -> str:
    """The text of the configuration at `path` for that model file. Raises RepositoryError."""
    _check_release(path, text)
    parameter = rf"""(parameters\s*\{{\s*key:\s*"{PROVENANCE_KEY}"\s*value\s*\{{\s*string_value:\s*)'[^'\n]*'"""
    text, found = re.subn(parameter, rf"\1'{model_provenance}'", text)
    if found != 1:
        raise RepositoryError(
            f"""{path} must hold once: parameters {{ key: "{PROVENANCE_KEY}" value {{ string_value: '' }} }}; """
            f"found {found}"
        )
    for tensor in tensors:
        text = replace_dims(text, tensor)
    text = replace_option(text, "trt_engine_cache_path", engines)
    for key, shape in profile(tensors[0], max_batch_size(text, path)).items() if tensors else ():
        text = replace_option(text, key, shape)
    return text


def replace_dims(text: str, tensor: TensorSpec) -> str:
    """The text of a configuration with the shape of one tensor wherever it names it, on one line, with `dims`."""
    dims = ", ".join(map(str, tensor.shape))
    return re.sub(rf"""((?:name|key): "{tensor.name}" [^\n]*dims: )\[[^\]]*\]""", rf"\1[ {dims} ]", text)


def declare_visibility(text: str, model: str, visibility: TensorSpec | None, path: Path) -> str:
    """The text of a model's configuration with the output that only some networks have, or without it.

    It is declared on a line of its own after each of the lines in _BEFORE_VISIBILITY. Raises RepositoryError where one
    of these is missing; `path` is for the message alone.
    """
    lines = [line for line in text.split("\n") if not re.match(rf"""\s*output\w* {{ \w+: "{VISIBILITY}" """, line)]
    for before in _BEFORE_VISIBILITY.get(model, ()) if visibility else ():
        found = [i for i, line in enumerate(lines) if line.lstrip().startswith(before)]
        if len(found) != 1:
            raise RepositoryError(f"{path} must hold one line that begins with {before}; found {len(found)}")
        line = lines[found[0]]
        added = re.sub(r'"\w+"', f'"{VISIBILITY}"', line)
        lines.insert(found[0] + 1, added)
    text = "\n".join(lines)
    return replace_dims(text, visibility) if visibility else text


def replace_option(text: str, key: str, value: str) -> str:
    """The text of a configuration with the double-quoted option `key` of an accelerator, where it has one, set."""
    option = rf"""(parameters\s*\{{\s*key:\s*"{re.escape(key)}"\s*value:\s*)"[^"\n]*\""""
    return re.sub(option, lambda match: f'{match[1]}"{value}"', text)


def profile(tensor: TensorSpec, max_batch: int) -> dict[str, str]:
    """TensorRT's profile for batches of `tensor` from one to `max_batch`, tuned for that, as ONNX Runtime reads it."""
    batches = {"min": 1, "opt": max_batch, "max": max_batch}
    dims = "x".join(map(str, tensor.shape))
    return {f"trt_profile_{name}_shapes": f"{tensor.name}:{batch}x{dims}" for name, batch in batches.items()}


def max_batch_size(text: str, path: Path) -> int:
    """The value in the text of a configuration. Raises RepositoryError; `path` is for the message alone."""
    found = re.search(r"^max_batch_size\s*:\s*(\d+)", text, re.MULTILINE)
    if found is None:
        raise RepositoryError(f"{path} must hold a line max_batch_size: N")
    return int(found[1])
