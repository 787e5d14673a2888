"""TLS of the connections to Tritons: whom they trust, and how the gateway identifies itself."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from service.security.reload import WatchedFiles


class TritonTls:
    """Credentials for connections to Tritons, from PEM files that may be replaced."""

    def __init__(self, ca: Path, certificate: Path | None = None, key: Path | None = None) -> None:
        """`ca`: the authorities of the Tritons' certificates. `certificate` and `key`: the gateway's own, where Tritons
        ask for one (mutual TLS). Raises OSError (which ssl.SSLError is) unless the files can be used.
        """
        self._ca, self._certificate, self._key = ca, certificate, key
        self._load()
        self._files = WatchedFiles([path for path in (ca, certificate, key) if path is not None], self._load)

    def credentials(self) -> grpc.ChannelCredentials:
        """The same object until the files have changed. Those that cannot be used leave what was read before."""
        self._files.look()
        return self._credentials

    def _load(self) -> None:
        context = ssl.create_default_context(cafile=self._ca)
        if self._certificate is not None:
            # gRPC itself would only fail to connect; without a password OpenSSL would ask for it on the terminal
            context.load_cert_chain(self._certificate, self._key, password="")
        own = [None if path is None else path.read_bytes() for path in (self._key, self._certificate)]
        self._credentials = grpc.ssl_channel_credentials(self._ca.read_bytes(), *own)
