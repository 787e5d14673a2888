"""What is passed on of `tracestate`; the standard's own examples and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observability.request_scope import Telemetry, round_trip
from service.observability.tracestate import valid_tracestate

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given_text", "passed_on"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a=1 ,\tb=2,, c=3", "a=1,b=2,c=3"),
        ("fw529a3039@dt=FfAAAA,0_tenant@v=x y", "fw529a3039@dt=FfAAAA,0_tenant@v=x y"),
        ("a=" + "b" * 255, "a=" + "b" * 255),
        ("a=" + "b" * 257, ""),
        (",".join(f"a{i}=1" for i in range(32)), ",".join(f"a{i}=1" for i in range(32))),
        (",".join(f"a{i}=1" for i in range(33)), ""),
        ("a=" + "b" * 250 + ",c=" + "d" * 257, ""),
        (",".join(f"a{i}=" + "b" * 250 for i in range(32)), ""),  # 8 kB, each member valid
        ("a=1,b=2,a=3", ""),
        ("," * 10_000 + "a=1", ""),
        ("a=\xe9", ""),
        ("a=b\tc", ""),
        ("a=b\r\nx: y", ""),
        ("a=b=c", ""),
        ("A=b", ""),
        ("a=", ""),
        ("a" * 20_000, ""),
        ("", ""),
    ],
)
def test_what_the_standard_allows_is_passed_on_and_all_else_dropped(
    given_text: str, passed_on: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": given_text}
    with Telemetry().request("rest", "me", headers), round_trip() as sent:
        assert sent.get("tracestate", "") == passed_on
        assert sent["traceparent"] == TRACEPARENT
    assert not [line for line in caplog.messages if "me cancelled" not in line]  # no line holds what a client sent


@given(st.text(max_size=600))
def test_nothing_that_grpc_cannot_send_is_passed_on(text: str) -> None:
    clean = valid_tracestate(text)
    assert len(clean) <= 512
    assert all(" " <= character <= "~" for character in clean)
