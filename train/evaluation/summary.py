"""The figures of an evaluation, by decoder, normalisation, subset and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from landmarks.layout import Norm, PointLayout
from train.datasets.layouts import COCO17, MPII16
from train.evaluation.metrics import auroc, oks, pckh
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName
from train.evaluation.regressor import REGRESSOR


def summary(
    predictions: Predictions, decoders: Sequence[DecoderName], served: int, freedom: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The figures of an evaluation as JSON has them.

    By decoder: NME, FR and AUC; for the served k and for decoders by name, also by normalisation, subset and group.
    For the served k: the coverage of its covariances, with the degrees of freedom of the errors by group (`freedom`),
    the AUROC of the face's score as a classifier of failures, and how well the visibility of points agrees with what is
    seen.
    """
    visibility = predictions.visibility(served)
    named = [name for name in decoders if isinstance(name, str)]
    return {
        "faces": len(predictions.truth),
        "boxes": predictions.boxes,
        "flip_averaged": predictions.flip or False,
        "normalised_by": predictions.layout.norm,
        "by_k": {str(k): asdict(predictions.report(k)) for k in decoders if isinstance(k, int)},
        **details(predictions, served),
        "by_decoder": {name: asdict(predictions.report(name)) | details(predictions, name) for name in named},
        "coverage": predictions.coverage(served, freedom or {}),
        "auroc": auroc(predictions.scores(served), predictions.failures(served)),
        "visibility": visibility and asdict(visibility),
    }


def regressor_summary(predictions: Predictions) -> dict[str, Any]:
    """The figures of networks of coordinates (`train.evaluation.regressor`), which state no covariances."""
    return {
        "faces": len(predictions.truth),
        "boxes": predictions.boxes,
        "normalised_by": predictions.layout.norm,
        REGRESSOR: asdict(predictions.report(REGRESSOR)) | details(predictions, REGRESSOR),
    }


def details(predictions: Predictions, k: DecoderName) -> dict[str, Any]:
    """The figures of one decoder by normalisation, subset and group, and those for bodies."""
    return {
        "by_norm": {norm: asdict(predictions.report(k, norm)) for norm in norms(predictions.layout)},
        "by_subset": {name: asdict(figures) for name, figures in predictions.by_subset(k).items()},
        "by_subset_tight_box": {name: each.nme for name, each in predictions.by_subset(k, "tight_box").items()},
        "hand_placed": predictions.hand_placed(k),
        "by_group": predictions.by_group(k),
        **body_figures(predictions, k),
    }


def norms(layout: PointLayout) -> list[Norm]:
    """The lengths by which a layout's errors can be divided, its own first."""
    others: list[Norm] = ["box", "tight_box"]
    others += ["inter_ocular"] if layout.outer_eye_corners else []
    others += ["inter_pupil"] if layout.pupils else []
    return [layout.norm, *(norm for norm in others if norm != layout.norm)]


def body_figures(predictions: Predictions, k: DecoderName) -> dict[str, Any]:
    """PCKh for the joints of MPII, the mean keypoint similarity for those of COCO; nothing for faces."""
    if predictions.layout == MPII16:
        return {"pckh": {str(share): pckh(predictions.errors(k), share) for share in (0.5, 0.1)}}
    if predictions.layout == COCO17:
        return {"mean_oks": float(oks(predictions.errors(k)).mean())}
    return {}
