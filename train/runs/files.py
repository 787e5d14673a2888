"""The files of a run: read with an error that the user understands, and written completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from train.errors import TrainingError


def read_torch_file(path: Path) -> Any:
    """What a PyTorch file holds, on the CPU. Nothing but tensors and plain values is unpickled.

    Raises TrainingError when it is not a PyTorch file, or is incomplete.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever its bytes provoke in the unpickler
        raise TrainingError(
            f"{path}: not a PyTorch file of weights (is it complete, and not a Git LFS pointer?)"
        ) from error


def write_torch_file(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a PyTorch file. If that is interrupted, the path keeps the file it had."""
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes indented JSON with a newline at the end."""
    path.write_text(json.dumps(values, indent=2) + "\n")
