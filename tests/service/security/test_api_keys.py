"""API keys, and the protection without which the service does not start."""

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.__main__ import main
from service.security.api_keys import ApiKeys, SecurityError, is_loopback, key_of, new_key, read_keys, read_protection
from service.settings import Settings
from tests.conftest import ROOT
from tests.e2e.test_gateway import environment

# of "open sesame"
SESAME = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LANDMARKS_")]:
        monkeypatch.delenv(name)


def made(**values: Any) -> Settings:
    return Settings(**values)


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, Path]:
    """Files of a certificate for localhost, its key, their authority, and another key."""
    authority, other = trustme.CA(), trustme.CA().issue_cert("localhost")
    issued = authority.issue_cert("localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "authority", "other_key")}
    issued.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    other.private_key_pem.write_to_path(str(paths["other_key"]))
    return paths


def test_a_key_is_known_by_its_hash():
    keys = read_keys(made(api_keys=f"ana:{SESAME}"))
    assert keys.holder("open sesame") == "ana"
    assert [keys.holder(wrong) for wrong in ("", "open sesam", "open sesame ", SESAME, "\u00e9", "x" * 10**5)] == [
        None
    ] * 6


def test_a_new_key_fits_its_line_and_is_long():
    (key, line), (other, _) = new_key("ana"), new_key("ana")
    assert read_keys(made(api_keys=line)).holder(key) == "ana"
    assert key != other
    assert len(key) >= 43  # 256 bits in base64
    for name in ("", "a b", "a:b", "a,b", "x" * 65, "a\nb"):
        with pytest.raises(SecurityError, match="1 to 64 letters"):
            new_key(name)


def test_file_and_environment_add_up_with_comments_and_empty_lines(tmp_path: Path):
    (first, line), (second, other), (third, more) = new_key("a"), new_key("b"), new_key("c-2.x")
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n{line}\n{other}  # until May\n")
    keys = read_keys(made(api_keys_file=path, api_keys=f" {more} , "))
    assert [keys.holder(key) for key in (first, second, third)] == ["a", "b", "c-2.x"]


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf" + f"ana:{'0f' * 32}\r\n".encode())
    assert read_keys(made(api_keys_file=path)).digests == {"ana": b"\x0f" * 32}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "hold no key"),
        ("# nothing\n", "hold no key"),
        ("open sesame\n", "entry 1 is not name:sha256"),
        (f"a:{SESAME}\nb:open-sesame\n", "entry 2 is not name:sha256"),
        (f"a:{SESAME[:-1]}\n", "entry 1"),
        (f"a:{SESAME}\na:{SESAME}\n", "the name 'a' is given twice"),
    ],
)
def test_an_invalid_file_of_keys_is_refused_and_not_quoted(tmp_path: Path, text: str, says: str):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SecurityError, match=says) as raised:
        read_keys(made(api_keys_file=path))
    assert "sesame" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SecurityError, match=r"LANDMARKS_API_KEYS_FILE: .*nowhere cannot be read"):
        read_keys(made(api_keys_file=tmp_path / "nowhere"))


def test_every_known_key_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch):
    compared: list[bytes] = []
    really = hmac.compare_digest

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return really(known, given)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = ApiKeys({name: hashlib.sha256(name.encode()).digest() for name in "abc"})
    counts = []
    for key in ("a", "c", "wrong"):
        keys.holder(key)
        counts.append(len(compared))
    assert counts == [3, 6, 9]


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "key"),
    [
        ("Bearer k", None, "k"),
        ("bearer  k ", None, "k"),
        (None, " k", "k"),
        ("Bearer k", "other", "k"),
        ("Basic k", "other", "other"),
        ("Bearer", None, ""),
        ("k", None, ""),
        (None, None, ""),
    ],
)
def test_a_key_is_read_from_either_header(authorization, x_api_key, key):
    assert key_of(authorization, x_api_key) == key


@settings(max_examples=30)
@given(st.text(), st.none() | st.text())
def test_no_other_header_is_accepted_as_a_key(authorization, x_api_key):
    assert ApiKeys({"ana": bytes.fromhex(SESAME)}).holder(key_of(authorization, x_api_key)) is None


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_addresses_that_only_this_machine_can_reach(host: str, alone: bool):
    assert is_loopback(host) is alone


def test_other_machines_are_served_only_when_they_are_authenticated(pem: dict[str, Path]):
    certificate = {"tls_certificate": pem["certificate"], "tls_key": pem["key"]}
    for open_to_all in ({}, certificate):
        with pytest.raises(SecurityError, match=r"landmarks keys new NAME.*--insecure or LANDMARKS_INSECURE=true"):
            read_protection(made(host="0.0.0.0", **open_to_all))
    assert read_protection(made(host="0.0.0.0", api_keys=f"ana:{SESAME}")).keys
    assert read_protection(made(host="0.0.0.0", **certificate, tls_client_ca=pem["authority"])).tls
    assert not read_protection(made(host="0.0.0.0", insecure=True)).keys
    assert not read_protection(made()).keys


def test_invalid_tls_files_are_reported_at_the_start(pem: dict[str, Path], tmp_path: Path):
    good = {"tls_certificate": pem["certificate"], "tls_key": pem["key"]}
    assert read_protection(made(**good)).tls
    for missing in good:
        with pytest.raises(SecurityError, match="both LANDMARKS_TLS_CERTIFICATE and LANDMARKS_TLS_KEY"):
            read_protection(made(**{name: path for name, path in good.items() if name != missing}))
    with pytest.raises(SecurityError, match="both"):
        read_protection(made(tls_client_ca=pem["authority"]))
    empty = tmp_path / "empty.pem"
    empty.touch()
    for changed in ({"tls_key": pem["other_key"]}, {"tls_certificate": tmp_path / "nowhere"}, {"tls_client_ca": empty}):
        with pytest.raises(SecurityError, match="PEM files that belong together"):
            read_protection(made(**{**good, **changed}))


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(pem: dict[str, Path]):
    command: list[Any] = [
        "openssl",
        "pkey",
        "-in",
        pem["key"],
        "-aes256",
        "-passout",
        "pass:open",
        "-out",
        pem["other_key"],
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    with pytest.raises(SecurityError, match="without a passphrase"):
        read_protection(made(tls_certificate=pem["certificate"], tls_key=pem["other_key"]))


def test_origins_are_listed_by_commas():
    assert made(cors_origins="https://a.example, http://b.example:8000").cors_origins == (
        "https://a.example",
        "http://b.example:8000",
    )
    for wrong in ("a.example", "*", "https://a.example/", ""):
        with pytest.raises(ValidationError, match="not an origin"):
            made(cors_origins=wrong)


def test_keys_are_not_shown_with_the_settings():
    assert SESAME not in repr(made(api_keys=f"ana:{SESAME}"))


def test_the_command_prints_a_key_and_its_line(capsys: pytest.CaptureFixture[str]):
    assert main(["keys", "new", "ana"]) == 0
    shown = capsys.readouterr()
    key = shown.err.split("once:")[1].split()[0]
    assert read_keys(made(api_keys=shown.out.strip())).holder(key) == "ana"
    assert main(["keys", "new", "a b"]) == 2


def test_the_service_does_not_start_without_protection_on_a_public_address():
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve"],
        cwd=ROOT,
        env=environment(host="0.0.0.0", port=0, grpc_port=0),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("landmarks: LANDMARKS_HOST=0.0.0.0 is reachable from other machines")
    assert len(ended.stderr.splitlines()) == 1
