"""TLS of both APIs from one set of PEM files, which may be replaced; mutual TLS where clients need a certificate."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import grpc

from service.security.files import read_file


@dataclass
class Tls:
    """Certificate and key as they were read last. Raises OSError (which ssl.SSLError is) or ValueError, as `load`."""

    certificate: Path
    """The server's certificate, and after it the chain up to a root that clients trust."""
    key: Path
    client_ca: Path | None = None
    """Root certificates of the clients' certificates; a client without such a certificate is refused."""
    context: ssl.SSLContext = field(init=False, compare=False)
    """For the next connection of REST."""
    expires: float = field(init=False, compare=False)
    """When the certificate expires, in seconds since 1970."""

    def __post_init__(self) -> None:
        self.load()

    def load(self) -> None:
        """Reads the files, for connections from now on. Raises OSError or ValueError unless they can be used."""
        certificate, key = read_file(self.certificate), read_file(self.key)
        roots = None if self.client_ca is None else read_file(self.client_ca)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # Python's defaults require at least TLS 1.2
        # without a password OpenSSL would ask for it on the terminal
        context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], roots)
        self.expires = expiry(certificate.decode("ascii", "replace"))
        self.context, self._configuration = context, configuration

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials that use the files as they were loaded last."""
        given = self._configuration

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self._configuration is given:
                return None
            given = self._configuration
            return given

        return grpc.dynamic_ssl_server_credentials(given, newer, self.client_ca is not None)


def expiry(pem: str) -> float:
    """When the first certificate of a PEM file expires (RFC 5280, 4.1), in seconds since 1970. Raises ValueError."""
    found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.DOTALL)
    if found is None:
        raise ValueError("no certificate in the file")
    der = ssl.PEM_cert_to_DER_cert(found[0])
    at, _ = _content(der, _content(der, 0)[0])  # Certificate, TBSCertificate
    for _ in range(4 if der[at] == 0xA0 else 3):  # version, if given; serial number, algorithm, issuer
        at = _content(der, at)[1]
    not_before, _ = _content(der, at)  # Validity
    not_after = _content(der, not_before)[1]
    start, end = _content(der, not_after)
    text = der[start:end].decode("ascii")
    form = "%y%m%d%H%M%SZ" if der[not_after] == 0x17 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the DER element that begins at `at` begins and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return start, start + length
