"""API keys, of which the service stores only hashes, and the protection without which it refuses to start.

A key has 256 random bits and cannot be guessed, so that one round of SHA-256 without a salt is enough to store it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.security.files import read_file
from service.security.tls import Tls
from service.settings import Settings

PREFIX: Final = "lmk_"
"""The prefix of every key, by which scanners for leaked secrets recognise one."""
MISSING_KEY: Final = "this service requires an API key: send it as Authorization: Bearer <key>, or as X-API-Key: <key>"
_ENTRY: Final = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-fA-F]{64})")


class SecurityError(ValueError):
    """The service cannot be protected as its settings ask. The message says why, and what to do."""


@dataclass
class ApiKeys:
    """The keys that both APIs accept. Where there are none from the start, requests need none."""

    digests: Mapping[str, bytes] = field(default_factory=dict)
    """SHA-256 of each key, by the name of its holder. Replaced as a whole when the file of keys has changed."""

    def __bool__(self) -> bool:
        return bool(self.digests)

    def holder(self, key: str) -> str | None:
        """The name of the key's holder; None for an unknown key. Every known key is compared, in constant time."""
        digest = hashlib.sha256(key.encode()).digest()
        found = [name for name, known in self.digests.items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def key_of(authorization: str | None, x_api_key: str | None) -> str:
    """The key of `Authorization: Bearer <key>` or of `X-API-Key: <key>`; empty without either."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else (x_api_key or "").strip()


def new_key(name: str) -> tuple[str, str]:
    """A new key, and its line for the file of keys. Raises SecurityError for an invalid name."""
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _ENTRY.fullmatch(line):
        raise SecurityError("a name is 1 to 64 letters, digits, dots, dashes or underscores")
    return key, line


def read_keys(settings: Settings) -> ApiKeys:
    """The keys of the file and of the environment together. Raises SecurityError, also where keys are asked for and
    none is given.
    """
    digests = read_digests(settings)
    if not digests and (settings.api_keys is not None or settings.api_keys_file is not None):
        raise SecurityError(
            "LANDMARKS_API_KEYS and LANDMARKS_API_KEYS_FILE hold no key: create one with `landmarks keys new NAME`"
        )
    return ApiKeys(digests)


def read_digests(settings: Settings) -> dict[str, bytes]:
    """SHA-256 of the keys of the file and of the environment, by the names of their holders. Raises SecurityError."""
    digests: dict[str, bytes] = {}
    _add(digests, re.split(r"[,\s]+", settings.api_keys or ""), "LANDMARKS_API_KEYS")
    if settings.api_keys_file is not None:
        try:
            lines = read_file(settings.api_keys_file).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SecurityError(f"LANDMARKS_API_KEYS_FILE: {settings.api_keys_file} cannot be read: {error}") from error
        _add(digests, (line.partition("#")[0] for line in lines), str(settings.api_keys_file))
    return digests


def _add(digests: dict[str, bytes], entries: Iterable[str], where: str) -> None:
    """Adds entries "name:sha256"; empty ones are skipped. No message quotes an entry: it may be a key by mistake."""
    for number, entry in enumerate(entries, 1):
        if not entry.strip():
            continue
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise SecurityError(
                f"{where}: entry {number} is not name:sha256 in hexadecimal; `landmarks keys new NAME` prints one"
            )
        if match[1] in digests:
            raise SecurityError(f"{where}: the name {match[1]!r} is given twice; give each key a name of its own")
        digests[match[1]] = bytes.fromhex(match[2])


# ---------------------------------------------------------------- keys, TLS and CORS together


@dataclass(frozen=True)
class Protection:
    """What both APIs require of a client, and which other origins the REST API allows."""

    keys: ApiKeys = field(default_factory=ApiKeys)
    tls: Tls | None = None
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    """Names in the header Host that are answered, besides addresses and localhost; None for any name."""
    metrics_here: bool = True
    """Whether the REST API itself has `/metrics`."""


def read_protection(settings: Settings) -> Protection:
    """The protection that the settings ask for. Raises SecurityError, also where the address needs more than that."""
    tls = _tls(settings)
    keys = read_keys(settings)
    authenticates = bool(keys) or (tls is not None and tls.client_ca is not None)
    address = settings.published_host or settings.host
    if not (authenticates or settings.insecure or is_loopback(address)):
        name = "LANDMARKS_PUBLISHED_HOST" if settings.published_host else "LANDMARKS_HOST"
        raise SecurityError(
            f"{name}={address} is reachable from other machines, and clients are not authenticated: "
            "create a key with `landmarks keys new NAME` and set LANDMARKS_API_KEYS or LANDMARKS_API_KEYS_FILE, or set "
            "LANDMARKS_TLS_CLIENT_CA; where the network itself keeps other clients away, start with --insecure or "
            "LANDMARKS_INSECURE=true"
        )
    hosts = None if authenticates else tuple(name.lower() for name in (settings.host, *settings.allowed_hosts))
    return Protection(keys, tls, settings.cors_origins, hosts, metrics_here=settings.metrics_port is None)


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from its own machine only. A name other than localhost may be any address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(settings: Settings) -> Tls | None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        if not certificate == key == settings.tls_client_ca:
            raise SecurityError("TLS needs both LANDMARKS_TLS_CERTIFICATE and LANDMARKS_TLS_KEY")
        return None
    try:
        return Tls(certificate, key, settings.tls_client_ca)
    except (OSError, ValueError) as error:
        raise SecurityError(
            f"TLS cannot be used with LANDMARKS_TLS_CERTIFICATE={_path(certificate)}, LANDMARKS_TLS_KEY={_path(key)}, "
            f"LANDMARKS_TLS_CLIENT_CA={_path(settings.tls_client_ca)} ({error}): give PEM files that belong together, "
            "the key without a passphrase"
        ) from error


def _path(path: Path | None) -> str:
    return "" if path is None else str(path)
