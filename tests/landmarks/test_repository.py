from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.codec import CodecSpec
from landmarks.detection import DetectorMetadata, DetectorSpec
from landmarks.metadata import METADATA_KEY, PROVENANCE_KEY, MetadataError, ModelMetadata
from landmarks.repository import (
    RepositoryError,
    add_int8,
    check_stamp,
    engine_folder,
    model_path,
    precision_of,
    provenance,
    remove_int8,
    replace_parameter,
    stamp,
    stamp_of,
    string_parameters,
)

METADATA = ModelMetadata("compact", CodecSpec(), 1.25, "run-1", ("faces",), golden_points=((1.5, 2.0),))
DETECTOR = DetectorMetadata("detector", DetectorSpec(), "run-2", "c0ffee", ("faces",), (1.0, 2.0, 3.0, 4.0))
EMPTY_HASH = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CONFIG = """# a comment
max_batch_size: 8
parameters { key: "landmarks_metadata" value { string_value: '' } }
parameters { key: "landmarks_provenance" value { string_value: 'old' } }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("heatmap", "decode", "landmarks"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "heatmap/1/model.onnx").write_bytes(b"")
    (tmp_path / "detector/1").mkdir(parents=True)
    (tmp_path / "detector/config.pbtxt").write_text(CONFIG.replace("landmarks_metadata", "landmarks_detector"))
    (tmp_path / "detector/1/model.onnx").write_bytes(b"abc")
    return tmp_path


def test_provenance_is_the_files_sha256() -> None:
    assert provenance(b"") == EMPTY_HASH


def test_a_network_lies_in_the_folder_of_its_own_model() -> None:
    assert model_path(Path("repo")) == Path("repo/heatmap/1/model.onnx")
    assert model_path(Path("repo"), "2", DetectorMetadata) == Path("repo/detector/2/model.onnx")


def test_stamping_changes_the_two_parameters_of_all_three_and_nothing_else(repository: Path) -> None:
    expected = (
        "# a comment\n"
        "max_batch_size: 8\n"
        f"""parameters {{ key: "landmarks_metadata" value {{ string_value: '{METADATA.to_json()}' }} }}\n"""
        f"""parameters {{ key: "landmarks_provenance" value {{ string_value: '{EMPTY_HASH}' }} }}\n"""
    )
    for _ in range(2):  # stamping again changes nothing more
        stamp(repository, METADATA)
        for name in ("heatmap", "decode", "landmarks"):
            assert (repository / name / "config.pbtxt").read_text() == expected


def test_stamping_a_detector_changes_its_own_configuration_alone(repository: Path) -> None:
    stamp(repository, DETECTOR)
    assert (repository / "detector/config.pbtxt").read_text() == (
        "# a comment\n"
        "max_batch_size: 8\n"
        f"""parameters {{ key: "landmarks_detector" value {{ string_value: '{DETECTOR.to_json()}' }} }}\n"""
        """parameters { key: "landmarks_provenance" value { string_value: 'sha256:"""
        """ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' } }\n"""
    )
    for name in ("heatmap", "decode", "landmarks"):
        assert (repository / name / "config.pbtxt").read_text() == CONFIG


def test_stamping_sets_the_shapes_of_the_tensors_for_the_models_crop_size(repository: Path) -> None:
    text = """input { name: "crops" data_type: TYPE_UINT8 dims: [ 256, 256, 3 ] }
output { name: "heatmaps" data_type: TYPE_FP32 dims: [ 98, 64, 64 ] }
inputs { key: "crops" value { data_type: TYPE_UINT8 dims: [ 256, 256, 3 ] zero_data: true } }
input_map { key: "crops" value: "crops" }
"""
    (repository / "heatmap/config.pbtxt").write_text(text + CONFIG)
    stamp(repository, replace(METADATA, codec=CodecSpec(input_size=128)))
    assert (
        (repository / "heatmap/config.pbtxt")
        .read_text()
        .startswith(
            """input { name: "crops" data_type: TYPE_UINT8 dims: [ 128, 128, 3 ] }
output { name: "heatmaps" data_type: TYPE_FP32 dims: [ 98, 32, 32 ] }
inputs { key: "crops" value { data_type: TYPE_UINT8 dims: [ 128, 128, 3 ] zero_data: true } }
input_map { key: "crops" value: "crops" }
"""
        )
    )


GPU = """max_batch_size: 16
parameters { key: "trt_engine_cache_enable" value: "1" }
parameters { key: "trt_engine_cache_path" value: "" }
parameters { key: "trt_profile_min_shapes" value: "" }
parameters { key: "trt_profile_opt_shapes" value: "other" }
parameters { key: "trt_profile_max_shapes" value: "" }
parameters { key: "landmarks_metadata" value { string_value: '' } }
parameters { key: "landmarks_provenance" value { string_value: 'old' } }
"""


def test_stamping_sets_every_configuration_of_a_model_and_what_tensorrt_is_told(repository: Path) -> None:
    for name in ("heatmap/configs/gpu.pbtxt", "heatmap/configs/fp32.pbtxt", "decode/configs/gpu.pbtxt"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(GPU)
    expected = (
        "max_batch_size: 16\n"
        """parameters { key: "trt_engine_cache_enable" value: "1" }\n"""
        """parameters { key: "trt_engine_cache_path" value: "/engines/heatmap-1-"""
        """e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }\n"""
        """parameters { key: "trt_profile_min_shapes" value: "crops:1x128x128x3" }\n"""
        """parameters { key: "trt_profile_opt_shapes" value: "crops:16x128x128x3" }\n"""
        """parameters { key: "trt_profile_max_shapes" value: "crops:16x128x128x3" }\n"""
    )
    for _ in range(2):
        stamp(repository, replace(METADATA, codec=CodecSpec(input_size=128)))
        for name in ("heatmap/configs/gpu.pbtxt", "heatmap/configs/fp32.pbtxt", "decode/configs/gpu.pbtxt"):
            text = (repository / name).read_text()
            assert text.startswith(expected)
            assert text.count(EMPTY_HASH) == 1
            assert text.count('"input_size": 128') == 1


INT8 = f"""# For --model-config-name=int8, written by landmarks-train quantize from config.pbtxt:
{CONFIG}parameters {{ key: "landmarks_precision" value {{ string_value: 'int8' }} }}
"""


def test_the_8_bit_network_has_configurations_of_its_own(repository: Path) -> None:
    add_int8(repository)
    configs = [repository / name / "configs/int8.pbtxt" for name in ("heatmap", "decode", "landmarks")]
    assert [path.read_text() for path in configs] == [INT8] * 3
    stamp(repository, METADATA)  # that of the other network leaves them alone
    assert [path.read_text() for path in configs] == [INT8] * 3
    before = (repository / "heatmap/config.pbtxt").read_text()

    path = model_path(repository, precision="int8")
    assert path == repository / "heatmap/1/model-int8.onnx"
    path.write_bytes(b"abc")
    stamp(repository, replace(METADATA, name="compact-int8"), "int8")
    for config in configs:
        assert '"name": "compact-int8"' in config.read_text()
        assert "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in config.read_text()
    assert (repository / "heatmap/config.pbtxt").read_text() == before

    remove_int8(repository)
    assert not any(each.exists() for each in [path, *configs])
    assert model_path(repository).exists()
    remove_int8(repository)  # as good as gone
    with pytest.raises(RepositoryError, match=r"model-int8\.onnx"):
        stamp(repository, METADATA, "int8")


def test_there_is_no_8_bit_network_of_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="a model repository"):
        add_int8(tmp_path)


def test_a_configuration_says_which_network_it_is_for() -> None:
    assert precision_of({"landmarks_precision": "int8"}) == "int8"
    assert precision_of({}) == "float32"


def test_another_model_file_has_another_folder_for_its_engines() -> None:
    path = Path("repo/heatmap/2/model.onnx")
    assert engine_folder(path, "sha256:00ff") == "/engines/heatmap-2-00ff"
    assert engine_folder(path, "sha256:01ff") == "/engines/heatmap-2-01ff"
    assert engine_folder(Path("repo/heatmap/1/model.onnx"), "sha256:00ff") == "/engines/heatmap-1-00ff"


@pytest.mark.parametrize("spoilt", ["max_batch_size: 8\n", CONFIG.replace("max_batch_size: 8", "")])
def test_nothing_is_stamped_when_a_configuration_for_gpus_is_unusable(repository: Path, spoilt: str) -> None:
    (repository / "decode/configs").mkdir()
    (repository / "decode/configs/gpu.pbtxt").write_text(spoilt)
    with pytest.raises(RepositoryError, match=r"decode/configs/gpu\.pbtxt must hold "):
        stamp(repository, METADATA)
    for name in ("heatmap", "decode", "landmarks"):
        assert (repository / name / "config.pbtxt").read_text() == CONFIG


def test_nothing_is_stamped_when_one_configuration_is_unusable(repository: Path) -> None:
    (repository / "landmarks/config.pbtxt").write_text("max_batch_size: 8\n")
    with pytest.raises(RepositoryError, match=r"landmarks/config\.pbtxt must hold once: .*landmarks_metadata"):
        stamp(repository, METADATA)
    assert (repository / "heatmap/config.pbtxt").read_text() == CONFIG


@pytest.mark.parametrize("missing", ["heatmap/1/model.onnx", "decode/config.pbtxt"])
def test_a_file_that_is_missing_is_named(repository: Path, missing: str) -> None:
    (repository / missing).unlink()
    with pytest.raises(RepositoryError, match=missing):
        stamp(repository, METADATA)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(RepositoryError, match="found 2"):
        replace_parameter(CONFIG + CONFIG, METADATA_KEY, "x", Path("config.pbtxt"))


def test_quotes_and_backslashes_are_escaped() -> None:
    text = replace_parameter(CONFIG, PROVENANCE_KEY, r"it's a \ ", Path("config.pbtxt"))
    assert r"""string_value: 'it\'s a \\ ' }""" in text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text("'\\\"{}ab 1"))
def test_any_value_can_be_replaced_by_any_other(first: str, second: str) -> None:
    path = Path("config.pbtxt")
    through = replace_parameter(replace_parameter(CONFIG, METADATA_KEY, first, path), METADATA_KEY, second, path)
    assert through == replace_parameter(CONFIG, METADATA_KEY, second, path)


def test_a_stamp_leaves_out_what_concerns_a_backend_alone() -> None:
    stamped = {METADATA_KEY: "m", PROVENANCE_KEY: "p"}
    assert stamp_of({**stamped, "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}) == stamped
    assert stamp_of({PROVENANCE_KEY: "p"}) == {PROVENANCE_KEY: "p"}


def test_string_parameters_of_tritons_json() -> None:
    assert string_parameters({"parameters": {"a": {"string_value": "b"}}}) == {"a": "b"}
    assert string_parameters({"parameters": {"unset": {}}}) == {"unset": ""}  # an empty text is left out
    assert string_parameters({}) == {}


def parameters(metadata: ModelMetadata = METADATA, model_provenance: str = EMPTY_HASH) -> dict[str, str]:
    return {METADATA_KEY: metadata.to_json(), PROVENANCE_KEY: model_provenance}


def test_a_stamp_that_fits() -> None:
    check_stamp(parameters(), METADATA, EMPTY_HASH)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (parameters(replace(METADATA, codec=CodecSpec(pixel_rule="corner"))), "stamped for the codec"),
        (parameters(replace(METADATA, run_id="run-2")), r"stamped for another model\.onnx .*run-2"),
        (parameters(model_provenance="sha256:00"), r"stamped for another model\.onnx"),
        ({METADATA_KEY: METADATA.to_json()}, r"stamped for another model\.onnx"),
        ({PROVENANCE_KEY: EMPTY_HASH}, "no 'landmarks_metadata'"),
        ({METADATA_KEY: ""}, "not a model's metadata"),
    ],
)
def test_a_stamp_that_does_not_fit(told: dict[str, str], message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        check_stamp(told, METADATA, EMPTY_HASH)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (replace(DETECTOR, spec=DetectorSpec(threshold=0.9)), "stamped for the codec .*0.9.* export-detector again"),
        (replace(DETECTOR, run_id="run-3"), r"stamped for another model\.onnx .*run-3.* export-detector again"),
    ],
)
def test_a_detectors_stamp_that_does_not_fit(told: DetectorMetadata, message: str) -> None:
    stamped = {"landmarks_detector": told.to_json(), PROVENANCE_KEY: EMPTY_HASH}
    with pytest.raises(MetadataError, match=message):
        check_stamp(stamped, DETECTOR, EMPTY_HASH)
    check_stamp({**stamped, "landmarks_detector": DETECTOR.to_json()}, DETECTOR, EMPTY_HASH)
    with pytest.raises(MetadataError, match="no 'landmarks_detector'"):
        check_stamp({METADATA_KEY: METADATA.to_json(), PROVENANCE_KEY: EMPTY_HASH}, DETECTOR, EMPTY_HASH)
