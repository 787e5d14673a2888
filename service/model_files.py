"""Where the files of the models are: the model repository, and the network in it."""

from __future__ import annotations

from pathlib import Path

from landmarks.repository import model_path
from landmarks.tensors import HEATMAP_MODEL, Precision
from service.errors import StartError
from service.settings import Settings


def model_repository(settings: Settings) -> Path:
    """The folder that Triton loads. Raises StartError where there is none."""
    candidates = [settings.model_repository] if settings.model_repository else [
        Path(__file__).resolve().parent.parent / "model_repo",
        Path.cwd() / "model_repo",
    ]  # fmt: skip
    for folder in candidates:
        if (folder / HEATMAP_MODEL).is_dir():
            return folder
    places = " or ".join(str(folder) for folder in candidates)
    raise StartError(f"no model repository at {places}: set LANDMARKS_MODEL_REPOSITORY to the project's model_repo")


def model_file(repository: Path, precision: Precision) -> Path:
    """The file of the landmark network. Raises StartError where there is none."""
    path = model_path(repository, precision=precision)
    if not path.is_file():
        remedy = "export it with landmarks-train export"
        if precision == "int8":
            remedy = "make it with landmarks-train quantize, or leave LANDMARKS_PRECISION out"
        raise StartError(f"no {path}: {remedy}")
    return path
