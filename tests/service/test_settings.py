import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.cli.settings_page import reference
from service.errors import StartError
from service.model_files import model_file, model_repository
from service.settings import Settings, unknown_settings
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LANDMARKS_")]:
        monkeypatch.delenv(name)


def test_defaults_and_environment(monkeypatch):
    assert (Settings().host, Settings().port, Settings().grpc_port) == ("127.0.0.1", 8080, 8081)
    monkeypatch.setenv("LANDMARKS_PORT", "9000")
    monkeypatch.setenv("LANDMARKS_TRITON_URL", "")
    assert Settings().port == 9000
    assert Settings().triton_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "٨٠٨٠"),
        ("PORT", "80_80"),
        ("GRACE", "1_0"),
        ("ENGINE", "none"),
        ("MAX_BYTES", "0"),
        ("GRACE", "-1"),
        ("GRACE", "inf"),
        ("REQUEST_TIMEOUT", "inf"),
        ("CANDIDATE_SHARE", "1.1"),
        ("GRPC_PORT", "8080"),
        ("METRICS_PORT", "8080"),
        ("METRICS_PORT", "8081"),
        ("HOST", "127.0.0.1:8080"),
        ("HOST", "http://127.0.0.1"),
        ("METRICS_HOST", "[::1]:8080"),
        ("PUBLISHED_HOST", "[::1"),
    ],
)
def test_nonsense_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"LANDMARKS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


@pytest.mark.parametrize(
    ("value", "host"), [("[::1]", "::1"), ("fe80::1%eth0", "fe80::1%eth0"), ("example.com", "example.com")]
)
def test_an_address_may_have_brackets(value, host):
    assert Settings(host=value).host == host


def test_free_ports_may_be_asked_for_more_than_once():
    assert Settings(port=0, grpc_port=0, metrics_port=0).metrics_port == 0


def test_what_looks_like_a_setting_and_is_none():
    names = ["LANDMARKS_PROT", "LANDMARKS_PORT", "landmarks_host", "LANDMARKS_API_KEY", "PATH"]
    assert unknown_settings(names) == ["LANDMARKS_PROT"]


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())


def test_the_page_of_all_settings_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m service.cli.settings_page > docs/configuration.md"
    assert page.count("| `LANDMARKS_") == len(Settings.model_fields)


def test_the_repository_is_found_or_asked_for(tmp_path: Path):
    assert model_repository(Settings()).name == "model_repo"
    with pytest.raises(StartError, match="LANDMARKS_MODEL_REPOSITORY"):
        model_repository(Settings(model_repository=tmp_path))
    with pytest.raises(StartError, match="landmarks-train export"):
        model_file(tmp_path, "float32")
    with pytest.raises(StartError, match=r"model-int8\.onnx: make it with landmarks-train quantize"):
        model_file(tmp_path, "int8")
