from dataclasses import replace
from pathlib import Path

import pytest

from landmarks.codec import CodecSpec
from landmarks.detector import DetectorMetadata, DetectorSpec
from landmarks.metadata import MetadataError, ModelMetadata
from landmarks.repository import (
    PROVENANCE_KEY,
    RepositoryError,
    add_int8,
    check_release,
    check_stamp,
    engine_folder,
    model_path,
    precision_of,
    provenance,
    remove_int8,
    stamp,
    string_parameters,
)
from landmarks.size import Size

METADATA = ModelMetadata("compact", CodecSpec(), 1.25, "run-1", ("faces",), golden_points=((1.5, 2.0),))
DETECTOR = DetectorMetadata("detector", DetectorSpec(), "run-2", "c0ffee", ("faces",), (1.0, 2.0, 3.0, 4.0))
EMPTY_HASH = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CONFIG = """# a comment
max_batch_size: 8
parameters { key: "landmarks_provenance" value { string_value: 'old' } }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("heatmap", "decode", "landmarks"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "heatmap/1/model.onnx").write_bytes(b"")
    (tmp_path / "detector/1").mkdir(parents=True)
    (tmp_path / "detector/config.pbtxt").write_text(CONFIG)
    (tmp_path / "detector/1/model.onnx").write_bytes(b"abc")
    return tmp_path


def test_provenance_is_the_files_sha256() -> None:
    assert provenance(b"") == EMPTY_HASH


def test_a_network_lies_in_the_folder_of_its_own_model() -> None:
    assert model_path(Path("repo")) == Path("repo/heatmap/1/model.onnx")
    assert model_path(Path("repo"), "2", DetectorMetadata) == Path("repo/detector/2/model.onnx")


def test_stamping_changes_the_hash_in_all_three_and_nothing_else(repository: Path) -> None:
    expected = (
        "# a comment\n"
        "max_batch_size: 8\n"
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
    stamp(repository, replace(METADATA, codec=CodecSpec(input_size=Size(width=96, height=128))))
    assert (
        (repository / "heatmap/config.pbtxt")
        .read_text()
        .startswith(
            """input { name: "crops" data_type: TYPE_UINT8 dims: [ 128, 96, 3 ] }
output { name: "heatmaps" data_type: TYPE_FP32 dims: [ 98, 32, 24 ] }
inputs { key: "crops" value { data_type: TYPE_UINT8 dims: [ 128, 96, 3 ] zero_data: true } }
input_map { key: "crops" value: "crops" }
"""
        )
    )


VISIBLE = replace(METADATA, golden_visibility=(0.5,) * METADATA.codec.points)
ENSEMBLE = """output { name: "scores" data_type: TYPE_FP32 dims: [ 98 ] }
output { name: "covariances" data_type: TYPE_FP32 dims: [ 98, 2, 2 ] }
    input_map { key: "crops" value: "crops" }
    output_map { key: "heatmaps" value: "heatmaps" }
    input_map { key: "heatmaps" value: "heatmaps" }
"""
NETWORK = """output { name: "heatmaps" data_type: TYPE_FP32 dims: [ 98, 64, 64 ] }
"""


def test_stamping_declares_visibility_where_the_network_states_it_and_only_there(repository: Path) -> None:
    for name, text in (("heatmap", NETWORK), ("landmarks", ENSEMBLE)):
        (repository / name / "config.pbtxt").write_text(text + CONFIG)
    stamp(repository, METADATA)
    before = {name: (repository / name / "config.pbtxt").read_text() for name in ("heatmap", "decode", "landmarks")}
    for _ in range(2):  # stamping again declares nothing twice
        stamp(repository, VISIBLE)
        after = {name: (repository / name / "config.pbtxt").read_text() for name in before}
        added = {name: [line for line in after[name].split("\n") if line not in text] for name, text in before.items()}
        declared = 'output { name: "visibility" data_type: TYPE_FP32 dims: [ 98 ] }'
        passed = '    output_map { key: "visibility" value: "visibility" }'
        assert added == {"heatmap": [declared], "decode": [], "landmarks": [declared, passed]}
    stamp(repository, METADATA)
    assert before == {name: (repository / name / "config.pbtxt").read_text() for name in before}


def test_a_configuration_in_which_visibility_cannot_be_declared_is_refused(repository: Path) -> None:
    before = (repository / "heatmap/config.pbtxt").read_text()
    with pytest.raises(RepositoryError, match="must hold one line that begins with output"):
        stamp(repository, VISIBLE)
    assert (repository / "heatmap/config.pbtxt").read_text() == before


GPU = """max_batch_size: 16
parameters { key: "trt_engine_cache_enable" value: "1" }
parameters { key: "trt_engine_cache_path" value: "" }
parameters { key: "trt_profile_min_shapes" value: "" }
parameters { key: "trt_profile_opt_shapes" value: "other" }
parameters { key: "trt_profile_max_shapes" value: "" }
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
        """parameters { key: "trt_profile_min_shapes" value: "crops:1x128x96x3" }\n"""
        """parameters { key: "trt_profile_opt_shapes" value: "crops:16x128x96x3" }\n"""
        """parameters { key: "trt_profile_max_shapes" value: "crops:16x128x96x3" }\n"""
    )
    for _ in range(2):
        stamp(repository, replace(METADATA, codec=CodecSpec(input_size=Size(width=96, height=128))))
        for name in ("heatmap/configs/gpu.pbtxt", "heatmap/configs/fp32.pbtxt", "decode/configs/gpu.pbtxt"):
            text = (repository / name).read_text()
            assert text.startswith(expected)
            assert text.count(EMPTY_HASH) == 1


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
    with pytest.raises(RepositoryError, match=r"landmarks/config\.pbtxt must hold once: .*landmarks_provenance"):
        stamp(repository, METADATA)
    assert (repository / "heatmap/config.pbtxt").read_text() == CONFIG


@pytest.mark.parametrize("missing", ["heatmap/1/model.onnx", "decode/config.pbtxt"])
def test_a_file_that_is_missing_is_named(repository: Path, missing: str) -> None:
    (repository / missing).unlink()
    with pytest.raises(RepositoryError, match=missing):
        stamp(repository, METADATA)


def test_a_hash_that_is_there_twice_is_refused(repository: Path) -> None:
    (repository / "decode/config.pbtxt").write_text(CONFIG + CONFIG)
    with pytest.raises(RepositoryError, match="found 2"):
        stamp(repository, METADATA)


@pytest.mark.parametrize(
    ("name", "key", "command"),
    [
        ("decode/config.pbtxt", "landmarks_metadata", "landmarks-train export again"),
        ("decode/configs/gpu.pbtxt", "landmarks_metadata", "landmarks-train export again"),
        ("detector/config.pbtxt", "landmarks_detector", "landmarks-train export-detector again"),
    ],
)
def test_a_repository_of_an_earlier_release_says_what_to_do(
    repository: Path, name: str, key: str, command: str
) -> None:
    check_release(repository)
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG + f"""parameters {{ key: "{key}" value {{ string_value: '{{}}' }} }}\n""")
    for check in (
        lambda: check_release(repository),
        lambda: stamp(repository, DETECTOR if name.startswith("detector") else METADATA),
    ):
        with pytest.raises(RepositoryError, match=f"is of an earlier release.* run {command}") as caught:
            check()
        assert str(caught.value).startswith(str(path))
        assert len(str(caught.value).splitlines()) == 1
    assert (repository / "heatmap/config.pbtxt").read_text() == CONFIG


def test_string_parameters_of_tritons_json() -> None:
    assert string_parameters({"parameters": {"a": {"string_value": "b"}}}) == {"a": "b"}
    assert string_parameters({"parameters": {"unset": {}}}) == {"unset": ""}  # an empty text is left out
    assert string_parameters({}) == {}


def test_a_stamp_that_fits() -> None:
    check_stamp({PROVENANCE_KEY: EMPTY_HASH, "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, METADATA, EMPTY_HASH)
    check_stamp({PROVENANCE_KEY: EMPTY_HASH}, DETECTOR, EMPTY_HASH)


@pytest.mark.parametrize("stamped", [{PROVENANCE_KEY: "sha256:00"}, {PROVENANCE_KEY: ""}, {}])
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (METADATA, r"another model file .*\(compact, run run-1, sha256:e3b0.*: run landmarks-train export again"),
        (DETECTOR, r"another model file .*\(detector, run run-2, .*: run landmarks-train export-detector again"),
    ],
)
def test_a_stamp_that_does_not_fit(
    stamped: dict[str, str], metadata: ModelMetadata | DetectorMetadata, message: str
) -> None:
    with pytest.raises(MetadataError, match=message):
        check_stamp(stamped, metadata, EMPTY_HASH)
