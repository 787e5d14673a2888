"""The command `landmarks probe`: asks a running service for the landmarks of a portrait, as any client does.

Once, or again and again with the results as metrics for Prometheus. It needs nothing of the service but its address, so
it notices whatever keeps clients from an answer: names, certificates, keys, limits, the network and the models.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import time
from importlib.resources import files
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from landmarks_client import Answer, Client, ClientUsageError, LandmarksError, Tls
from service.cli.arguments.probe import Probe
from service.cli.interrupt import INTERRUPTED

LEAST_SCORE: Final = 0.5
"""Of the portrait's face in an answer that counts as right."""
_KEY_VARIABLE: Final = "LANDMARKS_API_KEY"
_PORTRAIT: Final = "golden.png"


class WrongAnswer(Exception):
    """The service answered, but not with the face of the portrait; the message says with what."""


class Result(NamedTuple):
    """Of one question to one service."""

    code: str
    """"ok", the code of a LandmarksError, "wrong_answer", or "unresolved" for a name without an address."""
    detail: str
    seconds: float


class ProbeMetrics:
    """What Prometheus scrapes from a probe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._success = Gauge(
            "landmarks_probe_success", "1 if the last question was answered rightly", ["url"], registry=self.registry
        )
        self._seconds = Gauge(
            "landmarks_probe_seconds", "Time of the last question and its answer", ["url"], registry=self.registry
        )
        self._results = Counter(
            "landmarks_probe_results", "Questions, by code", ["url", "code"], registry=self.registry
        )

    def observe(self, url: str, result: Result) -> None:
        """One question was answered, or was not."""
        self._success.labels(url).set(result.code == "ok")
        self._seconds.labels(url).set(result.seconds)
        self._results.labels(url, result.code).inc()


def probe(command: Probe) -> int:
    """Asks every service. Returns the exit status: 0, 1 where one of them did not answer rightly, 2 for an address, a
    key or TLS files that no client can use, 130 for Ctrl-C. With a port it returns only then.
    """
    try:
        for url in command.urls:
            _client(url, command).close()
        if command.arguments.port is None:
            return _ask_once(command)
        _ask_periodically(command, command.arguments.port)
    except (ClientUsageError, OSError) as error:  # a port that is in use
        sys.stderr.write(f"landmarks: {error}\n")
        return 1 if isinstance(error, OSError) else 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _ask_once(command: Probe) -> int:
    results = [_ask_and_report(url, command) for url in command.urls]
    return 0 if all(result.code == "ok" for result in results) else 1


def _ask_periodically(command: Probe, port: int) -> None:
    metrics = ProbeMetrics()
    server, _ = start_http_server(port, command.arguments.host, metrics.registry)
    sys.stderr.write(f"metrics at http://{command.arguments.host}:{server.server_port}/metrics\n")
    while True:
        for url in command.urls:
            metrics.observe(url, _ask_and_report(url, command))
        time.sleep(command.arguments.interval)


def _ask_and_report(url: str, command: Probe) -> Result:
    result = ask(url, command)
    sys.stderr.write(f"{url}: {result.code} in {result.seconds:.2f} s{': ' if result.detail else ''}{result.detail}\n")
    sys.stderr.flush()
    return result


def ask(url: str, command: Probe) -> Result:
    """Sends the portrait to each address behind a URL. The first that does not answer rightly is the result."""
    portrait = files("landmarks").joinpath(_PORTRAIT).read_bytes()
    began = time.monotonic()
    code, detail = "ok", ""
    try:
        for address in addresses(url):
            with _client(address, command) as client:
                check(client.landmarks(portrait))
    except LandmarksError as error:
        code, detail = error.code, error.detail
    except WrongAnswer as error:
        code, detail = "wrong_answer", str(error)
    except OSError as error:
        code, detail = "unresolved", str(error)
    return Result(code, detail, time.monotonic() - began)


def check(answer: Answer) -> None:
    """Raises WrongAnswer unless one face with a high score lies where the portrait has it."""
    if len(answer.faces) != 1:
        raise WrongAnswer(f"{len(answer.faces)} faces instead of one")
    (face,) = answer.faces
    x, y = (face.box[:2] + face.box[2:]) / 2
    if not (0.25 < x / answer.width < 0.75 and 0.25 < y / answer.height < 0.75):
        raise WrongAnswer(f"a face at {x:.0f}, {y:.0f}, where the portrait has none")
    if not face.score >= LEAST_SCORE:
        raise WrongAnswer(f"a face with a score of {face.score:.2f}, less than {LEAST_SCORE:g}")


def addresses(url: str) -> list[str]:
    """The URL of each server behind a name: of every container of a scaled service, for example. Raises OSError.

    With TLS it is the URL itself, because a certificate is for a name. Without, a gateway that authenticates no client
    answers to addresses, but not to every name.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "grpc") or host == "localhost" or _is_address(host):
        return [url]
    found = sorted({info[4][0] for info in socket.getaddrinfo(host, parts.port, type=socket.SOCK_STREAM)}, key=str)
    port = "" if parts.port is None else f":{parts.port}"
    return [
        parts._replace(netloc=f"[{address}]{port}" if ":" in str(address) else f"{address}{port}").geturl()
        for address in found
    ]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _client(url: str, command: Probe) -> Client:
    """Raises ClientUsageError."""
    tls = command.tls
    paths = (tls.ca, tls.cert, tls.key)
    return Client(
        url,
        api_key=os.environ.get(_KEY_VARIABLE) or None,  # Compose sets it to nothing
        tls=Tls(*paths) if any(paths) else None,
        timeout=command.arguments.timeout,
    )
