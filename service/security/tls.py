"""TLS of both APIs from one set of PEM files; mutual TLS where clients need a certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc


@dataclass(frozen=True)
class Tls:
    certificate: Path
    """The server's certificate, and after it the chain up to a root that clients trust."""
    key: Path
    client_ca: Path | None = None
    """Root certificates of the clients' certificates; a client without such a certificate is refused."""

    def check(self) -> None:
        """Raises OSError (which ssl.SSLError is) or ValueError unless the files can be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # without a password OpenSSL would ask for it on the terminal
        context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)

    def uvicorn_options(self) -> dict[str, Any]:
        """Arguments of uvicorn.Config. Python's defaults require at least TLS 1.2."""
        return {
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
            "ssl_ca_certs": self.client_ca,
            "ssl_cert_reqs": ssl.CERT_NONE if self.client_ca is None else ssl.CERT_REQUIRED,
        }

    def grpc_credentials(self) -> grpc.ServerCredentials:
        roots = None if self.client_ca is None else self.client_ca.read_bytes()
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
