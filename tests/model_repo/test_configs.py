import hashlib
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from landmarks.detector import DetectorMetadata
from landmarks.repository import ENGINES, check_release, check_stamp, configurations, model_path
from landmarks.runtime import DetectorNetwork, identify
from landmarks.tensors import BOX_SCORES, BOXES, DESCRIBE, IMAGE, METADATA, TensorSpec, contract
from tests.conftest import ROOT

GPU = "configs/gpu.pbtxt"
INT8 = "configs/int8.pbtxt"
FOR_GPUS = ("heatmap", "decode")
"""The models that have a configuration of their own for GPUs; the others fall back to the default one."""


def read(repository: Path, name: str, file: str = "config.pbtxt") -> model_config_pb2.ModelConfig:
    text = (repository / name / file).read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def stamped(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def declared(tensors: "list[model_config_pb2.ModelInput]") -> list[tuple[str, str, tuple[int, ...]]]:
    return [(t.name, model_config_pb2.DataType.Name(t.data_type), tuple(t.dims)) for t in tensors]


def promised(*tensors: TensorSpec) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(t.name, f"TYPE_{t.dtype}", t.shape) for t in tensors]


def test_configurations_declare_the_contract(model_repository: Path) -> None:
    metadata = identify(model_path(model_repository))[0]
    tensors = contract(metadata.codec, metadata.has_visibility)
    assert tensors.visibility is not None
    expected = {
        "heatmap": ([tensors.crops], [tensors.heatmaps, tensors.visibility]),
        "decode": ([tensors.heatmaps, DESCRIBE], [tensors.points, tensors.scores, tensors.covariances, METADATA]),
        "landmarks": ([tensors.crops], list(tensors.outputs)),
        "detector": ([IMAGE, DESCRIBE], [BOXES, BOX_SCORES, METADATA]),
    }
    for name, (inputs, outputs) in expected.items():
        config = read(model_repository, name)
        assert declared(list(config.input)) == promised(*inputs)
        assert declared(list(config.output)) == promised(*outputs)
        # either of two inputs suffices
        assert {tensor.optional for tensor in config.input} == {len(inputs) > 1}


def test_configurations_carry_a_hash_instead_of_the_metadata(model_repository: Path) -> None:
    paths = [*model_repository.glob("*/config.pbtxt"), *model_repository.glob("*/configs/*.pbtxt")]
    assert len(paths) == 9
    for path in paths:
        parameters = stamped(text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig()))
        precision = {"landmarks_precision"} if path.name == "int8.pbtxt" else set()
        assert set(parameters) - {"FORCE_CPU_ONLY_INPUT_TENSORS"} == {"landmarks_provenance"} | precision
    check_release(model_repository)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, "config.pbtxt") for name in ("heatmap", "decode", "landmarks")] + [(n, GPU) for n in FOR_GPUS],
)
def test_configurations_are_stamped_for_the_shipped_model(model_repository: Path, name: str, file: str) -> None:
    check_stamp(stamped(read(model_repository, name, file)), *identify(model_path(model_repository)))


@pytest.mark.parametrize("name", ["heatmap", "decode", "landmarks"])
def test_the_8_bit_network_is_served_as_the_other_is(model_repository: Path, name: str) -> None:
    network = identify(model_path(model_repository, precision="int8"))
    config, plain = read(model_repository, name, INT8), read(model_repository, name)
    check_stamp(stamped(config), *network)
    assert config.parameters["landmarks_precision"].string_value == "int8"
    config.ClearField("parameters")
    plain.ClearField("parameters")
    assert config == plain


def test_the_8_bit_network_is_made_of_the_shipped_one(model_repository: Path) -> None:
    plain, quantized = (identify(model_path(model_repository, precision=each))[0] for each in ("float32", "int8"))
    assert quantized.name == f"{plain.name}-int8"
    assert (quantized.run_id, quantized.codec, quantized.crop_scale) == (plain.run_id, plain.codec, plain.crop_scale)
    assert quantized.degrees_of_freedom == plain.degrees_of_freedom


def test_the_detectors_configuration_is_stamped_for_the_shipped_detector(model_repository: Path) -> None:
    parameters = stamped(read(model_repository, "detector"))
    network = DetectorNetwork(model_path(model_repository, kind=DetectorMetadata), threads=1)
    check_stamp(parameters, network.metadata, network.provenance)


def test_the_detector_is_small(model_repository: Path) -> None:
    assert model_path(model_repository, kind=DetectorMetadata).stat().st_size <= 1.8e6


@pytest.mark.parametrize("name", ["heatmap", "decode", "detector"])
def test_one_instance_without_a_batcher_of_tritons(model_repository: Path, name: str) -> None:
    """The gateway gathers calls: Triton's dynamic batcher stands still for half a second at a time (decision 0005)."""
    for path in configurations(model_repository, name):
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        assert not config.HasField("dynamic_batching")
        assert [group.count for group in config.instance_group] == [1]
    config = read(model_repository, name)
    assert [warmup.batch_size for warmup in config.model_warmup] == [config.max_batch_size if name == "decode" else 1]


def test_a_request_to_the_detector_is_one_image(model_repository: Path) -> None:
    assert read(model_repository, "detector").max_batch_size == 1


def test_one_batch_size_for_all_three(model_repository: Path) -> None:
    assert {read(model_repository, name).max_batch_size for name in ("heatmap", "decode", "landmarks")} == {8}


@pytest.mark.parametrize("name", ["heatmap", "decode", "detector"])
def test_models_stay_a_page_long(model_repository: Path, name: str) -> None:
    assert len((model_repository / name / "1/model.py").read_text(encoding="utf-8").splitlines()) <= 60


# ---------------------------------------------------------------- GPUs


def test_which_models_are_configured_for_gpus(model_repository: Path) -> None:
    found = {path.parent.name: path for path in model_repository.glob("*/config.pbtxt")}
    for name in found:
        expected = [found[name], *([model_repository / name / GPU] if name in FOR_GPUS else [])]
        assert configurations(model_repository, name) == expected


@pytest.mark.parametrize("name", FOR_GPUS)
def test_on_a_gpu_nothing_changes_for_whoever_asks(model_repository: Path, name: str) -> None:
    """The contract's tensors, as those of config.pbtxt are; batches as on the CPU."""
    cpu, gpu = read(model_repository, name), read(model_repository, name, GPU)
    assert list(gpu.input) == list(cpu.input)
    assert list(gpu.output) == list(cpu.output)
    assert gpu.max_batch_size == cpu.max_batch_size
    (group,) = gpu.instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_GPU)


@pytest.mark.parametrize("name", FOR_GPUS)
def test_one_crop_and_a_full_batch_are_warmed_up(model_repository: Path, name: str) -> None:
    config = read(model_repository, name, GPU)
    tensor = config.input[0]
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, config.max_batch_size]
    for warmup in config.model_warmup:
        given = warmup.inputs[tensor.name]
        assert (given.data_type, list(given.dims), given.zero_data) == (tensor.data_type, list(tensor.dims), True)


def test_tensorrt_is_told_what_holds_for_this_very_file(model_repository: Path) -> None:
    config = read(model_repository, "heatmap", GPU)
    assert config.backend == "onnxruntime"
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    content = model_path(model_repository).read_bytes()
    size = config.input[0].dims[0]
    assert accelerator.name == "tensorrt"
    assert dict(accelerator.parameters) == {
        "precision_mode": "FP32",
        "max_workspace_size_bytes": "1073741824",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"/engines/heatmap-1-{hashlib.sha256(content).hexdigest()}",
        "trt_profile_min_shapes": f"crops:1x{size}x{size}x3",
        "trt_profile_opt_shapes": f"crops:8x{size}x{size}x3",
        "trt_profile_max_shapes": f"crops:8x{size}x{size}x3",
    }


def test_the_decoder_takes_heatmaps_where_they_lie(model_repository: Path) -> None:
    config = read(model_repository, "decode", GPU)
    assert config.backend == "python"
    assert config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"


def test_engines_are_kept_where_the_containers_have_a_volume() -> None:
    assert f"install --directory --owner 10001 --group 10001 {ENGINES}\n" in (ROOT / "Dockerfile").read_text()
    assert f'volumes: ["engines:{ENGINES}"]' in (ROOT / "docker-compose.yml").read_text()
    assert f"mountPath: {ENGINES}}}" in (ROOT / "deploy/kubernetes/base/triton.yaml").read_text()
