"""Alerts and dashboard use metrics that exist, in expressions that Prometheus can parse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from service.cli.probe import ProbeMetrics, Result
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind
from service.observability.metrics import ANSWERED_OR_FAILED, Metrics
from service.observability.request_scope import round_trip
from service.rest.app import build_metrics_app
from service.security.api_keys import Protection, new_key, read_keys
from service.settings import Settings
from tests.conftest import ROOT
from tests.contract.apis import open_apis
from tests.deploy.tools import DEPLOY, run, tool
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/landmarks.json").read_text())
ALERTS = (DEPLOY / "prometheus/alerts.yml").read_text()
PROMTOOL = "on Debian, apt-get install prometheus"
TRITON = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_pending_request_count",
    "nv_cpu_utilization",
    # with a GPU
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
}
"""Metrics in Triton's documentation, as far as they are used here."""


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


Series = dict[str, dict[str, set[str]]]
"""The values of every label of a metric, by the metric's name."""


@pytest.fixture(scope="module")
async def exposed(anyio_backend: str) -> Series:
    """The metrics of a gateway after requests that succeeded and some that failed."""
    engine = FakeEngine()
    gateway = make_gateway(engine, FakeDetector(((20, 30, 200, 210), 0.9)), max_in_flight=1)
    _, line = new_key("ana")
    async with open_apis(gateway, Protection(read_keys(Settings(api_keys=line)), metrics_here=False)) as apis:
        for api in apis.values():
            assert (await api.ask(encoded(gradient_image()))).code == "unauthenticated"
    async with open_apis(gateway) as apis:
        for api in apis.values():
            assert (await api.ask(encoded(gradient_image()))).code == "ok"
            engine.error = EngineOverloaded("full")
            assert (await api.ask(encoded(gradient_image()))).code == "overloaded"
            engine.error = None
            assert (await api.ask_batch([encoded(gradient_image())], [{}], "batch")).code == "ok"
        with gateway.admitted("rest", "a", {}), round_trip():
            assert (await apis["rest"].ask(b"")).code == "overloaded"
    gateway.metrics.triton_retries.labels("unavailable").inc()  # happens with several Tritons only
    gateway.metrics.fallbacks.labels("unavailable").inc()  # with two models only
    gateway.metrics.comparisons_dropped.labels("busy").inc()
    transport = httpx.ASGITransport(build_metrics_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as client:
        text = (await client.get("/metrics")).text
    probe = ProbeMetrics()
    probe.observe("http://gateway:8080", Result("ok", "", 0.1))
    text += generate_latest(probe.registry).decode()

    series: Series = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        values = series.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            values.setdefault(label, set()).add(value)
    return series


@pytest.mark.parametrize("text", [*expressions(), ALERTS])
def test_every_metric_exists(text: str, exposed: Series) -> None:
    named = set(re.findall(r"\b(?:landmarks|nv|process)_[a-z_]+\b", text))
    assert named <= set(exposed) | TRITON


@pytest.mark.parametrize("text", [*expressions(), ALERTS])
def test_every_label_and_every_value_that_is_used_exists(text: str, exposed: Series) -> None:
    for name, matchers in re.findall(r"\b(landmarks_[a-z_]+)\{([^}]*)\}", text):
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
            known = exposed[name][label] | ({kind.value for kind in ErrorKind} if label == "code" else set())
            assert set(value.split("|") if "~" in operator else [value]) <= known, (name, label)


def test_what_is_summed_by_a_label_has_it(exposed: Series) -> None:
    labels = {label for values in exposed.values() for label in values} | {
        "instance",
        "job",
        "model",
        "le",
        "reason",
        "of",
    }
    used = {
        label.strip() for text in expressions() for by in re.findall(r"by \(([^)]*)\)", text) for label in by.split(",")
    }
    assert used <= labels


def test_panels_have_their_own_ids_and_places() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = {
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in DASHBOARD["panels"])
    assert max(x for x, _ in places) < 24


def test_panels_use_the_data_source_that_is_provided() -> None:
    provided = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    match = re.search(r"uid: (\w+)", provided)
    assert match is not None
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {match[1]}


def test_prometheus_reads_its_configuration() -> None:
    run(tool("promtool", PROMTOOL), "check", "config", DEPLOY / "prometheus/prometheus.yml")


TESTS = sorted((DEPLOY / "prometheus").glob("*_test.yml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    run(tool("promtool", PROMTOOL), "test", "rules", path)


def test_every_alert_is_tested() -> None:
    tested = {name for path in TESTS for name in re.findall(r"alertname: (\w+)", path.read_text())}
    assert set(re.findall(r"alert: (\w+)", ALERTS)) == tested


def test_every_alert_says_what_to_do_and_has_a_section_of_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", ALERTS, re.DOTALL)
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/deploy/runbook.md").read_text(), re.MULTILINE)
    assert headings == [name for name, _ in alerts]
    for name, body in alerts:
        assert re.search(r"^          action: ", body, re.MULTILINE), name
        assert f"          runbook: docs/deploy/runbook.md#{name.lower()}" in body.splitlines(), name


def test_what_the_objective_counts_starts_at_zero(exposed: Series) -> None:
    """A failure that is the first of its code would not count in a rate otherwise."""
    named = {code for codes in re.findall(r'code=~"([^"]*)"\}\[', ALERTS) for code in codes.split("|")}
    assert set(ANSWERED_OR_FAILED) == named
    text = Metrics().text().decode()
    for code in named:
        assert f'landmarks_batch_images_total{{code="{code}"}} 0.0' in text
        assert f'landmarks_requests_total{{code="{code}",door="grpc",protocol="grpc"}} 0.0' in text


def test_prometheus_reads_the_dashboards_expressions(tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    rules = [
        {"record": f"panel{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", path)
