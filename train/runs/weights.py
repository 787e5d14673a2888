"""Published weights: imported as a run, to evaluate and export, or loaded into a model, to start training from.

Three kinds of files are known, with the published parameter names of HRNet, MobileNetV2 or ResNet:

- the landmark models released with "Heatmap Regression via Randomized Rounding": `backbone.<name>` and
  `heatmap_head.head.layers.<n>`, which is `head.<n>` here;
- the pose networks released with HRNet's code: `<name>`;
- classifiers trained on ImageNet: `<name>`, and a classification head that is not loaded.

A prefix `module.`, which training on several GPUs adds, is removed. The `checkpoint.pt` of a run is read as well, with
its averaged weights where it has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from landmarks.size import DEFAULT_SIZE, Size
from train.backbones import build
from train.backbones.compact import Residual
from train.backbones.pose import RESNETS, PoseNetwork
from train.backbones.released import ReleasedNetwork
from train.config import Config, Stage, load_config
from train.datasets.face import BoxKind
from train.datasets.registry import FORMATS
from train.errors import ConfigError, TrainingError
from train.runs.files import read_torch_file
from train.runs.folder import require_no_run, write_finished_run

Weights = dict[str, Tensor]

HEAD: Final = "head."
"""Prefix of the parameters that a published classifier lacks."""
CLASSES: Final = ("classifier.", "fc.")
"""Prefixes of the last layer of a classifier."""
NETWORK: Final = "network."
TILT: Final = "tilt."
VISIBILITY: Final = "visibility."
"""Prefixes of the parameters of a network with the layers of `train.backbones.refinement`: of the network that these
were fitted to, and of each layer."""
COUNTER: Final = "num_batches_tracked"
"""A buffer of batch normalisation that older files lack, and that inference does not read."""
MAX_LISTED: Final = 6
"""Largest number of names of a kind that an error message lists."""


# ---------------------------------------------------------------- files


def read_weights(path: Path) -> Weights:
    """A file's tensors by this project's parameter names, on the CPU. Raises TrainingError when it holds no weights."""
    content = read_torch_file(path)
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
    """Loads a file's weights into a model to start training from; returns the file's name and hash.

    The model keeps its own head where the file has none, and the layers of `train.backbones.refinement` are not loaded
    into a model without them. Residual blocks that the file lacks keep their initial weights, with which a block is the
    identity: a deeper network starts with the function of the shallower one. Raises TrainingError, with names and
    shapes, unless the file and the model agree in everything else.
    """
    _assign(model, read_weights(path), path, fresh_head=True)
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _assign(model: nn.Module, weights: Weights, path: Path, fresh_head: bool) -> None:
    wanted = model.state_dict()
    dropped, head = _published_prefixes(model)
    if fresh_head and any(name.startswith(CLASSES) for name in weights):
        dropped = (*dropped, *head)  # a classifier's layers of these names are others
    given = {name: value for name, value in weights.items() if not name.startswith(dropped)}
    if any(name.startswith(TILT) for name in given) and not any(name.startswith(TILT) for name in wanted):
        # the layers have to be fitted again to the network that is trained now
        fitted = (TILT, VISIBILITY)
        given = {name.removeprefix(NETWORK): value for name, value in given.items() if not name.startswith(fitted)}
    if not any(name.startswith(VISIBILITY) for name in wanted):
        given = {name: value for name, value in given.items() if not name.startswith(VISIBILITY)}
    headless = not any(name.startswith(head) for name in given)
    added = _added_blocks(model, given)
    for name, value in wanted.items():
        if name.endswith(COUNTER) or (fresh_head and headless and name.startswith(head)) or name.startswith(added):
            given.setdefault(name, value)
    problems = differences(wanted, given)
    if problems:
        raise TrainingError(f"{path} does not fit the network: {'; '.join(problems)}")
    model.load_state_dict(given)


def _published_prefixes(model: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Prefixes of the parameters of a published classifier that a model lacks, and of those that it has besides."""
    if isinstance(model, PoseNetwork):
        return model.CLASSIFIER, model.HEAD
    return model.CLASSIFIER if isinstance(model, ReleasedNetwork) else (), (HEAD,)


def _added_blocks(model: nn.Module, given: Weights) -> tuple[str, ...]:
    """Prefixes of the residual blocks of which a file has no parameter."""
    blocks = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Residual))
    return tuple(block for block in blocks if not any(name.startswith(block) for name in given))


def differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The reasons, for a message, why `given` cannot be loaded as `wanted`; empty when it can."""
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
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


# ---------------------------------------------------------------- a released landmark model as a finished run

RELEASED: Final[Mapping[int, str]] = {98: "wflw", 68: "300w"}
RELEASED_POSES: Final[Mapping[int, str]] = {16: "mpii", 17: "coco"}
"""The data set that a released model was trained on, by its number of points."""


def released_model(weights: Mapping[str, Tensor], path: Path) -> tuple[str, str]:
    """The name of the backbone and of the data set that the weights were trained on, by the shapes of the weights.

    Raises TrainingError when they are not of a known network with a head for one of those sets.
    """
    if "final_layer.weight" in weights and not any(name.startswith(CLASSES) for name in weights):
        return released_pose_network(weights, path)
    first, last = weights.get("stage2.0.branches.0.0.conv1.weight"), weights.get(HEAD + "3.weight")
    mobile = "features.0.0.weight" in weights
    if not mobile and (first is None or first.ndim == 0):
        raise TrainingError(f"{path}: neither an HRNet nor a MobileNetV2; it holds {_shortened(sorted(weights))}")
    if last is None or last.ndim == 0:
        raise TrainingError(f"{path}: a network without a landmark head; to train from it, give it to fit --weights")
    # a background and a foreground map per point
    points = len(last) // 2
    if points not in RELEASED:
        raise TrainingError(f"{path}: a head of {points} points; known are {', '.join(map(str, RELEASED))}")
    return "mobilenet_v2" if first is None else f"hrnet_w{len(first)}", RELEASED[points]


def released_pose_network(weights: Mapping[str, Tensor], path: Path) -> tuple[str, str]:
    """As `released_model`, of a pose network. Raises TrainingError when it is not a known one."""
    points = len(weights["final_layer.weight"])
    depth = 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("layer3.")), default=-1)
    first = weights.get("stage2.0.branches.0.0.conv1.weight")
    names = {blocks[2]: name for name, blocks in RESNETS.items()}
    if points not in RELEASED_POSES or (first is None and depth not in names):
        raise TrainingError(
            f"{path}: not a known pose network: it has {points} points, known are 16 and 17, and HRNet or ResNet"
        )
    return names[depth] if first is None else f"pose_hrnet_w{len(first)}", RELEASED_POSES[points]


def imported_config(name: str, data: str, input_size: Size | None = None, boxes: BoxKind = "P2") -> Config:
    """The configuration that released models are run with: their pixel rule is u = x / 4, their crops 1.25 boxes.

    That of a pose network is `hrnet_pose`, or of one of COCO `hrnet_pose_coco`. `input_size`: None for that of the
    recipe, which is 256 pixels for faces. Raises ConfigError for an unusable size.
    """
    recipe = None
    if name.startswith("pose_"):
        recipe = load_config(Config, "hrnet_pose_coco" if data == "coco" else "hrnet_pose")
    size = input_size or (recipe.stages[-1].input_size if recipe else DEFAULT_SIZE)
    # how long they were trained is not published, and nothing here depends on it
    try:
        stages = (Stage(epochs=1, input_size=size),)
    except ValidationError as error:
        raise ConfigError(f"--input-size {size}: {error.errors()[0]['msg']}") from error
    if recipe:
        return recipe.model_copy(update={"name": name, "stages": stages, "milestones": (), "boxes": boxes})
    return Config(name=name, stages=stages, pixel_rule="corner", crop_scale=1.25, topk=9, boxes=boxes)


def import_checkpoint(path: Path, folder: Path, input_size: Size | None = None, boxes: BoxKind = "P2") -> Config:
    """Writes a released landmark model into a folder as a finished run, whose covariances are not calibrated.

    `input_size`: None for the size that such models were released with. `boxes`: the kind that it was trained about,
    which the name of its release states.
    Raises TrainingError when the file is not one of the released models, or the folder already holds a run.
    """
    require_no_run(folder)
    weights = read_weights(path)
    backbone, data = released_model(weights, path)
    config, layout = imported_config(backbone, data, input_size, boxes), FORMATS[data].layout
    model = build(config.name, layout.points)
    _assign(model, weights, path, fresh_head=False)
    write_finished_run(folder, config, layout, model.state_dict(), path, [data])
    return config
