"""Requests that an HTTP client can send, and bytes that none would."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.contract.hostile.cases import Case, Http, Wire
from tests.fakes import encoded, gradient_image


def bodies(chance: random.Random) -> Iterator[Case]:
    """Bodies that say they are JSON, or something else."""
    image = base64.b64encode(encoded(gradient_image())).decode()
    deep = 100_000
    texts: list[bytes] = [
        b"", b"{", b"[]", b"null", b"3", b'"image"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}", b'{"image": 3}',
        b'{"image": null}', b'{"image": []}', b'{"image": ""}', b'{"image": "%%%"}', b'{"image": "AAA"}',
        b'{"image": "data:image/png;base64,AAAA"}', b'{"image": "\\ud800"}', b'{"image": "AAAA", "image": 3}', b"NaN",
        b'{"image": NaN}', b"[" * deep, b'{"a":' * deep, b"[" * 900 + b"]" * 900,
        b'{"image": ' + b"[" * 900 + b"]" * 900 + b"}", b" " * 50_000, b'{"image": "AAAA"} trailing',
        b'{"image": "AAAA", "__class__": "os.system"}', b'{"": 1}', b'{"image": "' + b"A" * 1_300_000 + b'"}',
        b"\0" * 100,
    ]  # fmt: skip
    for number, text in enumerate(texts):
        yield Http(f"json {number} {text[:12]!r}", text, (("Content-Type", "application/json"),))
    wrong: list[Any] = [
        {"boxes": 1}, {"boxes": {}}, {"boxes": [1]}, {"boxes": [[1, 2, 3]]}, {"boxes": [["1", "2", "3", "4"]]},
        {"boxes": "[[1]]"}, {"boxes": [[True, False, True, True]]}, {"boxes": [[None] * 4]}, {"boxes": [[10**400] * 4]},
        {"boxes": [[[1]] * 4]}, {"boxes": [[-(2**63)] * 4]}, {"boxes": [[2**64 - 1] * 4]}, {"boxes": [[1e308] * 4]},
        {"topk": "9"}, {"topk": 1.0}, {"topk": True}, {"topk": -(2**63)}, {"topk": 10**300}, {"topk": []},
        {"max_faces": {}}, {"max_faces": -1}, {"detector_threshold": "0.5"}, {"detector_threshold": True},
        {"detector_threshold": 10**300}, {"min_score": "0.5"}, {"min_score": 10**300},
        {"flip": 1}, {"flip": "true"}, {"model": 1}, {"model": ["fake"]},
        {"decoder": {}}, {"omit": "points"}, {"omit": [1]}, {"omit": [[]]}, {"omit": {"points": 1}},
        {"path": "/etc/passwd"}, {"url": "http://127.0.0.1"}, {"image_url": "file:///etc/passwd"},
    ]  # fmt: skip
    for number, values in enumerate(wrong):
        text = json.dumps({"image": image, **values}).encode()
        yield Http(f"json of {number} {str(values)[:20]}", text, (("Content-Type", "application/json"),))
    kinds = [
        "text/html", "application/msgpack", "application/x-www-form-urlencoded", "image/svg+xml", "multipart/mixed",
        "//", "application/json; charset=utf-16", "image/", "a" * 5000, "application/json,image/png",
    ]  # fmt: skip
    for number, kind in enumerate(kinds):
        yield Http(f"content type {number} {kind[:20]!r}", chance.randbytes(50), (("Content-Type", kind),))


def forms(chance: random.Random) -> Iterator[Case]:
    image = encoded(gradient_image())

    def part(disposition: str, content: bytes, *more: str) -> bytes:
        lines = [f"Content-Disposition: {disposition}", *more] if disposition else list(more)
        return b"--b\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"

    file = part('form-data; name="image"; filename="a.png"', image)
    end = b"--b--\r\n"
    texts: dict[str, bytes] = {
        "empty": b"", "only an end": end, "no end": file, "cut": file[:200], "cut in a header": file[:20],
        "another boundary": file.replace(b"--b", b"--c"), "no disposition": part("", image) + end,
        "a disposition of another kind": part('attachment; name="image"', image) + end, "no name": part("form-data",
        image) + end, "a part without a file": part('form-data; name="image"', image) + end,
        "a part of two names": part('form-data; name="image"; name="options"; filename="a"', image) + end,
        "two images": file + file + end, "no image": part('form-data; name="options"', b"{}") + end,
        "options that are no JSON": file + part('form-data; name="options"', b"{") + end,
        "options of a list": file + part('form-data; name="options"', b"[]") + end,
        "options of noise": file + part('form-data; name="options"', chance.randbytes(100)) + end,
        "options twice": file + 2 * part('form-data; name="options"', b"{}") + end,
        "options in a file": file + part('form-data; name="options"; filename="o.json"', b"[[[") + end,
        "deep options": file + part('form-data; name="options"', b"[" * 100_000) + end,
        "an unknown part": file + part('form-data; name="path"', b"/etc/passwd") + end,
        "a large header": part('form-data; name="image"; filename="a"', image, "X-A: " + "a" * 30_000) + end,
        "a thousand headers": part('form-data; name="image"; filename="a"', image,
        *[f"X-{i}: a" for i in range(1000)]) + end, "a thousand parts": file + 1000 * part('form-data; name="options"',
        b"") + end, "a thousand files": 1000 * part('form-data; name="image"; filename="a"', b"") + end,
        "a name of noise": b"--b\r\nContent-Disposition: form-data; name=\xff\xfe\r\n\r\n\r\n" + end,
        "a file name of a path": part('form-data; name="image"; filename="../../../etc/passwd"', b"x") + end,
        "a nul in a name": part('form-data; name="ima\0ge"; filename="a\0b"', image) + end,
        "a header without a colon": b"--b\r\nhello\r\n\r\n" + end,
        "encoded as base64": part('form-data; name="image"; filename="a"', base64.b64encode(image),
        "Content-Transfer-Encoding: base64") + end, "a charset that is none": part('form-data; name="options"', b"{}",
        "Content-Type: text/plain; charset=klingon") + file + end,
        "more than is read": part('form-data; name="image"; filename="a"', bytes(1_300_000)) + end,
        "noise": chance.randbytes(2000), "line feeds alone": (file + end).replace(b"\r\n", b"\n"),
    }  # fmt: skip
    for path in ("/v1/landmarks", "/v1/landmarks/batch"):
        for name, body in texts.items():
            yield Http(
                f"{path}: form with {name}", body, (("Content-Type", "multipart/form-data; boundary=b"),), path=path
            )
    for number, kind in enumerate(
        ["", "; boundary=", "; boundary=" + "b" * 5000, '; boundary="', "; boundary=\xff", "; charset=x"]
    ):
        header = (("Content-Type", f"multipart/form-data{kind}"),)
        yield Http(f"form of boundary {number}", file + end, header)


def headers(chance: random.Random) -> Iterator[Case]:
    image = encoded(gradient_image())
    plain = ("Content-Type", "image/png")
    values = {
        "X-Request-ID": ["", "a" * 30_000, "../..", "<script>", "\u00e9", "a\tb", "%0d%0aSet-Cookie:x"],
        "X-Request-Timeout": ["", "0", "-1", "nan", "inf", "1e400", "abc", "1,1", "9" * 5000, "1e308"],
        "Accept": [
            "",
            "*",
            "a" * 20_000,
            "application/msgpack;q=nan",
            "application/msgpack;q=" + "9" * 400,
            ",;=,;=" * 1000,
        ],
        "Content-Length": ["abc", "-1"],
        "Content-Encoding": ["gzip", "br", "x" * 100],
        "Authorization": ["Bearer", "Bearer " + "a" * 20_000, "Basic AAAA", "Bearer \xff"],
        "Cookie": ["a" * 30_000],
        "Range": ["bytes=0-0,1-1," * 500],
        "If-None-Match": ["*"],
        "traceparent": ["00-" + "f" * 32 + "-" + "f" * 16 + "-01", "zz", "00-0-0-0", "\xff" * 55],
        "Host": ["", "a" * 5000],
        "Origin": ["null", "http://evil.example"],
    }
    for name, each in values.items():
        for number, value in enumerate(each):
            if name != "Content-Length":
                yield Http(f"{name} {number} {value[:12]!r}", image, (plain, (name, value)))
    parent = ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    states = [
        "\u00e9=1",
        "a=\xff",
        "a=b\tc",
        "a=" + "b" * 10_000,
        "a=1," * 3000,
        "a=" + "b" * 20_000,
        ",",
        "=",
        "a=b=c",
        "a@b@c=1",
    ]
    for number, state in enumerate(states):
        yield Http(
            f"tracestate {number} {state[:12]!r}", image, (plain, parent, ("tracestate", state)), "box=20,30,200,210"
        )
    yield Http("200 headers", image, (plain, *((f"X-A-{i}", "a" * 50) for i in range(200))))
    paths = [
        "/v1/landmarks/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/landmarks%00", "//v1//landmarks",
        "/" + "a" * 20_000, "/v1/landmarks/", "/\u00e9", "/%ff", "/v1/models/x", "/docs/../x", "/page.js%00.html",
    ]  # fmt: skip
    for number, path in enumerate(paths):
        for method in ("GET", "POST"):
            yield Http(
                f"{method} path {number} {path[:20]!r}", image if method == "POST" else b"", (plain,), "", path, method
            )
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"):
        yield Http(f"method {method}", b"", (), "", "/v1/landmarks", method)
        yield Http(f"method {method} of models", b"", (), "", "/v1/models", "POST" if method == "GET" else method)


def connections(chance: random.Random) -> Iterator[Case]:
    """Bytes that no HTTP client sends."""
    head = b"POST /v1/landmarks HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    texts = {
        "noise": chance.randbytes(300), "an empty line": b"\r\n\r\n", "nothing": b"", "HTTP/0.9": b"GET /\r\n\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
        "a TLS hello": b"\x16\x03\x01\x02\x00\x01" + chance.randbytes(200), "half a head": head,
        "half a line": b"POST /v1/lan",
        "a body shorter than announced": head + b"Content-Length: 1000\r\n\r\n" + b"abc",
        "a body longer than announced": head + b"Content-Length: 3\r\nConnection: close\r\n\r\nabcdefgh",
        "a length of words": head + b"Content-Length: many\r\n\r\n",
        "a negative length": head + b"Content-Length: -5\r\n\r\n",
        "a length beyond 64 bits": head + b"Content-Length: 99999999999999999999\r\n\r\n",
        "a length far over the limit": head + b"Connection: close\r\nContent-Length: 999999999999\r\n\r\nabc",
        "two lengths": head + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        "length and chunks": head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk of words": head + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
        "a chunk of too many bytes": head + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nabc",
        "a chunk cut off": head + b"Transfer-Encoding: chunked\r\n\r\n100\r\nabc",
        "an unknown encoding": head + b"Transfer-Encoding: zip\r\nConnection: close\r\n\r\nabc",
        "a folded header": head + b"X-A: a\r\n b\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        "a header with a nul": head + b"X-A: a\0b\r\n\r\n", "a header without a colon": head + b"hello\r\n\r\n",
        "a header of 200 kB": head + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
        "a header name of spaces": head + b" : a\r\n\r\n",
        "a target of 200 kB": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "a target with a space": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
        "an absolute target": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "an upgrade": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "continue, and nothing more": head + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "30 requests at once": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 29
        + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    }  # fmt: skip
    for name, data in texts.items():
        yield Wire(f"connection with {name}", data)
