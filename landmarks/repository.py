"""Triton's model repository: where model files lie, and the two parameters its configurations are stamped with.

Every configuration (`config.pbtxt`, and those of `configs/` that Triton's --model-config-name chooses) carries the
metadata and the hash of the model file that it was made for, so that the network, the decoder and whoever calls them
can each see that they belong together. `stamp` writes both; loading checks them.

A repository may hold the same network in 8-bit integers as well: a file beside the first one, and configurations of
their own, `configs/int8.pbtxt`, which are `config.pbtxt` but for the stamp and the parameter that says so::

    heatmap/1/model.onnx  model-int8.onnx          {heatmap,decode,landmarks}/config.pbtxt  configs/int8.pbtxt
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from landmarks.codec import CodecSpec
from landmarks.detection import DETECTOR_METADATA_KEY, DetectorMetadata, DetectorSpec
from landmarks.metadata import METADATA_KEY, PROVENANCE_KEY, MetadataError, ModelMetadata
from landmarks.tensors import (
    DECODE_MODEL,
    DETECTOR_MODEL,
    ENSEMBLE_MODEL,
    HEATMAP_MODEL,
    Precision,
    TensorSpec,
    contract,
)

MODEL_FILE: Final = "model.onnx"
"""Name of a network's file within a version folder of its model."""
INT8_FILE: Final = "model-int8.onnx"
"""Name of the file of the same network in 8-bit integers, beside it."""
INT8_CONFIG: Final = "int8"
"""What Triton's --model-config-name is to be for that one."""
PRECISION_KEY: Final = "landmarks_precision"
"""Key of the precision in the `parameters` of configurations; of those without it, float32."""

INT8_NOTE: Final = "# For --model-config-name=int8, written by landmarks-train quantize from config.pbtxt:\n"
INT8_PARAMETER: Final = f"""parameters {{ key: "{PRECISION_KEY}" value {{ string_value: 'int8' }} }}\n"""

ENGINES: Final = "/engines"
"""Where the containers keep TensorRT's engines: a volume."""

Metadata: TypeAlias = ModelMetadata | DetectorMetadata


class Export(NamedTuple):
    """How a kind of network comes into a repository."""

    key: str
    """Of its metadata, in the model file and in configurations."""
    models: tuple[str, ...]
    """The models that are stamped for it; the first holds its file."""
    command: str
    """What writes it."""


EXPORTS: Final[Mapping[type, Export]] = {
    ModelMetadata: Export(METADATA_KEY, (HEATMAP_MODEL, DECODE_MODEL, ENSEMBLE_MODEL), "landmarks-train export"),
    DetectorMetadata: Export(DETECTOR_METADATA_KEY, (DETECTOR_MODEL,), "landmarks-train export-detector"),
}


class RepositoryError(ValueError):
    """A model repository lacks what it should hold; the message names the file and what to do."""


def model_path(
    repository: Path, version: str = "1", kind: type[Metadata] = ModelMetadata, precision: Precision = "float32"
) -> Path:
    """The file of the network with such metadata within a model repository."""
    return repository / EXPORTS[kind].models[0] / version / (INT8_FILE if precision == "int8" else MODEL_FILE)


def precision_of(parameters: Mapping[str, str]) -> Precision:
    """Which network a configuration with such string parameters is for."""
    return "int8" if parameters.get(PRECISION_KEY) == "int8" else "float32"


def provenance(model: bytes) -> str:
    """`sha256:<hex>` of a model file's bytes."""
    return f"sha256:{hashlib.sha256(model).hexdigest()}"


def string_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The string parameters of a model configuration, given as Triton's JSON writes it."""
    return {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}


def stamp_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """Those of a configuration's string parameters that `stamp` writes for a network; others are its backend's."""
    return {key: parameters[key] for key in (METADATA_KEY, PROVENANCE_KEY) if key in parameters}


def check_stamp(parameters: Mapping[str, str], metadata: Metadata, model_provenance: str) -> None:
    """Raises MetadataError unless a configuration's parameters are those of the model that was loaded."""
    told, command = type(metadata).from_mapping(parameters), EXPORTS[type(metadata)].command
    if codec_of(told) != codec_of(metadata):
        raise MetadataError(
            f"config.pbtxt was stamped for the codec {codec_of(told)}, but {MODEL_FILE} was trained for "
            f"{codec_of(metadata)}: run {command} again"
        )
    if told != metadata or parameters.get(PROVENANCE_KEY) != model_provenance:
        raise MetadataError(
            f"config.pbtxt was stamped for another {MODEL_FILE} ({told.name}, run {told.run_id}, "
            f"{parameters.get(PROVENANCE_KEY)}) than the one beside it ({metadata.name}, run {metadata.run_id}, "
            f"{model_provenance}): run {command} again"
        )


def codec_of(metadata: Metadata) -> CodecSpec | DetectorSpec:
    """How a network's maps are read."""
    return metadata.spec if isinstance(metadata, DetectorMetadata) else metadata.codec


def stamp(repository: Path, metadata: Metadata, precision: Precision = "float32") -> None:
    """Writes the metadata, the model file's hash and the tensors' shapes into the configurations of a network's models.

    For TensorRT that is also the shapes of its profile, and where it keeps its engines. Raises RepositoryError, having
    changed nothing, when the model file or one of the parameters is not there.
    """
    export, path = EXPORTS[type(metadata)], model_path(repository, kind=type(metadata), precision=precision)
    try:
        values = {export.key: metadata.to_json(), PROVENANCE_KEY: provenance(path.read_bytes())}
        folder = engine_folder(path, values[PROVENANCE_KEY])
        paths = [config for name in export.models for config in configurations(repository, name, precision)]
        texts = {config: _stamped(config, values, _sized(metadata), folder) for config in paths}
    except OSError as error:
        raise RepositoryError(f"{error.filename} cannot be read: is {repository} a model repository?") from error
    for config, text in texts.items():
        config.write_text(text, encoding="utf-8")


def configurations(repository: Path, model: str, precision: Precision = "float32") -> list[Path]:
    """Every configuration of a model for one precision: the default one, then those of --model-config-name."""
    other = int8_config(repository, model)
    if precision == "int8":
        return [other]
    named = sorted(set((repository / model / "configs").glob("*.pbtxt")) - {other})
    return [repository / model / "config.pbtxt", *named]


def int8_config(repository: Path, model: str) -> Path:
    """Where a model's configuration for 8 bits lies."""
    return repository / model / "configs" / f"{INT8_CONFIG}.pbtxt"


def add_int8(repository: Path) -> None:
    """Writes the configurations for 8 bits, made of the default ones; `stamp` makes them fit the file.

    Raises RepositoryError when one of those is not there.
    """
    for model in EXPORTS[ModelMetadata].models:
        default, path = repository / model / "config.pbtxt", int8_config(repository, model)
        try:
            text = default.read_text(encoding="utf-8")
        except OSError as error:
            raise RepositoryError(f"{default} cannot be read: is {repository} a model repository?") from error
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{INT8_NOTE}{text}{INT8_PARAMETER}", encoding="utf-8")


def remove_int8(repository: Path) -> None:
    """Takes the 8-bit network out of a repository, if it is there."""
    model_path(repository, precision="int8").unlink(missing_ok=True)
    for model in EXPORTS[ModelMetadata].models:
        int8_config(repository, model).unlink(missing_ok=True)


def engine_folder(path: Path, model_provenance: str) -> str:
    """Where TensorRT keeps what it built of the model file at `path`: a folder for each version and each content.

    TensorRT's cache does not look at the weights: in one folder, a new version would be served with the engine of the
    old one (docs/decisions/0012). It is a single folder, as ONNX Runtime makes no parents.
    """
    return f"{ENGINES}/{path.parent.parent.name}-{path.parent.name}-{model_provenance.removeprefix('sha256:')}"


def _sized(metadata: Metadata) -> tuple[TensorSpec, ...]:
    """The tensors whose shapes depend on the network, its input first."""
    if isinstance(metadata, DetectorMetadata):
        return ()
    tensors = contract(metadata.codec)
    return tensors.crops, tensors.heatmaps, *tensors.outputs


def _stamped(path: Path, values: Mapping[str, str], tensors: tuple[TensorSpec, ...], engines: str) -> str:
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text = replace_parameter(text, key, value, path)
    for tensor in tensors:
        text = replace_dims(text, tensor)
    text = replace_option(text, "trt_engine_cache_path", engines)
    for key, shape in profile(tensors[0], max_batch_size(text, path)).items() if tensors else ():
        text = replace_option(text, key, shape)
    return text


def profile(tensor: TensorSpec, largest: int) -> dict[str, str]:
    """TensorRT's profile for batches of `tensor` from one to `largest`, tuned for that, as ONNX Runtime reads it."""
    batches = {"min": 1, "opt": largest, "max": largest}
    dims = "x".join(map(str, tensor.shape))
    return {f"trt_profile_{name}_shapes": f"{tensor.name}:{batch}x{dims}" for name, batch in batches.items()}


def max_batch_size(text: str, path: Path) -> int:
    """What the text of a configuration says. Raises RepositoryError; `path` is for the message alone."""
    found = re.search(r"^max_batch_size\s*:\s*(\d+)", text, re.MULTILINE)
    if found is None:
        raise RepositoryError(f"{path} must hold a line max_batch_size: N")
    return int(found[1])


def replace_option(text: str, key: str, value: str) -> str:
    """The text of a configuration with the double-quoted option `key` of an accelerator, if it is there, set."""
    option = rf"""(parameters\s*\{{\s*key:\s*"{re.escape(key)}"\s*value:\s*)"[^"\n]*\""""
    return re.sub(option, lambda match: f'{match[1]}"{value}"', text)


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
