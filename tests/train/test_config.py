"""Configurations: what is read, also from earlier versions, and what is refused with the name of the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from landmarks.size import Size
from train.config import FORMER_KEYS, Config, Photometric, load_config, validated
from train.detection.config import DetectorConfig
from train.errors import ConfigError

SAVED: dict[str, Any] = {
    "name": "compact_deep",
    "stages": [{"epochs": 17, "input_size": 256}],
    "shape": True,
    "further": 0.15,
    "objective": "binary",
    "augment": {"fall": 0.2, "occlude": 0.45, "photometric": {"colour": 0.3, "cast": 0.15, "coarsest": 12.0}},
}
"""A part of what a run of an earlier version holds."""


def test_a_configuration_saved_by_an_earlier_version_is_read() -> None:
    config = validated(Config, SAVED, "checkpoint.pt")
    assert config.shape_refinement
    assert config.extra_data_fraction == 0.15
    assert config.objective == "cell_sigmoid"
    assert (config.augment.large_rotation, config.augment.occlusion) == (0.2, 0.45)
    photometric = config.augment.photometric
    assert photometric
    assert (photometric.color_jitter, photometric.color_cast, photometric.max_downsample) == (0.3, 0.15, 12.0)
    assert validated(Config, config.model_dump(mode="json"), "config.json") == config


def test_a_detectors_configuration_saved_by_an_earlier_version_is_read() -> None:
    config = validated(DetectorConfig, {"compose": {"upside": 0.2, "most_pasted": 3, "occlude": 0.4}}, "checkpoint.pt")
    assert (config.compose.any_rotation, config.compose.max_pasted, config.compose.occlusion) == (0.2, 3, 0.4)


@pytest.mark.parametrize(("former", "key"), FORMER_KEYS.items())
def test_a_key_is_not_given_under_both_names(former: str, key: str) -> None:
    for kind in (Config, Photometric, DetectorConfig):
        if key in kind.model_fields:
            with pytest.raises(ConfigError, match=f"{former}: there is no such key"):
                validated(kind, {former: 0.5, key: 0.5}, "both.toml")


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match="speed: there is no such key"):
        validated(Config, {"stages": SAVED["stages"], "speed": 3}, "fast.toml")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "train" / "configs").glob("*.toml")))
def test_every_shipped_configuration_is_valid_and_uses_no_former_key(path: Path) -> None:
    load_config(DetectorConfig if path.stem.startswith("detector") else Config, path.stem)
    assert not set(re.findall(r"(?m)^(\w+) =", path.read_text("utf-8"))) & set(FORMER_KEYS)


def test_a_rectangular_input_is_height_by_width(tmp_path: Path) -> None:
    (tmp_path / "people.toml").write_text('stages = [{ epochs = 1, input_size = "256x192" }]\n')
    config = load_config(Config, str(tmp_path / "people.toml"))
    size = config.stages[0].input_size
    assert size == Size(width=192, height=256)
    assert config.codec(size, points=17).heatmap_shape == (17, 64, 48)
    saved = config.model_dump(mode="json")
    assert saved["stages"] == [{"epochs": 1, "input_size": "256x192"}]
    assert validated(Config, saved, "saved") == config


@pytest.mark.parametrize("size", ["256x100", "0x64", "256x192x3", "256 x 192", [192, 256], 64.5, True])
def test_sizes_that_cannot_be_are_refused(size: object) -> None:
    with pytest.raises(ConfigError, match=r"stages\.0\.input_size: (must be a positive multiple|a size is the side)"):
        validated(Config, {"stages": [{"epochs": 1, "input_size": size}]}, "people.toml")


def test_an_epoch_belongs_to_a_stage() -> None:
    stages = [{"epochs": 2, "input_size": 32}, {"epochs": 1, "input_size": 64}]
    both = Config.model_validate({"stages": stages})
    assert [both.stage_at(epoch).input_size for epoch in range(4)] == [Size.square(side) for side in (32, 32, 64, 64)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat = 1", "learning_rat"),
        ("learning_rate = -1\n[[stages]]\nepochs = 1\ninput_size = 64", "learning_rate"),
        ("[[stages]]\nepochs = 1\ninput_size = 50", "stages.0.input_size"),
        ("[[stages]]\nepochs = 1\ninput_size = 64\nsize = 1", "stages.0.size"),
        ("[augment]\nflips = 1\n[[stages]]\nepochs = 1\ninput_size = 64", "augment.flips"),
        ("ema = 1\n[[stages]]\nepochs = 1\ninput_size = 64", "ema"),
        ("stages = []", "stages"),
        ("stride = 8\n[[stages]]\nepochs = 1\ninput_size = 64", "stride: must be 4"),
        ('quantizer = "none"\n[[stages]]\nepochs = 1\ninput_size = 64', "needs a quantizer"),
        ("not toml", "cannot read"),
    ],
)
def test_unusable_configurations_are_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(Config, str(path))


def test_a_configuration_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\x7fELF\xff")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*config\.toml"):
        load_config(Config, str(tmp_path / "config.toml"))


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load_config(Config, str(tmp_path / "nothing.toml"))
