"""The commands of `landmarks-train`: a module each, of which only the chosen one is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COMMANDS: Final[Mapping[str, str]] = {
    "fit": "train a network; Ctrl-C stops it, --resume continues",
    "evaluate": "figures of a run or of an exported model, as JSON",
    "predict": "what other networks find on a data set, as labels to learn from",
    "export": "write a finished run into a Triton model repository",
    "fit-shape": "add a last layer that corrects each point from the positions of the others",
    "fit-visibility": "add a layer that states which points are seen, and which are hidden",
    "calibrate": "fit the covariances of a run to its errors, before an export",
    "fit-conversion": "fit the conversion of 300-W's 68 points to WFLW's 98",
    "convert-points": "a data set with its points converted to those of WFLW",
    "import-checkpoint": "make a run of a model released with the paper's or with HRNet's code",
    "import-onnx": "make a run of an exported network, to train it further",
    "quantize": "an 8-bit version of an exported network, for CPUs",
    "report-faces": "the error by pose, place in the frame, eyes, mouth and hidden points",
    "robustness": "the error against rotation, size, blur, JPEG, occlusion, boxes",
    "table": "one of the paper's tables, on your data, beside the paper's figures",
    "figure": "one of the paper's figures, on your data",
    "gather-pictures": "a data set of pictures without people, for a face detector to learn from and to be tested on",
    "complete-boxes": "a data set with the boxes of faces that nobody annotated, as a YuNet detector finds them",
    "mine-detector": "the places in pictures without people that a detector takes for faces, to train on",
    "fit-detector": "train a face detector; Ctrl-C stops it, --resume continues",
    "calibrate-detector": "choose a run's threshold on all training images",
    "evaluate-detector": "recall and false boxes of a run or a model, as JSON",
    "export-detector": "write a finished run's detector into a model repository",
    "synthesize-poses": "faces in large poses, from a 3-D face model: a data set in the format of faces300w",
}
"""Each command's one-line summary. The command `fit-shape` is the module `train.commands.fit_shape`."""

ALIASES: Final[Mapping[str, str]] = {"reopen": "import-onnx", "fit-lift": "fit-conversion", "turn": "synthesize-poses"}
"""Other names of commands."""
