"""Weights that others published: into a run's folder, to evaluate and export, or into a model, to train from.

Two layouts are known, both with the published HRNet's parameter names:

- the landmark models released with "Heatmap Regression via Randomized Rounding": `backbone.<name>` and
  `heatmap_head.head.layers.<n>`, which is `head.<n>` here;
- HRNet classifiers trained on ImageNet: `<name>`, and a classification head that is left behind.

A `module.` prefix, as several GPUs leave it, is dropped. A run's own `checkpoint.pt` is read as well:
its averaged weights, where it has them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from train.config import Config, Stage
from train.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from landmarks.layout import PointLayout

Weights = dict[str, "Tensor"]

CLASSIFIER: Final = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
"""Parts of a published classifier that a landmark network has no use for."""
HEAD: Final = "head."
"""The part that a published classifier lacks."""
INNER: Final = "network."
TILT: Final = "tilt."
"""Parts of a network with the layer that `fit-shape` solves: the network that it was solved for, and the layer."""
COUNTER: Final = "num_batches_tracked"
"""A buffer of batch normalisation that older files lack, and that inference does not read."""
LISTED: Final = 6
"""Names that an error message lists of each kind."""


# ---------------------------------------------------------------- files


def read_file(path: Path) -> Any:
    """What a PyTorch file holds, on the CPU. Nothing but tensors and plain values is unpickled.

    Raises TrainingError when it is not one, or is torn.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever its bytes provoke in the unpickler
        raise TrainingError(
            f"{path}: not a PyTorch file of weights (is it whole, and not a Git LFS pointer?)"
        ) from error


def read_weights(path: Path) -> Weights:
    """A file's tensors by this project's parameter names, on the CPU. Raises TrainingError when it holds no weights."""
    import torch

    content = read_file(path)
    for key in ("state_dict", "averaged", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(map(torch.is_tensor, content.values())):
        raise TrainingError(f"{path}: expected parameters by name, or a dictionary with them under 'state_dict'")
    return {canonical_name(str(name)): value for name, value in content.items()}


def canonical_name(name: str) -> str:
    """A published parameter's name -> the name it has here."""
    while name.startswith("module."):
        name = name.removeprefix("module.")
    if name.startswith("heatmap_head.head.layers."):
        return HEAD + name.removeprefix("heatmap_head.head.layers.")
    return name.removeprefix("backbone.")


def load_weights(model: nn.Module, path: Path) -> str:
    """Starts a model from a file's weights; of a file without a landmark head the model's own head stays, and the
    layer of `train.backbones.refinement` stays behind where the model has none.

    Returns the file's name and hash, for the run's description.

    Residual blocks that the file lacks stay fresh, which changes nothing: a deeper network starts where one with fewer
    of them stood. Raises TrainingError, with names and shapes, unless the file and the model agree in everything else.
    """
    _assign(model, read_weights(path), path, fresh_head=True)
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _assign(model: nn.Module, weights: Weights, path: Path, fresh_head: bool) -> None:
    wanted = model.state_dict()
    given = {name: value for name, value in weights.items() if not name.startswith(CLASSIFIER)}
    if any(name.startswith(TILT) for name in given) and not any(name.startswith(TILT) for name in wanted):
        # the layer is solved anew for what the network becomes
        given = {name.removeprefix(INNER): value for name, value in given.items() if not name.startswith(TILT)}
    headless = not any(name.startswith(HEAD) for name in given)
    added = _added_blocks(model, given)
    for name, value in wanted.items():
        if name.endswith(COUNTER) or (fresh_head and headless and name.startswith(HEAD)) or name.startswith(added):
            given.setdefault(name, value)
    problems = differences(wanted, given)
    if problems:
        raise TrainingError(f"{path} does not fit the network: {'; '.join(problems)}")
    model.load_state_dict(given)


def _added_blocks(model: nn.Module, given: Weights) -> tuple[str, ...]:
    """Prefixes of the residual blocks of which a file has nothing."""
    from train.backbones.compact import Residual

    blocks = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Residual))
    return tuple(block for block in blocks if not any(name.startswith(block) for name in given))


def differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps `given` from being loaded as `wanted`, in words: empty when nothing does."""
    missing = [f"{name} {list(wanted[name].shape)}" for name in wanted if name not in given]
    unexpected = [f"{name} {list(given[name].shape)}" for name in given if name not in wanted]
    reshaped = [
        f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return [f"{kind}: {_shortened(names)}" for kind, names in kinds.items() if names]


def _shortened(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


# ---------------------------------------------------------------- a released landmark model as a finished run

RELEASED: Final[Mapping[int, str]] = {98: "wflw", 68: "300w"}
"""The data set that a released model was trained on, by its points."""


def released_model(weights: Mapping[str, Tensor], path: Path) -> tuple[str, str]:
    """The backbone that the weights are of and the data set they were trained on, both told by shapes.

    Raises TrainingError when they are not of an HRNet with a head for one of those sets.
    """
    first, last = weights.get("stage2.0.branches.0.0.conv1.weight"), weights.get(HEAD + "3.weight")
    if first is None or first.ndim == 0:
        raise TrainingError(f"{path}: not an HRNet; it holds {_shortened(sorted(weights))}")
    if last is None or last.ndim == 0:
        raise TrainingError(f"{path}: an HRNet without a landmark head; to train from it, give it to fit --weights")
    # a background and a foreground map per point
    points = len(last) // 2
    if points not in RELEASED:
        raise TrainingError(f"{path}: a head of {points} points; known are {', '.join(map(str, RELEASED))}")
    return f"hrnet_w{len(first)}", RELEASED[points]


def imported_config(name: str, input_size: int) -> Config:
    """The configuration that released models are run with: their pixel rule is u = x / 4, their crops 1.25 boxes.

    Raises ConfigError for an unusable size.
    """
    # how long they were trained is not published, and nothing here depends on it
    try:
        stages = (Stage(epochs=1, input_size=input_size),)
    except ValidationError as error:
        raise ConfigError(f"--input-size {input_size}: {error.errors()[0]['msg']}") from error
    return Config(name=name, stages=stages, pixel_rule="corner", crop_scale=1.25, topk=9)


def import_checkpoint(path: Path, folder: Path, input_size: int = 256) -> Config:
    """Writes a released landmark model as a finished run into a folder that has none; its covariance is uncalibrated.

    Raises TrainingError when the file is not one of the released HRNet models, or the folder already holds a run.
    """
    from train.backbones import build
    from train.datasets.registry import FORMATS
    from train.engine.learner import check_free

    check_free(folder)
    weights = read_weights(path)
    backbone, data = released_model(weights, path)
    config, layout = imported_config(backbone, input_size), FORMATS[data].layout
    model = build(config.name, layout.points)
    _assign(model, weights, path, fresh_head=False)
    write_finished(folder, config, layout, model.state_dict(), path, [data])
    return config


def write_finished(
    folder: Path, config: Config, layout: PointLayout, weights: Weights, path: Path, data: Sequence[str]
) -> None:
    """A folder like that of a run that has come to its end, of weights that `path` holds."""
    from train.engine.learner import CHECKPOINT_FILE, write_checkpoint
    from train.runs.record import DESCRIPTION_FILE, REPORT_FILE

    folder.mkdir(parents=True, exist_ok=True)
    values = config.model_dump(mode="json")
    write_checkpoint(folder / CHECKPOINT_FILE, {"config": values, "epoch": config.epochs, "model": weights})
    write_json(folder / "config.json", values)
    write_json(folder / DESCRIPTION_FILE, {**origin(path), "data": list(data), "layout": layout.name})
    write_json(folder / REPORT_FILE, {"faces": 0, "by_k": {}})


def origin(path: Path) -> dict[str, Any]:
    """Whence an imported run's weights come."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"run_id": f"imported-{digest[:12]}", "weights": path.name, "sha256": digest}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Indented, with a last newline."""
    path.write_text(json.dumps(values, indent=2) + "\n")
