"""ONNX files with metadata: exporting a network, opening a file, and installing it in a Triton model repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn

from landmarks.repository import MODEL_KINDS, Metadata, RepositoryError, model_path, stamp
from landmarks.tensors import Precision
from train.errors import TrainingError

Axes = Mapping[str, Mapping[int, str]]
"""For each tensor, the axes of variable length and their names."""


def write_onnx(
    model: nn.Module, example: torch.Tensor, axes: Axes, outputs: tuple[str, ...], metadata: Metadata, path: Path
) -> None:
    """Exports a network as an ONNX file with its metadata. The keys of `axes` name the input and all outputs."""
    (name,) = set(axes) - set(outputs)
    torch.onnx.export(
        model,
        (example,),
        str(path),
        input_names=[name],
        output_names=list(outputs),
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    save_with_metadata(onnx.load(path), metadata, path)


def save_with_metadata(model: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    """Writes a model with its metadata."""
    onnx.helper.set_model_props(model, {MODEL_KINDS[type(metadata)].key: metadata.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Opens an exported file in ONNX Runtime, on the CPU. Raises TrainingError when it cannot be run."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; give the model.onnx that an export wrote")
    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no base class of its own
        raise TrainingError(f"{path}: not an ONNX file that can be run ({error})") from error


def install(
    repository: Path, metadata: Metadata, write: Callable[[Path], None], precision: Precision = "float32"
) -> None:
    """Installs the file that `write` writes at a path in the repository, and stamps the configurations with its hash.

    After any exception the repository has the model that it had before. Raises RepositoryError when a configuration
    cannot be stamped.
    """
    target = model_path(repository, kind=type(metadata), precision=precision)
    config = target.parents[1] / "config.pbtxt"
    if not config.is_file():
        raise RepositoryError(f"{config} is missing: is {repository} a model repository?")
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_suffix(".tmp")
    try:
        write(temporary)
        with _replaced(target, temporary):
            stamp(repository, metadata, precision)
    finally:
        temporary.unlink(missing_ok=True)


def rewrite_metadata(repository: Path, metadata: Metadata, precision: Precision = "float32") -> None:
    """Replaces the metadata of a repository's model file, and stamps the configurations with its new hash.

    Raises RepositoryError when a configuration cannot be stamped.
    """
    model = onnx.load(model_path(repository, kind=type(metadata), precision=precision))
    install(repository, metadata, lambda path: save_with_metadata(model, metadata, path), precision)


@contextmanager
def _replaced(target: Path, by: Path) -> Iterator[None]:
    """A context in which the file `by` has replaced `target`. An exception restores the former state."""
    before = target.read_bytes() if target.is_file() else None
    by.replace(target)
    try:
        yield
    except BaseException:
        if before is None:
            target.unlink()
        else:
            target.write_bytes(before)
        raise
