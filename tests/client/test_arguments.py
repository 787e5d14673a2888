"""Arguments that the client checks before it sends anything."""

from __future__ import annotations

import asyncio
import string
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks_client import AsyncClient, Client, ClientUsageError, Tls
from landmarks_client.rest import _query
from landmarks_client.rpc import _open_channel, request
from landmarks_client.wire import ImagePart, checked_header, normalized_options, parse_target
from tests.client.conftest import asking, every_client

PRINTABLE = string.ascii_letters + string.digits + string.punctuation

every_url = pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://", "file:///etc/passwd"])
def test_an_address_of_another_kind_is_rejected(url: str) -> None:
    with pytest.raises(ClientUsageError, match="is no address"):
        Client(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:1/v1/landmarks", "http://host:1"),
        ("https://host/prefix/v1/landmarks/batch/", "https://host/prefix"),
    ],
)
def test_the_url_of_a_method_is_told_from_an_address(url: str, address: str) -> None:
    with pytest.raises(ClientUsageError, match=f"names a method: give the service's address, {address}$"):
        Client(url)


def test_an_image_is_not_fetched() -> None:
    for image in ("http://host/a.jpg", "HTTPS://host/a.jpg"):
        with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="not a URL: download it"):
            client.landmarks(image)


@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
@pytest.mark.parametrize(
    "host",
    [
        *("[::1", ":80", "host:99999", "host:-1", "host:port", "host\n", "1.2.3.999", "h/\ud800", "a" * 64, "a..b"),
        *("name:password@host", "host?x=1", "host#x"),
    ],
)
def test_an_address_that_nobody_can_have_is_rejected(scheme: str, host: str) -> None:
    with pytest.raises(ClientUsageError, match="is no address"):
        Client(f"{scheme}://{host}")


def test_the_scheme_of_an_address_may_be_upper_case() -> None:
    assert parse_target("HTTP://localhost:8080", None, None) == parse_target("http://localhost:8080", None, None)
    assert parse_target("GRPC://localhost:8081", None, None).is_grpc


def test_the_parts_of_an_address() -> None:
    target = parse_target("https://host:1/prefix/", "secret", None)
    assert (target.scheme, target.host, target.url) == ("https", "host:1/prefix", "https://host:1/prefix")
    assert target.headers == [("authorization", "Bearer secret")]
    assert parse_target("grpc://host:1", None, None).headers == []


@every_url
@every_client
@pytest.mark.parametrize("text", ["schl\u00fcssel", "secret\n", "se cret"])
@pytest.mark.anyio
async def test_a_key_or_an_id_that_no_header_can_carry_is_rejected(url: str, kind: Any, text: str) -> None:
    with pytest.raises(ClientUsageError, match="the API key cannot be sent: give printable ASCII") as caught:
        kind(url, api_key=text)
    assert text not in str(caught.value)
    async with asking(kind, url) as ask:
        with pytest.raises(ClientUsageError, match="the request id cannot be sent: give printable ASCII"):
            await ask("landmarks", b"", request_id=text)


def test_an_empty_key_is_rejected() -> None:
    with pytest.raises(ClientUsageError, match="the API key cannot be sent"):
        Client("http://127.0.0.1:1", api_key="")


@given(st.text(PRINTABLE, min_size=1))
def test_a_header_carries_printable_ascii(text: str) -> None:
    assert checked_header("this", text) == text


@given(st.text(PRINTABLE), st.characters(exclude_characters=PRINTABLE), st.text())
def test_a_header_carries_nothing_else(before: str, character: str, after: str) -> None:
    with pytest.raises(ClientUsageError, match="this cannot be sent"):
        checked_header("this", before + character + after)


def test_tls_options_that_make_no_sense_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ClientUsageError, match="without TLS"):
        Client("http://host", tls=Tls())
    with pytest.raises(ClientUsageError, match="go together"):
        Tls(certificate=tmp_path / "a.pem")
    for url in ("https://host", "grpcs://host"):
        with pytest.raises(ClientUsageError, match=r"TLS files.*missing\.pem"):
            Client(url, tls=Tls(ca=tmp_path / "missing.pem"))


@given(st.floats(max_value=0) | st.just(float("nan")) | st.just(float("inf")))
def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="positive"):
        client.models(timeout=timeout)


@every_url
@every_client
@pytest.mark.anyio
async def test_several_images_are_a_list(url: str, kind: Any) -> None:
    async with asking(kind, url) as ask:
        with pytest.raises(ClientUsageError, match=r"takes a list as images, not generator: pass list\(images\)"):
            await ask("landmarks_batch", (b"" for _ in range(2)))
        with pytest.raises(ClientUsageError, match="takes a list as images, not str: pass a list"):
            await ask("landmarks_batch", "photo.jpg")
        with pytest.raises(ClientUsageError, match="takes a list as each, not dict: pass a list"):
            await ask("landmarks_batch", [b""], each={"topk": 4})


@every_url
@every_client
@pytest.mark.anyio
async def test_a_closed_client_says_so(url: str, kind: Any) -> None:
    async with asking(kind, url) as ask:
        await ask("close")
        for method, arguments in (("landmarks", (b"",)), ("landmarks_batch", ([b""],)), ("models", ())):
            with pytest.raises(ClientUsageError, match="the client is closed: create another one"):
                await ask(method, *arguments)


@every_url
def test_an_asynchronous_client_belongs_to_one_event_loop(url: str) -> None:
    with pytest.raises(ClientUsageError, match=r"create one inside each asyncio.run\(...\)"):
        AsyncClient(url)

    async def create() -> AsyncClient:
        return AsyncClient(url)

    client = asyncio.run(create())
    with pytest.raises(ClientUsageError, match="for the event loop in which it is created"):
        asyncio.run(client.models())


def test_a_grpc_client_reconnects_within_a_second() -> None:
    opened = Mock()
    _open_channel(opened, parse_target("grpc://127.0.0.1:1", None, None))
    (_, options), _ = opened.insecure_channel.call_args
    assert 0 < dict(options)["grpc.max_reconnect_backoff_ms"] <= 1000  # gRPC's own is 120 s


def test_each_has_options_for_each_image() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="1 options for 2 images"):
        client.landmarks_batch([b"", b""], each=[{}])


@every_url
@pytest.mark.parametrize(
    "options",
    [
        {"boxes": [(1, 2, 3)]},
        {"boxes": 3},
        {"boxes": [("a", "b", "c", "d")]},
        {"omit": 3},
        {"topk": [9]},
        {"max_faces": np.array([1, 2])},
        {"model": b"compact"},
    ],
)
def test_options_of_a_wrong_type_are_rejected_before_they_are_sent(url: str, options: Any) -> None:
    with Client(url) as client:
        with pytest.raises(ClientUsageError, match="the options cannot be sent"):
            client.landmarks(b"", **options)
        with pytest.raises(ClientUsageError, match="the options cannot be sent"):
            client.landmarks_batch([b""], each=[options])


@every_url
@pytest.mark.parametrize("boxes", [[178, 63, 268, 176], np.array([178, 63, 268, 176]), [(1, 2, 3)]])
def test_boxes_of_another_shape_are_told_what_theirs_is(url: str, boxes: Any) -> None:
    with Client(url) as client, pytest.raises(ClientUsageError, match="a list of boxes, each of four numbers"):
        client.landmarks(b"", boxes=boxes)


@every_url
def test_text_that_cannot_be_encoded_is_rejected_before_it_is_sent(url: str) -> None:
    with Client(url) as client, pytest.raises(ClientUsageError, match="the options cannot be sent"):
        client.landmarks(b"", model="\ud800")


def test_options_that_no_url_can_hold_are_rejected_before_they_are_sent() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientUsageError, match="the options cannot be sent"):
        client.landmarks(b"", boxes=[(1, 2, 3, 4)] * 5000)


@every_url
@pytest.mark.parametrize("image", [np.zeros(9, np.uint8), None])
def test_an_image_is_bytes_or_a_path(url: str, image: Any) -> None:
    with Client(url) as client, pytest.raises(ClientUsageError, match="an image is the bytes of a file, or its path"):
        client.landmarks(image)


finite = st.floats(-1e6, 1e6, width=32)
box = st.lists(finite, min_size=4, max_size=4)
omitted = st.lists(st.sampled_from(["points", "scores", "covariances", "timings_ms"]))


@given(st.lists(box), st.integers(0, 2**31 - 1), finite, st.booleans(), omitted)
def test_both_apis_carry_the_same_options(
    boxes: list[list[float]], topk: int, threshold: float, flip: bool, omit: list[str]
) -> None:
    chosen: Any = {"boxes": boxes, "topk": topk, "detector_threshold": threshold, "flip": flip, "omit": omit}
    options = normalized_options(chosen)
    message, query = request(ImagePart(b"", options)), _query(options)
    assert [[found.x1, found.y1, found.x2, found.y2] for found in message.boxes] == boxes
    assert [[float(value) for value in text.split(",")] for name, text in query if name == "box"] == boxes
    others = {name: text for name, text in query if name != "box"}
    assert (message.topk, int(others["topk"])) == (topk, topk)
    assert float(others["detector_threshold"]) == threshold
    assert (message.flip, others["flip"]) == (flip, "true" if flip else "false")
    assert (list(message.omit), others.get("omit")) == (omit, ",".join(omit) or None)
