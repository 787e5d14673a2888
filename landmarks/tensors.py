"""The Triton contract: the models, and the name, shape and dtype of every tensor, derived from a CodecSpec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from landmarks.codec import CodecSpec

HEATMAP_MODEL: Final = "heatmap"
DECODE_MODEL: Final = "decode"
ENSEMBLE_MODEL: Final = "landmarks"
DETECTOR_MODEL: Final = "detector"

TOPK_PARAMETER: Final = "topk"
DECODER_PARAMETER: Final = "decoder"
"""Request parameters that reach the model `decode` through the ensemble: see `CodecSpec.choose_decoder`."""

Precision: TypeAlias = Literal["float32", "int8"]
"""What a landmark network computes in."""

DType = Literal["UINT8", "FP32", "FP64", "BOOL", "STRING"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the contract; `shape` leaves out the leading batch axis, and -1 is any length."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


IMAGE: Final = TensorSpec("image", "UINT8", (-1, -1, 3))
"""Input of the detector: RGB [H, W, 3], one image per request."""
MAX_DETECTION_SIDE: Final = 2048
"""Pixels. The detector reduces an image with a longer side to this size first."""
BOXES: Final = TensorSpec("boxes", "FP64", (-1, 4))
"""The faces that it finds, best first: xyxy in the image's pixels."""
BOX_SCORES: Final = TensorSpec("scores", "FP64", (-1,))
"""In [0, 1], a score for each box."""

DESCRIBE: Final = TensorSpec("describe", "BOOL", (1,))
"""Optional input of `decode` and `detector`. A request with it, alone, is answered with METADATA alone."""
METADATA: Final = TensorSpec("metadata", "STRING", (1,))
"""The metadata of the model file that is served, as JSON: `ModelMetadata` or `DetectorMetadata`."""


@dataclass(frozen=True)
class Contract:
    """Every tensor of the three models for one codec."""

    crops: TensorSpec
    heatmaps: TensorSpec
    points: TensorSpec
    scores: TensorSpec
    covariances: TensorSpec
    visibility: TensorSpec | None
    """None where the network does not state it."""

    @property
    def decoded(self) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
        """What `decode` makes of heatmaps."""
        return self.points, self.scores, self.covariances

    @property
    def predicted(self) -> tuple[TensorSpec, ...]:
        """What `heatmap` makes of crops."""
        return self.heatmaps, *self._visibility

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the ensemble answers with."""
        return *self.decoded, *self._visibility

    @property
    def _visibility(self) -> tuple[TensorSpec, ...]:
        return () if self.visibility is None else (self.visibility,)


VISIBILITY: Final = "visibility"
"""Name of the tensor that only some networks have."""


def contract(spec: CodecSpec, has_visibility: bool = False) -> Contract:
    """The tensors of the models that serve `spec`. `has_visibility`: see `ModelMetadata.has_visibility`."""
    return Contract(
        # RGB bytes; the network normalises them itself, so that bytes cross the wire
        crops=TensorSpec("crops", "UINT8", (spec.input_size.height, spec.input_size.width, 3)),
        # logits
        heatmaps=TensorSpec("heatmaps", "FP32", spec.heatmap_shape),
        # crop pixels
        points=TensorSpec("points", "FP32", (spec.points, 2)),
        # in [0, 1]
        scores=TensorSpec("scores", "FP32", (spec.points,)),
        # crop pixels squared
        covariances=TensorSpec("covariances", "FP32", (spec.points, 2, 2)),
        # probabilities
        visibility=TensorSpec(VISIBILITY, "FP32", (spec.points,)) if has_visibility else None,
    )
