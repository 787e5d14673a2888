from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from landmarks.detection import DetectorMetadata
from landmarks.repository import check_stamp, model_path
from landmarks.runtime import identify
from landmarks.tensors import BOX_SCORES, BOXES, PICTURE, TensorSpec, contract


def read(repository: Path, name: str) -> model_config_pb2.ModelConfig:
    text = (repository / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def declared(tensors: "list[model_config_pb2.ModelInput]") -> list[tuple[str, str, tuple[int, ...]]]:
    return [(t.name, model_config_pb2.DataType.Name(t.data_type), tuple(t.dims)) for t in tensors]


def promised(*tensors: TensorSpec) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(t.name, f"TYPE_{t.dtype}", t.shape) for t in tensors]


def test_configurations_declare_the_contract(model_repository: Path) -> None:
    tensors = contract(identify(model_path(model_repository))[0].codec)
    expected = {
        "heatmap": ([tensors.crops], [tensors.heatmaps]),
        "decode": ([tensors.heatmaps], list(tensors.outputs)),
        "landmarks": ([tensors.crops], list(tensors.outputs)),
        "detector": ([PICTURE], [BOXES, BOX_SCORES]),
    }
    for name, (inputs, outputs) in expected.items():
        config = read(model_repository, name)
        assert declared(list(config.input)) == promised(*inputs)
        assert declared(list(config.output)) == promised(*outputs)


@pytest.mark.parametrize("name", ["heatmap", "decode", "landmarks"])
def test_configurations_are_stamped_for_the_shipped_model(model_repository: Path, name: str) -> None:
    config = read(model_repository, name)
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    check_stamp(parameters, *identify(model_path(model_repository)))


def test_the_detectors_configuration_is_stamped_for_the_shipped_detector(model_repository: Path) -> None:
    config = read(model_repository, "detector")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    check_stamp(parameters, *identify(model_path(model_repository, kind=DetectorMetadata), DetectorMetadata))


def test_the_detector_is_small(model_repository: Path) -> None:
    assert model_path(model_repository, kind=DetectorMetadata).stat().st_size <= 1.5e6


@pytest.mark.parametrize("name", ["heatmap", "decode", "detector"])
def test_queues_refuse_what_they_cannot_hold(model_repository: Path, name: str) -> None:
    config = read(model_repository, name)
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size == 64
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override
    assert policy.default_timeout_microseconds == 30_000_000  # without one, Triton heeds no request's own
    assert [warmup.batch_size for warmup in config.model_warmup] == [1]
    assert [group.count for group in config.instance_group] == [1]


def test_a_request_to_the_detector_is_one_picture(model_repository: Path) -> None:
    assert read(model_repository, "detector").max_batch_size == 1


def test_one_batch_size_for_all_three(model_repository: Path) -> None:
    assert {read(model_repository, name).max_batch_size for name in ("heatmap", "decode", "landmarks")} == {8}


@pytest.mark.parametrize("name", ["heatmap", "decode", "detector"])
def test_models_stay_a_page_long(model_repository: Path, name: str) -> None:
    assert len((model_repository / name / "1/model.py").read_text(encoding="utf-8").splitlines()) <= 60
