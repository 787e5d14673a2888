"""What a browser may be made to send by a page that is not this service's own.

A page can have a browser post a form to any address, without asking first. And it can let the name of its own host
resolve to this machine (DNS rebinding), and then read the answers as those of its own origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Change nothing and cost little; without CORS headers another page cannot read their answers."""


def wrong_host(headers: Headers, allowed: Collection[str]) -> str | None:
    """The Host that is neither an address, nor a loopback name, nor one of the `allowed` names; None if there is none.

    An address is no name that could resolve to another one.
    """
    return next((host for host in headers.getlist("host") if not _is_own(host, allowed)), None)


def is_foreign(method: str, headers: Headers, origins: Collection[str]) -> bool:
    """Whether a page of another origin than this service's and `origins` makes the browser send this request."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if method in _SAFE_METHODS or origin in origins:
        return False
    if site is not None:  # the browser knows; behind a proxy, Host and Origin may differ
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _is_own(host: str, allowed: Collection[str]) -> bool:
    name = _without_port(host).lower().rstrip(".")
    if name in ("", "localhost") or name.endswith(".localhost") or name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
