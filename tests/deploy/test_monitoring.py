"""Alerts and dashboard ask for metrics that exist, in expressions that Prometheus reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.metrics import Metrics
from tests.deploy.tools import DEPLOY, run, tool

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
"""What Triton's metrics documentation lists, as far as it is of use here."""


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def gateway_metrics() -> set[str]:
    """The names of the series; a histogram has three."""
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    families = Metrics().registry.collect()
    return {family.name + ending for family in families for ending in endings.get(family.type, [""])}


@pytest.mark.parametrize("text", [*expressions(), ALERTS])
def test_every_metric_exists(text: str) -> None:
    named = set(re.findall(r"\b(?:landmarks|nv)_[a-z_]+\b", text))
    assert named <= gateway_metrics() | TRITON


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


def test_panels_ask_the_data_source_that_is_provided() -> None:
    provided = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    match = re.search(r"uid: (\w+)", provided)
    assert match is not None
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {match[1]}


def test_prometheus_reads_its_configuration() -> None:
    run(tool("promtool", PROMTOOL), "check", "config", DEPLOY / "prometheus/prometheus.yml")


def test_alerts_fire_when_they_should() -> None:
    run(tool("promtool", PROMTOOL), "test", "rules", DEPLOY / "prometheus/alerts_test.yml")


def test_every_alert_is_tested() -> None:
    tested = set(re.findall(r"alertname: (\w+)", (DEPLOY / "prometheus/alerts_test.yml").read_text()))
    assert set(re.findall(r"alert: (\w+)", ALERTS)) == tested


def test_prometheus_reads_the_dashboards_expressions(tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    rules = [
        {"record": f"panel{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", path)
