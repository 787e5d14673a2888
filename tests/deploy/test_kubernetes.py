"""The manifests are valid for Kubernetes, confined, and consistent with each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.cli.arguments.probe import Probe
from service.cli.command_line import parse
from tests.deploy.tools import DEPLOY, run, tool

yaml = pytest.importorskip("yaml", reason="no PyYAML: pip install kubernetes-validate")

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")
TIMEOUT_OF_THE_CHECK = float(
    re.findall(r"^TIMEOUT = (.+)$", (DEPLOY / "image/triton_answers.py").read_text(), re.MULTILINE)[0]
)
Manifest = dict[str, Any]


def rendered(folder: Path, *options: str) -> str:
    return run(tool("kubectl", "see kubernetes.io/docs/tasks/tools"), "kustomize", *options, folder)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> dict[tuple[str, str], Manifest]:
    """(kind, name) -> manifest, of one overlay."""
    return by_name(rendered(FOLDER / "overlays" / overlay))


def by_name(text: str) -> dict[tuple[str, str], Manifest]:
    return {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(text)}


def pod(manifests: dict[tuple[str, str], Manifest], name: str) -> Manifest:
    return dict(manifests["Deployment", name]["spec"]["template"]["spec"])


def test_every_manifest_is_valid(overlay: str, tmp_path: Path) -> None:
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    path = tmp_path / "all.yaml"
    path.write_text(rendered(FOLDER / "overlays" / overlay))
    run(validate, "--strict", path)


def test_everything_is_in_one_namespace_that_enforces_restricted_pods(
    manifests: dict[tuple[str, str], Manifest],
) -> None:
    namespace = manifests.pop(("Namespace", "landmarks"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {manifest["metadata"]["namespace"] for manifest in manifests.values()} == {"landmarks"}


@pytest.mark.parametrize("name", ["gateway", "triton"])
def test_pods_are_confined(manifests: dict[tuple[str, str], Manifest], name: str) -> None:
    spec = pod(manifests, name)
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert {"memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
    assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["requests"])


def test_triton_counts_as_healthy_only_while_its_models_answer(manifests: dict[tuple[str, str], Manifest]) -> None:
    (container,) = pod(manifests, "triton")["containers"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]
        assert probe["exec"]["command"] == ["python3", "-I", "/opt/triton_answers.py"]
        assert probe["timeoutSeconds"] > TIMEOUT_OF_THE_CHECK


def test_gateways_resolve_names_with_and_without_a_cache_on_the_node(
    manifests: dict[tuple[str, str], Manifest],
) -> None:
    *_, names = manifests["NetworkPolicy", "gateway"]["spec"]["egress"]
    assert names["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    cluster, cache = names["to"]
    assert cluster["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}


def test_a_component_lets_gateways_send_traces_and_nothing_else(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "tracing")
    (settings,) = (manifest["data"] for (kind, _), manifest in manifests.items() if kind == "ConfigMap")
    port = urlsplit(settings["LANDMARKS_OTLP_ENDPOINT"]).port
    assert port == 4318
    policy = manifests["NetworkPolicy", "tracing"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "gateway"}
    assert policy["policyTypes"] == ["Egress"]
    (there,) = policy["egress"]
    assert there["ports"] == [{"port": port}]
    assert there["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert ("NetworkPolicy", "tracing") not in by_name(rendered(FOLDER / "overlays/cpu"))


def test_a_gateway_without_triton_is_not_ready_but_alive(manifests: dict[tuple[str, str], Manifest]) -> None:
    (container,) = pod(manifests, "gateway")["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_a_gateway_does_not_start_without_keys(manifests: dict[tuple[str, str], Manifest]) -> None:
    (container,) = pod(manifests, "gateway")["containers"]
    (name,) = [name for kind, name in manifests if kind == "ConfigMap"]
    assert "LANDMARKS_INSECURE" not in manifests["ConfigMap", name]["data"]
    # a Secret that is not optional: without it the pod waits, and says so
    assert {"secretRef": {"name": "gateway"}} in container["envFrom"]


def test_metrics_are_for_prometheus_only(manifests: dict[tuple[str, str], Manifest]) -> None:
    (container,) = pod(manifests, "gateway")["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (name,) = [name for kind, name in manifests if kind == "ConfigMap"]
    assert manifests["ConfigMap", name]["data"]["LANDMARKS_METRICS_PORT"] == str(ports["metrics"])
    everybody, prometheus = manifests["NetworkPolicy", "gateway"]["spec"]["ingress"]
    assert everybody == {"ports": [{"port": "http"}, {"port": "grpc"}]}
    assert prometheus["ports"] == [{"port": "metrics"}]
    assert len(prometheus["from"]) == 1


def test_gateways_find_every_triton_by_a_headless_service(manifests: dict[tuple[str, str], Manifest]) -> None:
    service = manifests["Service", "triton"]["spec"]
    assert service["clusterIP"] == "None"
    (name,) = [name for kind, name in manifests if kind == "ConfigMap"]
    assert manifests["ConfigMap", name]["data"]["LANDMARKS_TRITON_URL"] == "triton:8001"
    (container,) = pod(manifests, "gateway")["containers"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": name}},
        {"secretRef": {"name": "gateway"}},
    ]


def test_triton_has_shared_memory_and_its_image(manifests: dict[tuple[str, str], Manifest], overlay: str) -> None:
    spec = pod(manifests, "triton")
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/dev/shm"] == {"medium": "Memory", "sizeLimit": "512Mi"}
    assert set(mounts) == {"/tmp", "/dev/shm", "/engines"}
    image = {"cpu": "h3r-landmarks/triton-cpu:latest", "gpu": "h3r-landmarks/triton:latest"}
    assert container["image"] == image[overlay]
    assert container["resources"]["limits"].get("nvidia.com/gpu") == {"cpu": None, "gpu": "1"}[overlay]


def test_triton_scales_by_its_queue_and_the_gateway_by_cpu(manifests: dict[tuple[str, str], Manifest]) -> None:
    queue, *_ = manifests["HorizontalPodAutoscaler", "triton"]["spec"]["metrics"]
    (adapter,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    assert queue["external"]["metric"]["name"] == adapter["name"]["as"]
    (cpu,) = manifests["HorizontalPodAutoscaler", "gateway"]["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    # a number of replicas beside an autoscaler would undo its work at every apply
    assert not any("replicas" in manifests["Deployment", name]["spec"] for name in ("gateway", "triton"))


def test_triton_is_reachable_from_gateways_and_prometheus_only(manifests: dict[tuple[str, str], Manifest]) -> None:
    closed = manifests["NetworkPolicy", "default"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    gateways, prometheus = manifests["NetworkPolicy", "triton"]["spec"]["ingress"]
    assert gateways["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    assert gateways["ports"] == [{"port": "grpc"}]
    assert prometheus["ports"] == [{"port": "metrics"}]


def test_disruptions_leave_one_running(manifests: dict[tuple[str, str], Manifest]) -> None:
    for name in ("gateway", "triton"):
        assert manifests["PodDisruptionBudget", name]["spec"]["maxUnavailable"] == 1
        assert manifests["HorizontalPodAutoscaler", name]["spec"]["minReplicas"] == 2


def with_components(tmp_path: Path, *names: str) -> dict[tuple[str, str], Manifest]:
    """The overlay for CPUs and some of the components."""
    folder = tmp_path.resolve()
    up = Path(*[".."] * len(folder.parts[1:]))
    base, *parts = [
        up.joinpath(*(FOLDER / part).parts[1:]) for part in ("overlays/cpu", *(f"components/{name}" for name in names))
    ]
    text = f"resources: [{base}]\ncomponents: [{', '.join(map(str, parts))}]\n"
    (folder / "kustomization.yaml").write_text(text)
    return by_name(rendered(folder))


def test_the_components_add_monitors_and_replace_the_autoscaler(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "monitoring", "keda")
    assert ("HorizontalPodAutoscaler", "triton") not in manifests
    assert manifests["ScaledObject", "triton"]["spec"]["scaleTargetRef"] == {"name": "triton"}
    for name in ("gateway", "triton"):
        (endpoint,) = manifests["ServiceMonitor", name]["spec"]["endpoints"]
        ports = {port["name"] for port in manifests["Service", name]["spec"]["ports"]}
        assert endpoint["port"] in ports
        labels = manifests["ServiceMonitor", name]["spec"]["selector"]["matchLabels"]
        assert labels.items() <= manifests["Service", name]["metadata"]["labels"].items()


def test_a_probe_is_confined_reaches_gateways_alone_and_is_scraped(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "monitoring")
    spec = pod(manifests, "probe")
    (container,) = spec["containers"]
    assert spec["securityContext"] == pod(manifests, "gateway")["securityContext"]
    assert container["securityContext"] == pod(manifests, "gateway")["containers"][0]["securityContext"]
    assert container["image"] == pod(manifests, "gateway")["containers"][0]["image"]
    command = parse(container["args"])
    assert isinstance(command, Probe)
    assert (command.urls, command.arguments.port) == (["http://gateway:8080", "grpc://gateway:8081"], 9101)
    own = {"app.kubernetes.io/name": "probe"}
    assert manifests["PodMonitor", "probe"]["spec"]["selector"]["matchLabels"] == own
    policy = manifests["NetworkPolicy", "probe"]["spec"]
    assert policy["podSelector"]["matchLabels"] == own
    assert policy["egress"][0]["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]


def test_a_candidate_has_its_own_tritons_which_only_gateways_can_reach(tmp_path: Path) -> None:
    path = tmp_path / "candidate.yaml"
    path.write_text(rendered(FOLDER / "candidate"))
    run(tool("kubernetes-validate", "pip install kubernetes-validate"), "--strict", path)
    manifests = by_name(path.read_text())
    assert {name for _, name in manifests} == {"candidate-triton", "candidate-egress", "candidate-ingress"}
    own = {"app.kubernetes.io/name": "candidate"}
    deployment = manifests["Deployment", "candidate-triton"]["spec"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"] == own
    assert pod(manifests, "candidate-triton")["containers"][0]["image"] == "h3r-landmarks/triton-cpu:candidate"
    service = manifests["Service", "candidate-triton"]["spec"]
    assert (service["selector"], service["clusterIP"]) == (own, "None")
    assert manifests["PodDisruptionBudget", "candidate-triton"]["spec"]["selector"]["matchLabels"] == own
    scaled = manifests["HorizontalPodAutoscaler", "candidate-triton"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == "candidate-triton"
    (there,) = manifests["NetworkPolicy", "candidate-egress"]["spec"]["egress"]
    assert there["to"] == [{"podSelector": {"matchLabels": own}}]
    assert manifests["NetworkPolicy", "candidate-ingress"]["spec"]["podSelector"]["matchLabels"] == own


def test_a_component_configures_gateways_with_a_candidate(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "candidate")
    (settings,) = (manifest["data"] for (kind, _), manifest in manifests.items() if kind == "ConfigMap")
    assert settings["LANDMARKS_CANDIDATE_URL"] == "candidate-triton:8001"
    assert settings["LANDMARKS_TRITON_URL"] == "triton:8001"  # added to the others
    spec = pod(manifests, "gateway")
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "candidate")
    assert volume["configMap"] == {"name": "candidate", "optional": True}
    assert settings["LANDMARKS_CANDIDATE_SHARE_FILE"] == f"{mounts['candidate']}/share"
