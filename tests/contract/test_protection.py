"""The protection of both APIs over real sockets: keys, TLS, and headers for browsers."""

import base64
import io
import json
import logging
import socket
import ssl
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.observability.logs import JsonFormatter
from service.security.api_keys import Protection, new_key, read_keys
from service.security.tls import Tls
from service.server import metrics_server
from service.settings import Settings
from tests.contract.apis import open_apis, reply, rpc_failure
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = "20.5,30.5,200.5,210.5"
KEY, LINE = new_key("ana")
KEYS = read_keys(Settings(api_keys=LINE))


async def with_apis(work, protection=None, engine=None):
    """The result of `work(apis)`, and the metrics afterwards."""
    gateway = make_gateway(engine or FakeEngine(), FakeDetector())
    async with open_apis(gateway, protection) as apis:
        return await work(apis), gateway.metrics.text().decode()


async def detect(apis, headers, image=IMAGE):
    query = {"box": BOX}
    return await apis["rest"].client.post("/v1/landmarks", content=image, params=query, headers=headers)


async def detect_rpc(apis, metadata, method="Detect", request=None):
    call = getattr(apis["grpc"].stub, method)(request or pb.DetectRequest(image=IMAGE), metadata=metadata)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return rpc_failure(error, await rpc_status.aio.from_call(call))
    return None


async def test_both_apis_require_a_key():
    engine = FakeEngine()
    wrong_keys = [
        {},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Bearer " + LINE.partition(":")[2]},
        {"x-api-key": ""},
        {"authorization": f"Basic {KEY}"},
    ]

    async def work(apis):
        refused = [await detect(apis, headers) for headers in wrong_keys]
        refused_rpc = [await detect_rpc(apis, tuple(headers.items())) for headers in wrong_keys]
        models = await apis["rest"].client.get("/v1/models")
        models_rpc = await detect_rpc(apis, (), "ListModels", pb.ListModelsRequest())
        assert engine.calls == []
        opened = [await detect(apis, {"Authorization": f"Bearer {KEY}"}), await detect(apis, {"X-API-Key": KEY})]
        opened_rpc = [
            await detect_rpc(apis, (pair,)) for pair in (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY))
        ]
        return [*refused, models], [*refused_rpc, models_rpc], opened, opened_rpc

    (refused, refused_rpc, opened, opened_rpc), metrics = await with_apis(work, Protection(KEYS), engine=engine)
    for response in refused:
        assert (reply(response).code, response.status_code) == ("unauthenticated", 401)
        assert response.headers["www-authenticate"] == 'Bearer realm="landmarks"'
        assert "Authorization: Bearer" in reply(response).message
    for refusal in refused_rpc:
        assert refusal is not None
        assert (refusal.code, refusal.status) == ("unauthenticated", grpc.StatusCode.UNAUTHENTICATED)
        assert "Authorization: Bearer" in refusal.message
    assert [response.status_code for response in opened] == [200, 200]
    assert opened_rpc == [None, None]
    for protocol, count in (("rest", 6), ("grpc", 6)):
        assert (
            f'landmarks_requests_total{{code="unauthenticated",door="{protocol}",protocol="{protocol}"}} {count}.0'
            in metrics
        )
        assert (
            f'landmarks_rejections_total{{door="{protocol}",protocol="{protocol}",reason="unauthenticated"}} {count}.0'
            in metrics
        )


async def test_page_description_health_and_metrics_require_none():
    public = ["/", "/page/page.js", "/v1/layout", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"]
    public.append("/static-offline-docs/swagger-ui.css")
    protected = ["/v1/models", "/v1/landmarks", "/v1/landmarks/", "/nowhere", "//v1/models", "/page", "/v1/layout/x"]

    async def work(apis):
        client = apis["rest"].client
        statuses = [{path: (await client.get(path)).status_code for path in paths} for paths in (public, protected)]
        health = await health_pb2_grpc.HealthStub(apis["grpc"].channel).Check(health_pb2.HealthCheckRequest())
        reflection = reflection_pb2_grpc.ServerReflectionStub(apis["grpc"].channel).ServerReflectionInfo()
        await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = (await reflection.read()).list_services_response.service
        reflection.cancel()
        return *statuses, health.status, len(services), (await client.get("/openapi.json")).json()

    (opened, closed, health, services, description), _ = await with_apis(work, Protection(KEYS))
    assert opened == dict.fromkeys(public, 200)
    assert closed == dict.fromkeys(protected, 401)
    assert (health, services) == (1, 3)
    assert set(description["components"]["securitySchemes"]) == {"bearer", "header"}
    assert description["paths"]["/v1/landmarks"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert "security" not in description["paths"]["/healthz"]["get"]


async def test_every_answer_has_its_id_and_the_security_headers():
    engine = FakeEngine()
    engine.error = ZeroDivisionError("secret")

    async def work(apis):
        client = apis["rest"].client
        mine = {"X-Request-ID": "shot-12/frame.0007"}
        invalid = {"X-Request-ID": 'x"><script>' + "y" * 200}
        paths = ["/healthz", "/docs", "/page/page.js", "/nowhere", "/v1/models", "/openapi.json"]
        responses = [await client.get(path, headers=mine) for path in paths]
        responses += [await detect(apis, mine), await detect(apis, mine, b"hello")]
        return responses, await client.get("/healthz", headers=invalid), await client.get("/")

    (responses, replaced, page), _ = await with_apis(work, engine=engine)
    assert [response.status_code for response in responses] == [200, 200, 200, 404, 200, 200, 500, 415]
    for response in responses:
        assert response.headers["x-request-id"] == "shot-12/frame.0007"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "strict-transport-security" not in response.headers
        assert "access-control-allow-origin" not in response.headers
    assert len(replaced.headers["x-request-id"]) == 32
    assert len(page.headers.get_list("content-security-policy")) == 1


async def test_other_origins_are_allowed_only_where_they_are_named():
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }

    async def work(apis):
        client = apis["rest"].client
        ours, evil = "https://tools.example", "https://evil.example"
        preflights = [
            await client.options("/v1/landmarks", headers={**preflight, "Origin": origin}) for origin in (ours, evil)
        ]
        named, other, refused = [
            await detect(apis, {"Origin": origin, "X-API-Key": key})
            for origin, key in ((ours, KEY), (evil, KEY), (ours, "wrong"))
        ]
        return preflights, named, other, refused

    (preflights, named, other, refused), _ = await with_apis(
        work, Protection(KEYS, cors_origins=("https://tools.example",))
    )
    assert [response.status_code for response in preflights] == [200, 400]
    assert "authorization" in preflights[0].headers["access-control-allow-headers"].lower()
    assert named.headers["access-control-allow-origin"] == "https://tools.example"
    assert "X-Request-ID" in named.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers
    # its script must be able to read that a key is required
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://tools.example")


async def test_metrics_may_have_a_port_of_their_own_which_outlives_readiness():
    gateway = make_gateway(FakeEngine(), FakeDetector())
    async with (
        open_apis(gateway, Protection(KEYS, metrics_here=False)) as apis,
        metrics_server(Settings(metrics_port=0), gateway) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await apis["rest"].client.get("/metrics")).status_code == 404
        paths = ("/metrics", "/readyz", "/healthz", "/v1/models", "/", "/docs")
        assert [(await client.get(path)).status_code for path in paths] == [200, 200, 200, 404, 404, 404]
        gateway.readiness.stop()
        assert reply(await client.get("/readyz")).code == "unavailable"


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pem")
    paths = {name: folder / f"{name}.pem" for name in ("certificate", "key", "authority", "client")}
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    authority.issue_cert("render@example.com").private_key_and_cert_chain_pem.write_to_path(str(paths["client"]))
    return paths


def client_context(pem: dict[str, Path], *, with_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pem["authority"])
    if with_certificate:
        context.load_cert_chain(pem["client"])
    return context


async def rest_over_tls(apis, context) -> httpx.Response:
    url = apis["rest"].url.replace("http:", "https:")
    async with httpx.AsyncClient(verify=context) as client:
        return await client.post(f"{url}/v1/landmarks", content=IMAGE, params={"box": BOX})


async def faces_over_tls(apis, pem, *, with_certificate: bool) -> int:
    pair = pem["client"].read_bytes() if with_certificate else None
    credentials = grpc.ssl_channel_credentials(pem["authority"].read_bytes(), pair, pair)
    async with grpc.aio.secure_channel(apis["grpc"].address, credentials) as channel:
        box = pb.Box(x1=20, y1=30, x2=200, y2=210)
        request = pb.DetectRequest(image=IMAGE, boxes=[box])
        return len((await landmarks_pb2_grpc.LandmarksStub(channel).Detect(request, timeout=30)).faces)


async def test_with_a_certificate_both_apis_speak_tls_only(pem: dict[str, Path]):
    async def work(apis):
        plain = []
        with pytest.raises(httpx.RemoteProtocolError):
            plain.append(await detect(apis, {}))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await apis["grpc"].stub.Detect(pb.DetectRequest(image=IMAGE), timeout=10)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.ConnectError):  # of an authority that the client does not know
            await rest_over_tls(apis, ssl.create_default_context())
        response = await rest_over_tls(apis, client_context(pem, with_certificate=False))
        return response, await faces_over_tls(apis, pem, with_certificate=False)

    (response, faces), _ = await with_apis(work, Protection(tls=Tls(pem["certificate"], pem["key"])))
    assert len(response.json()["faces"]) == faces == 1
    assert response.headers["strict-transport-security"] == "max-age=31536000"


async def test_with_a_client_authority_clients_without_a_certificate_are_refused(pem: dict[str, Path]):
    async def work(apis):
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            await rest_over_tls(apis, client_context(pem, with_certificate=False))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await faces_over_tls(apis, pem, with_certificate=False)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        response = await rest_over_tls(apis, client_context(pem, with_certificate=True))
        return response, await faces_over_tls(apis, pem, with_certificate=True)

    protection = Protection(tls=Tls(pem["certificate"], pem["key"], pem["authority"]))
    (response, faces), _ = await with_apis(work, protection)
    assert len(response.json()["faces"]) == faces == 1


# ---------------------------------------------------------------- what a request cannot do


async def test_no_field_of_a_request_names_a_file_or_an_address(tmp_path: Path):
    """There is an image at a path, and a server that listens: neither is read."""
    path = tmp_path / "here.png"
    path.write_bytes(IMAGE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/here.png"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>'

        async def work(apis):
            client = apis["rest"].client
            responses = []
            for name in (str(path), path.as_uri(), url):
                encoded_name = base64.b64encode(name.encode()).decode()
                for body in ({"image": name}, {"image": encoded_name}, {"url": name}, {"path": name, "image": ""}):
                    responses.append(await client.post("/v1/landmarks", json=body))
                responses.append(await client.post("/v1/landmarks", params={"image": name}, content=b""))
                responses.append(await client.post("/v1/landmarks", params={"model": name}, content=IMAGE))
                responses.append(await client.post("/v1/landmarks", data={"image": name}))
                responses.append(await client.post("/v1/landmarks", files={"image": (name, b"")}))
                responses.append(await client.post("/v1/landmarks", content=name.encode()))
                responses.append(await client.post("/v1/landmarks", content=svg.encode()))
                responses.append(await client.get(f"/page/{name}"))
                refused = await detect_rpc(apis, (), request=pb.DetectRequest(image=name.encode()))
                assert refused is not None
                assert refused.code == "not_an_image"
            return [response.status_code for response in responses]

        statuses, _ = await with_apis(work)
        assert all(400 <= status < 500 for status in statuses), statuses
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_the_log_knows_the_request_and_its_client_but_no_key_image_or_face(caplog: pytest.LogCaptureFixture):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    caplog.set_level(logging.DEBUG)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    marked = {"X-API-Key": KEY, "X-Request-ID": "mine", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}

    async def work(apis):
        await detect(apis, marked)
        await detect(apis, {**marked, "X-API-Key": "wrong-key"})
        await detect_rpc(apis, (("x-api-key", KEY), ("x-request-id", "mine")))

    try:
        await with_apis(work, Protection(KEYS))
    finally:
        root.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    requests = [line for line in lines if line["logger"] == "service.access"]
    assert [(line["protocol"], line["code"], line.get("client"), line["request_id"]) for line in requests] == [
        ("rest", "ok", "ana", "mine"),
        ("rest", "unauthenticated", None, "mine"),
        ("grpc", "ok", "ana", "mine"),
    ]
    assert requests[0]["trace_id"] == trace
    assert 0 < requests[0]["milliseconds"] < 60_000
    # the HTTP client of this test logs what it sends
    text = "\n".join(line["message"] for line in lines if not line["logger"].startswith(("httpx", "httpcore")))
    assert "mine ok" in text
    for secret in (KEY, LINE.partition(":")[2], "wrong-key", IMAGE[:20].hex(), repr(IMAGE[:12])[2:-1], "20.5"):
        assert secret not in text
