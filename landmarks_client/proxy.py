"""The HTTP proxy that gRPC takes from the environment: never for this machine, and named where a connection fails."""

from __future__ import annotations

import ipaddress
import os
from typing import Final
from urllib.parse import urlsplit

_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCLUSIONS: Final = ("no_grpc_proxy", "no_proxy")
"""The variables that gRPC reads, of each group the first that is set. It ignores their upper-case spellings."""


def proxy_options(address: str) -> list[tuple[str, int]]:
    """The channel options for host:port: no proxy for an address of this machine, which no proxy could reach."""
    return [("grpc.enable_http_proxy", 0)] if is_local(address) else []


def proxy_advice(address: str) -> str:
    """What to do about the variable that names the proxy of host:port; empty without a proxy."""
    host = _host(address)
    variable = _first_set(_VARIABLES)
    excluded = os.environ.get(_first_set(_EXCLUSIONS) or "", "").lower().split(",")
    if variable is None or is_local(address) or any(_matches(host, entry.strip()) for entry in excluded):
        return ""
    return f" (through the proxy that the variable {variable} names; set no_proxy={host} to connect directly)"


def is_local(address: str) -> bool:
    """Whether host:port is an address of this machine alone, or stands for all of its own (0.0.0.0, ::).

    unix:PATH is one.
    """
    if address.startswith("unix:"):
        return True
    host = _host(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return ip.is_loopback or ip.is_unspecified


def _matches(host: str, entry: str) -> bool:
    """Whether an entry of no_proxy, the end of a name or a range of addresses, includes the host."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return entry != "" and host.endswith(entry)


def _host(address: str) -> str:
    """The host of host:port, in lower case, of an IPv6 address without its brackets."""
    return urlsplit(f"//{address}").hostname or ""


def _first_set(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if os.environ.get(name)), None)
