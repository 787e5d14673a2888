"""The settings of the gateway, read once from `LANDMARKS_*` in the environment and from flags, and passed down."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from landmarks.parallelism import MAX_STREAMS
from landmarks.tensors import MAX_DETECTION_SIDE, Precision
from service.images.limits import DEFAULT_MAX_SIDE, OPENCV_MAX_SIDE
from service.limits import DEFAULT_MIN_SCORE, MAX_ITEMS

PREFIX: Final = "LANDMARKS_"
"""Of every variable of the environment."""
_NOT_SETTINGS: Final = frozenset({"LANDMARKS_API_KEY", "LANDMARKS_TEST_DATA"})
"""Variables of the environment that are for clients and for tests."""

_REST_PATHS: Final = frozenset(
    {"v1", "page", "docs", "openapi.json", "static-offline-docs", "healthz", "readyz", "metrics"}
)
"""What the paths of REST begin with."""


AnyCase: Final = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
"""Of a setting that takes one of several words: INFO is info."""


class ListenSettings(BaseModel):
    """Addresses and ports"""

    host: str = Field("127.0.0.1", description="Address that REST and gRPC listen on.")
    published_host: str | None = Field(
        None,
        description="Address by which other machines reach a container that listens on all of its own; Compose sets "
        "it to BIND. Whether clients must be authenticated follows from it, if it is set, instead of from host.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of REST; 0 takes a free one.")
    grpc_port: int = Field(8081, ge=0, le=65535, description="Port of gRPC; 0 takes a free one.")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which a reverse proxy serves REST, such as /faces, whether or not the proxy removes it "
        "from requests; OpenAPI then names it as the server.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of /metrics, /healthz and /readyz alone, in plain HTTP and without keys, for Prometheus and "
        "probes; 0 takes a free one. When it is set, REST has no /metrics.",
    )
    metrics_host: str | None = Field(None, description="Address that the metrics' port listens on; unset: host.")

    @field_validator("host", "published_host", "metrics_host")
    @classmethod
    def _is_without_a_port(cls, value: str | None) -> str | None:
        """An IPv6 address may have the brackets that it has in a URL."""
        host = value[1:-1] if value and value[0] + value[-1] == "[]" else value
        if host and ":" in host:
            try:
                ipaddress.IPv6Address(host)
            except ValueError as error:
                raise ValueError(f"{value!r} is no address: give it without a port, which is a setting too") from error
        return host

    @field_validator("port", "grpc_port", "metrics_port", mode="before")
    @classmethod
    def _is_no_service_link(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and "://" in value:
            service = variable(info.field_name or "").removesuffix("_PORT").lower().replace("_", "-")
            raise ValueError(
                f"must be a number, not {value}: Kubernetes sets the variable so for a service called {service}, "
                "unless the pod says enableServiceLinks: false"
            )
        return value

    @field_validator("root_path")
    @classmethod
    def _is_no_path_of_rest(cls, value: str) -> str:
        if value and value.split("/")[1] in _REST_PATHS:
            raise ValueError(f"{value} begins like a path of REST itself: choose another one")
        return value

    @field_validator("grpc_port", "metrics_port")
    @classmethod
    def _is_another(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value in (info.data.get("port"), info.data.get("grpc_port")):
            raise ValueError(f"{value} is the port of another API; 0 takes a free one")
        return value


class SecuritySettings(BaseModel):
    """Who may connect"""

    api_keys_file: Path | None = Field(
        None,
        description="File with one API key a line, as name:sha256; `landmarks keys new NAME` makes the key and the "
        "line. REST and gRPC then require a key. What follows a # is a comment.",
    )
    api_keys: str | None = Field(
        None, repr=False, description="The same lines separated by commas, where a file is inconvenient."
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the server's certificate and its chain: REST and gRPC then speak TLS only."
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key, without a passphrase.")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of the authorities of clients' certificates: a client without a certificate of theirs "
        "is refused (mutual TLS).",
    )
    insecure: bool = Field(
        False,
        description="Allows a host that other machines can reach without API keys and clients' certificates, where "
        "the network itself keeps other clients away.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names in the header Host that REST answers while no client is authenticated, separated by "
        "commas; addresses and localhost always are. Other names could be a web page's that resolve to this machine.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose pages may use REST from a browser, separated by commas: https://tools.example.com. "
        "What other pages post is refused.",
    )

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://tools.example.com or http://localhost:3000: give the "
                    "scheme, the host and the port of each, without a slash at the end"
                )
        return value


class NetworkSettings(BaseModel):
    """Models and inference"""

    engine: Annotated[Literal["embedded", "local"], AnyCase] = Field(
        "embedded",
        description="What runs the network when triton_url is unset: 'embedded' starts a Triton as a child process, "
        "'local' runs the same network and decoder in this process (where the Triton wheel does not run).",
    )
    precision: Annotated[Precision, AnyCase] = Field(
        "float32",
        description="Precision of the network that this process runs or starts a Triton for: 'int8' is the model "
        "repository's 8-bit network, faster on CPUs and hardly less accurate (docs/deploy/operate.md#8-bits).",
    )
    network_threads: int = Field(
        0,
        ge=0,
        description="Threads of the landmark network, at most one a core; 0 leaves the number to OpenVINO, within a "
        "limit of CPU time. `landmarks tune` measures what this machine does best with; a Triton that runs elsewhere "
        "is told by the same variable of its own environment.",
    )
    network_streams: int = Field(
        0,
        ge=0,
        le=MAX_STREAMS,
        description="Crops that the landmark network computes beside each other, each with a part of the threads; 0 "
        "takes as many as threads, at most 8. Tuned and told likewise.",
    )
    triton_calls: int = Field(
        2,
        ge=1,
        le=64,
        description="Calls in flight to a model of each Triton. More requests wait in this process, which gathers "
        "them into the next calls.",
    )
    triton_url: str | None = Field(
        None,
        description="host:port (or unix:PATH) of the gRPC endpoint of a Triton that is already running, or several "
        "separated by commas; a name that resolves to several addresses counts as all of them.",
    )
    triton_tls_ca: Path | None = Field(
        None,
        description="PEM file of the authorities of the Tritons' certificates: the connections to triton_url and "
        "candidate_url then use TLS, and a certificate must be for the host that the URL names.",
    )
    triton_tls_certificate: Path | None = Field(
        None, description="PEM file of the gateway's certificate for Tritons that ask for one (mutual TLS)."
    )
    triton_tls_key: Path | None = Field(None, description="PEM file of that certificate's key, without a passphrase.")
    model_repository: Path | None = Field(
        None,
        description="Folder that Triton loads; by default the model_repo of the checkout or of the current folder.",
    )
    startup_timeout: float = Field(120.0, gt=0, description="Seconds the network may take to become ready.")
    detection_size: int = Field(
        MAX_DETECTION_SIDE,
        ge=64,
        le=MAX_DETECTION_SIDE,
        description="Faces are searched for in an image reduced to this longest side in pixels. Faces smaller than 10 "
        "pixels in it are not found; half the size is a quarter of the work.",
    )
    yunet_path: Path | None = Field(
        None, description="ONNX file of the YuNet face detector, to be used instead of the model repository's own."
    )


class RolloutSettings(BaseModel):
    """Rollout of a candidate model"""

    candidate_url: str | None = Field(
        None,
        description="host:port of the Tritons of a candidate, a model that is tried out beside the one that serves; "
        "several as for triton_url. The service starts without it, and the serving model answers what it fails on.",
    )
    candidate_repository: Path | None = Field(
        None,
        description="Folder of the candidate's model where candidate_url is unset: a second Triton of this process "
        "loads it, or with engine=local this process itself.",
    )
    candidate_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the images that the candidate answers, of those whose request names no model.",
    )
    candidate_share_file: Path | None = Field(
        None,
        description="File that holds the candidate's share instead, read again every second: 0 to 1, as text. One that "
        "cannot be read, or holds something else, leaves the share as it was.",
    )
    compare_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the images whose faces are given to the other model as well, to compare the points; two "
        "at a time, and never before the answer.",
    )


class LimitSettings(BaseModel):
    """Limits"""

    max_bytes: int = Field(32 * 2**20, ge=1, description="Largest image file in bytes.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image in pixels, checked before it is decoded.")
    max_side: int = Field(
        DEFAULT_MAX_SIDE, ge=1, le=OPENCV_MAX_SIDE, description="Longest image side in pixels, checked as well."
    )
    max_faces: int = Field(32, ge=1, le=MAX_ITEMS, description="Most faces answered and boxes accepted per image.")
    min_score: float = Field(
        DEFAULT_MIN_SCORE,
        ge=0,
        le=1,
        description="Least score of a detected face that is answered, unless a request chooses its own; 0 answers all.",
    )
    max_images: int = Field(16, ge=1, le=MAX_ITEMS, description="Most images in one call.")
    max_batch_bytes: int = Field(64 * 2**20, ge=1, description="Largest call of several images in bytes.")
    max_in_flight: int = Field(64, ge=1, description="Requests processed at a time; any more are refused at once.")
    max_memory: int = Field(
        0,
        ge=0,
        description="Bytes that requests may hold at a time, a third of it bodies and the rest images; 0: what a "
        "limit of the control group leaves (all but 512 MiB, at least half), else half of the machine's memory. What "
        "could never fit is refused as too large; bodies are refused as overloaded, and images wait.",
    )
    max_connections: int = Field(
        1000,
        ge=1,
        description="Open connections of REST, and as many of gRPC; fewer where the process may not open so many "
        "files. At the limit, the connection that has been idle longest gives way to a new one.",
    )
    max_connections_per_peer: int = Field(
        500,
        ge=1,
        description="Open connections of each API from one address (IPv6: one network of 64 bits), which may also have "
        "this share (at least half) of the memory for bodies and of the calls of gRPC. Behind a reverse proxy all "
        "clients have its address: set the value of max_connections.",
    )
    request_timeout: float = Field(30.0, gt=0, description="Seconds a request may take unless its client says less.")
    read_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds in which the headers of a REST request must arrive, and intervals in which its body must "
        "arrive at 1 KiB a second or end.",
    )
    grace: float = Field(
        30.0, ge=0, description="Seconds that requests in flight get to finish when the service stops."
    )
    threads: int = Field(0, ge=0, description="Threads that decode, detect and crop; 0 takes one per core, at most 8.")


class ObservabilitySettings(BaseModel):
    """Logs and traces"""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="Least severity that is logged; every request is a line of severity info."
    )
    log_format: Annotated[Literal["text", "json"], AnyCase] = Field(
        "text", description="Lines to read, or one JSON object a line with request_id and trace_id."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry collector that takes OTLP over HTTP, as in http://127.0.0.1:4318: traces "
        "are sent there (pip install h3r-landmarks[otel]). The SDK's own variables OTEL_* configure the rest.",
    )


_NUMBERS: Final = (int, float, int | None, float | None)
"""The types of settings that are numbers."""


class Settings(
    ListenSettings,
    SecuritySettings,
    NetworkSettings,
    RolloutSettings,
    LimitSettings,
    ObservabilitySettings,
    BaseSettings,
):
    """The default of every setting suits a laptop; `LANDMARKS_PORT=9000` in the environment sets `port`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuses numbers written as 80_80, which pydantic would read."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if annotation in _NUMBERS and isinstance(value, str) and "_" in value:
            raise ValueError("a number is written in the digits 0 to 9, a point and a sign")
        return value


GROUPS: Final[tuple[type[BaseModel], ...]] = tuple(
    base for base in Settings.__bases__ if issubclass(base, BaseModel) and base is not BaseSettings
)
"""The settings by subject; the docstring of each is its title."""


def variable(setting: str) -> str:
    """The variable of the environment that holds a setting."""
    return PREFIX + setting.upper()


def unknown_settings(environment: Iterable[str]) -> list[str]:
    """Variables that begin as settings do but are none: misspelt, most likely."""
    known = _NOT_SETTINGS | {variable(name) for name in Settings.model_fields}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
