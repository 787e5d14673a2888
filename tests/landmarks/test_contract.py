"""Metadata, tensors, golden crop, and what importing `landmarks` may load."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from landmarks.codec import CodecSpec
from landmarks.layout import PointLayout
from landmarks.metadata import MetadataError, ModelMetadata
from landmarks.size import Size
from landmarks.tensors import TensorSpec, contract
from landmarks.uncertainty import FaceScorer, Plausibility

METADATA = ModelMetadata(
    name="compact",
    codec=CodecSpec(covariance_scale=0.7),
    crop_scale=1.25,
    run_id="compact-0123",
    data=("faces300w",),
    golden_points=((1.5, 2.25), (3.0, 4.0)),
    degrees_of_freedom={"jaw": 4.6},
)


def test_importing_the_shared_truth_loads_no_server_no_torch_and_no_openvino() -> None:
    modules = (
        "codec, crop, decoders, detection, flip, golden, layout, metadata, repository, runtime, tensors, uncertainty"
    )
    forbidden = ("torch", "fastapi", "grpc", "tritonclient", "openvino", "pydantic")
    code = f"import sys\nfrom landmarks import {modules}\nprint([m for m in {forbidden} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_contract_of_the_default_codec() -> None:
    tensors = contract(CodecSpec())
    assert tensors.crops == TensorSpec("crops", "UINT8", (256, 256, 3))
    assert tensors.heatmaps == TensorSpec("heatmaps", "FP32", (98, 64, 64))
    assert tensors.outputs == (
        TensorSpec("points", "FP32", (98, 2)),
        TensorSpec("scores", "FP32", (98,)),
        TensorSpec("covariances", "FP32", (98, 2, 2)),
    )


def test_a_network_that_states_visibility_has_a_tensor_more() -> None:
    tensors, without = contract(CodecSpec(points=68), has_visibility=True), contract(CodecSpec(points=68))
    visibility = TensorSpec("visibility", "FP32", (68,))
    assert tensors.predicted == (*without.predicted, visibility)
    assert tensors.outputs == (*without.outputs, visibility)
    assert tensors.decoded == without.decoded == without.outputs


def test_golden_visibility_is_stated_for_every_point_or_not_at_all() -> None:
    assert not METADATA.has_visibility
    stated = replace(METADATA, golden_visibility=(0.25,) * 98)
    assert stated.has_visibility
    assert ModelMetadata.from_json(stated.to_json()) == stated
    with pytest.raises(MetadataError, match="golden visibility must be 98 numbers, or none"):
        replace(METADATA, golden_visibility=(0.25,))
    older = json.loads(METADATA.to_json())
    del older["golden_visibility"]
    assert ModelMetadata.from_json(json.dumps(older)) == METADATA


def test_the_contract_follows_the_codec() -> None:
    tensors = contract(CodecSpec(points=68, input_size=Size(width=96, height=128)))
    assert tensors.crops.shape == (128, 96, 3)
    assert tensors.heatmaps.shape == (68, 32, 24)


def test_metadata_comes_back_from_its_json() -> None:
    assert ModelMetadata.from_json(METADATA.to_json()) == METADATA


def test_different_metadata_differ_in_json() -> None:
    assert replace(METADATA, codec=CodecSpec(topk=4)).to_json() != METADATA.to_json()


@pytest.mark.parametrize("text", ["", "7", "{}", '{"name": "compact"}', "null"])
def test_metadata_of_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        ModelMetadata.from_json(text)


@pytest.mark.parametrize("wrong", [{"crop_scale": "x"}, {"crop_scale": -1}, {"name": 5}, {"codec": {"topk": 1.5}}])
def test_metadata_that_nothing_can_be_served_by_is_refused(wrong: dict[str, Any]) -> None:
    values = json.loads(METADATA.to_json())
    codec = {**values["codec"], **wrong.pop("codec", {})}
    with pytest.raises(MetadataError):
        ModelMetadata.from_json(json.dumps({**values, "codec": codec, **wrong}))


def test_metadata_that_states_no_tails_has_none() -> None:
    older = json.loads(METADATA.to_json())
    del older["degrees_of_freedom"]
    assert ModelMetadata.from_json(json.dumps(older)) == replace(METADATA, degrees_of_freedom={})


def test_metadata_states_which_faces_are_plausible_or_does_not() -> None:
    plausibility = Plausibility((0.25,) * 294, -1.5)
    stated = replace(METADATA, plausibility=plausibility)
    assert ModelMetadata.from_json(stated.to_json()) == stated
    assert stated.scorer == FaceScorer(METADATA.layout, plausibility)
    older = json.loads(METADATA.to_json())
    assert older.pop("plausibility") is None
    assert ModelMetadata.from_json(json.dumps(older)) == METADATA
    for spoilt in ({"weights": [1.0] * 98, "bias": 0.0}, {"weights": [1.0] * 294}, [1.0], {"weights": [], "bias": 0.0}):
        with pytest.raises(MetadataError):
            ModelMetadata.from_json(json.dumps({**older, "plausibility": spoilt}))


@pytest.mark.parametrize("freedom", [2.0, None, "many"])
def test_tails_without_a_covariance_are_refused(freedom: object) -> None:
    spoilt = {**json.loads(METADATA.to_json()), "degrees_of_freedom": {"jaw": freedom}}
    with pytest.raises(MetadataError):
        ModelMetadata.from_json(json.dumps(spoilt))


def test_metadata_states_its_layout_in_full() -> None:
    layout = PointLayout("two", ("right", "left"), (1, 0), {"b": (1,), "a": (0,)}, "box")
    stated = replace(METADATA, codec=CodecSpec(points=2), layout=layout)
    again = ModelMetadata.from_json(stated.to_json())
    assert again.layout == layout
    assert list(again.layout.groups) == ["b", "a"]


def test_older_metadata_states_its_layout_by_name() -> None:
    older = {**json.loads(METADATA.to_json()), "layout": "wflw98"}
    assert ModelMetadata.from_json(json.dumps(older)) == METADATA


@pytest.mark.parametrize("layout", ["ibug68", None, {"name": "wflw98"}])
def test_a_layout_that_is_not_described_is_refused(layout: object) -> None:
    with pytest.raises(MetadataError, match="layout"):
        ModelMetadata.from_json(json.dumps({**json.loads(METADATA.to_json()), "layout": layout}))


def test_codec_and_layout_have_as_many_points() -> None:
    with pytest.raises(MetadataError, match="68 points, but layout 'wflw98' has 98"):
        replace(METADATA, codec=CodecSpec(points=68))


def test_a_model_without_metadata_is_refused() -> None:
    with pytest.raises(MetadataError, match="landmarks-train export"):
        ModelMetadata.from_mapping({"other": "text"})


@pytest.mark.parametrize("values", [{"golden_scores": [0.5]}, {"golden_covariances": [[1.0, 0.0, 1.0]] * 98}])
def test_golden_scores_and_covariances_are_as_many_as_points_or_none(values: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match="golden scores and covariances must be 98 each, or none"):
        ModelMetadata.from_json(json.dumps({**json.loads(METADATA.to_json()), **values}))


def test_metadata_without_golden_scores_is_read() -> None:
    older = json.loads(METADATA.to_json())
    del older["golden_scores"], older["golden_covariances"]
    assert ModelMetadata.from_json(json.dumps(older)) == METADATA
