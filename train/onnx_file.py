"""A torch network -> an ONNX file that says what it is, put into a Triton model repository and stamped there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import torch
from torch import nn

from landmarks.repository import EXPORTS, Metadata, model_path, stamp

Axes = Mapping[str, Mapping[int, str]]
"""Of each tensor, the axes of any length, by name."""


def write_onnx(
    model: nn.Module, example: torch.Tensor, axes: Axes, outputs: tuple[str, ...], metadata: Metadata, path: Path
) -> None:
    """The network as an ONNX file with its metadata stamped in. `axes` names the input and every output."""
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
    exported = onnx.load(path)
    onnx.helper.set_model_props(exported, {EXPORTS[type(metadata)].key: metadata.to_json()})
    onnx.checker.check_model(exported)
    onnx.save(exported, path)


def install(repository: Path, metadata: Metadata, write: Callable[[Path], None]) -> None:
    """Puts what `write` leaves at the path it is given into the repository, and stamps the configurations for it.

    Whatever `write` raises leaves the repository as it was. Raises RepositoryError when it cannot be stamped.
    """
    target = model_path(repository, kind=type(metadata))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    try:
        write(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    stamp(repository, metadata)
