"""What REST alone does."""

import base64
import json
import tempfile
from dataclasses import replace

import numpy as np
import orjson
import ormsgpack
import pytest

from landmarks.codec import CodecSpec
from landmarks.layout import WFLW98
from service.rest.schema import AnswerModel, BatchModel, LayoutModel, ProblemModel
from tests.contract.apis import open_apis, reply
from tests.fakes import MODEL, SYNTHETIC_106, FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = [20.5, 30.5, 200.5, 210.5]


CUT_FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + IMAGE + b"\r\n"
    b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"topk": 4'
)
"""A form that ends in its second part: without the check its first part alone would be answered."""


async def send(*requests, engine=None, **limits):
    """The responses to requests, each a dict of httpx arguments."""
    gateway = make_gateway(engine or FakeEngine(), FakeDetector(), **limits)
    async with open_apis(gateway) as apis:
        return [
            await apis["rest"].client.request(**({"method": "POST", "url": "/v1/landmarks"} | request))
            for request in requests
        ]


def raw(query="", kind="image/png", content=IMAGE, **headers):
    return {"url": f"/v1/landmarks{query}", "content": content, "headers": {"Content-Type": kind, **headers}}


def as_json(**values):
    return {"json": {"image": base64.b64encode(IMAGE).decode(), **values}}


def form(options=None, name="image", filename="a.png"):
    files = [(name, (filename, IMAGE, "image/png"))]
    return {"files": files, "data": {} if options is None else {"options": options}}


async def test_the_three_forms_mean_the_same():
    responses = await send(
        raw("?box=20.5,30.5,200.5,210.5&topk=4"),
        raw("?box=20.5,30.5,200.5,210.5&topk=4", "application/octet-stream"),
        as_json(boxes=[BOX], topk=4),
        form(json.dumps({"boxes": [BOX], "topk": 4})),
        {"files": [("image", ("a.png", IMAGE)), ("options", ("blob", json.dumps({"boxes": [BOX], "topk": 4})))]},
    )
    bodies = [response.json() for response in responses]
    for body in bodies:
        assert body["faces"] == bodies[0]["faces"]
        assert len(body["faces"]) == 1
        assert body["faces"][0]["box"] == BOX


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (raw(kind="text/html"), "unsupported_media_type", "Content-Type: image/jpeg"),
        (raw(kind="application/x-www-form-urlencoded"), "unsupported_media_type", "image/jpeg"),
        (raw("?box=1,2,3"), "invalid_box", "box 0 is not four numbers"),
        (raw("?box=1,2,3,x"), "invalid_box", "box 0 is not four numbers"),
        (raw("?box=0,0,9,9&box="), "invalid_box", "box 1 is not four numbers"),
        (raw("?topk=four"), "invalid_request", "topk must be a whole number"),
        (raw("?topk=4&topk=5"), "invalid_request", "once"),
        (raw("?topk=1_0"), "invalid_request", "topk must be a whole number"),
        (raw("?box=1_0,1,200,200"), "invalid_box", "four numbers"),
        (raw("?box=%D9%A1,1,200,200"), "invalid_box", "four numbers"),  # an Arabic digit one
        (raw("?topk=%D9%A4"), "invalid_request", "topk must be a whole number"),
        (raw("?min_score=0.%EF%BC%95"), "invalid_request", "min_score must be a number"),  # a full-width digit five
        (form('{"topk": "٤"}'), "invalid_request", "topk must be a whole number"),
        (form('{"boxes": [["٤", 1, 200, 200]]}'), "invalid_box", "box 0"),
        (raw(**{"X-Request-Timeout": "1_0"}), "invalid_request", "timeout"),
        (raw("?boxes=1,2,3,4"), "invalid_request", "?box=x1,y1,x2,y2"),
        (raw("?topk=" + "9" * 5000), "invalid_request", "topk"),
        (raw(**{"X-Request-Timeout": "soon"}), "invalid_request", "timeout"),
        (raw(**{"X-Request-Timeout": "-1"}), "invalid_request", "timeout"),
        (raw(**{"X-Request-Timeout": "nan"}), "invalid_request", "timeout"),
        (as_json(boxes=[[1, 2, 3]]), "invalid_box", "box 0"),
        (as_json(boxes=[[1, 2, 3, "4"]]), "invalid_box", "box 0"),
        (as_json(boxes=[[1, 2, 3, True]]), "invalid_box", "box 0"),
        (as_json(boxes={}), "invalid_request", "boxes must be a list"),
        (as_json(topk=True), "invalid_request", "topk"),
        (as_json(topk=2.5), "invalid_request", "topk"),
        (raw("?flip=yes"), "invalid_request", "flip must be true or false"),
        (raw("?detector_threshold=high"), "invalid_request", "detector_threshold must be a number"),
        (raw("?decoder="), "invalid_request", "decoder must be one of topk, argmax"),
        (raw("?omit="), "invalid_request", "omit takes points"),
        (as_json(flip="true"), "invalid_request", "flip must be true or false"),
        (as_json(model=7), "invalid_request", "model must be text"),
        (as_json(omit="points"), "invalid_request", "omit must be a list"),
        (as_json(box=BOX), "invalid_request", "unknown option 'box'"),
        ({"json": {}}, "invalid_request", "'image'"),
        ({"json": {"image": "%%%"}}, "invalid_request", "base64"),
        ({"json": {"image": "\u00e9"}}, "invalid_request", "base64"),
        ({"json": [1]}, "invalid_request", "JSON object"),
        (raw(kind="application/json", content=b"{nope"), "invalid_request", "not JSON"),
        (raw(kind="application/json", content=b'{"image": "", "boxes": [[NaN,1,2,3]]}'), "invalid_request", "NaN"),
        (raw(kind="application/json", content=b"[" * 50_000), "invalid_request", "not JSON"),
        (raw("?topk=4", kind="application/json"), "invalid_request", "in the body"),
        (raw(kind="multipart/form-data"), "invalid_request", "form"),
        (raw(kind="multipart/form-data; boundary=x", content=b"garbage"), "invalid_request", "form"),
        (raw(kind="multipart/form-data; boundary=b", content=CUT_FORM), "invalid_request", "the form cannot be read"),
        (form("nope"), "invalid_request", "not JSON"),
        (
            form(name="photo"),
            "invalid_request",
            "a part 'photo': send one part 'image', and options as JSON in one part",
        ),
        (form() | {"data": {"topk": "4"}}, "invalid_request", "a part 'topk': send one part 'image'"),
        (form() | {"data": {"options": ["{}", "{}"]}}, "invalid_request", "other parts than one 'image'"),
        ({"files": [("image", ("a", IMAGE))] * 2}, "invalid_request", "other parts"),
        ({"files": [("image", ("a", IMAGE))] * 9}, "invalid_request", "form"),
        ({"url": "/v2/landmarks"}, "not_found", "/docs"),
        ({"method": "GET"}, "method_not_allowed", "/docs"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_service_goes_on(request_, code, says):
    bad, good = await send(request_, raw())
    assert reply(bad).code == code
    assert says in reply(bad).message
    assert reply(good).code == "ok"


async def test_a_body_of_unknown_length_is_cut_off():
    async def chunks():
        for _ in range(25):
            yield bytes(10_000)

    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        client = apis["rest"].client
        cut = reply(await client.post("/v1/landmarks", content=chunks(), headers={"Content-Type": "image/png"}))
        again = reply(await client.post("/v1/landmarks", content=IMAGE, headers={"Content-Type": "image/png"}))
    assert (cut.code, cut.status) == ("too_many_bytes", 413)
    assert again.code == "ok"


async def test_too_many_bytes_in_every_form():
    big = IMAGE + bytes(100_000)
    responses = await send(
        raw(content=big),
        {"json": {"image": base64.b64encode(big).decode()}},
        {"files": [("image", ("a", big))]},
        {"files": [("image", ("a", bytes(3_000_000)))]},
    )
    assert [reply(response).code for response in responses] == ["too_many_bytes"] * 4


async def test_a_form_takes_no_room_on_the_disk(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    large = form()
    large["files"] = [("image", ("a.png", IMAGE + bytes(3_000_000), "image/png"))]
    (response,) = await send(large, max_bytes=4_000_000)
    assert response.status_code == 200


async def test_the_layout_is_described():
    (response,) = await send({"method": "GET", "url": "/v1/layout"})
    described = LayoutModel.model_validate_json(response.content, strict=True)
    assert described.points == list(WFLW98.point_names)
    assert described.flip == list(WFLW98.flip)
    assert described.inter_ocular == [60, 72]
    assert described.groups["pupils"] == [96, 97]


async def test_the_layout_is_that_of_the_model_served():
    engine = FakeEngine()
    metadata = replace(MODEL.metadata, layout=SYNTHETIC_106, codec=CodecSpec(points=106))
    engine.model = replace(MODEL, metadata=metadata)
    (response,) = await send({"method": "GET", "url": "/v1/layout"}, engine=engine)
    described = LayoutModel.model_validate_json(response.content, strict=True)
    assert described.name == "synthetic106"
    assert described.points[0::105] == ["point_0", "point_105"]
    assert list(described.groups) == ["upper", "lower"]
    assert described.outlines == {"upper": [[0, 1, 2]], "lower": []}
    assert described.inter_ocular is None


async def test_health_and_readiness():
    engine = FakeEngine()
    alive, ready = await send({"method": "GET", "url": "/healthz"}, {"method": "GET", "url": "/readyz"}, engine=engine)
    assert (alive.status_code, ready.status_code) == (200, 200)
    engine.is_ready = False
    alive, ready = await send({"method": "GET", "url": "/healthz"}, {"method": "GET", "url": "/readyz"}, engine=engine)
    assert (alive.status_code, reply(ready).code, ready.status_code) == (200, "unavailable", 503)


async def test_openapi_describes_request_answer_and_every_error():
    docs, response = await send({"method": "GET", "url": "/docs"}, {"method": "GET", "url": "/openapi.json"})
    assert docs.status_code == 200
    operation = response.json()["paths"]["/v1/landmarks"]["post"]
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(operation["requestBody"]["content"])
    assert {p["name"] for p in operation["parameters"]} == {
        "box", "topk", "max_faces", "detector_threshold", "model", "decoder", "flip", "omit", "min_score",
        "refine", "pixel_aspect", "min_face", "X-Request-ID", "X-Request-Timeout",
    }  # fmt: skip
    assert set(operation["responses"]) == {
        "200", "400", "401", "403", "404", "408", "413", "415", "422", "429", "431", "500", "503", "504",
    }  # fmt: skip
    answer = response.json()["components"]["schemas"]["AnswerModel"]["properties"]
    assert set(answer) == {"request_id", "model", "image", "faces", "timings_ms", "warnings"}
    overloaded = operation["responses"]["429"]["content"]["application/problem+json"]["examples"]["overloaded"]["value"]
    assert ProblemModel.model_validate(overloaded)
    assert overloaded["code"] == "overloaded"


async def test_the_examples_of_the_description_run():
    (description,) = await send({"method": "GET", "url": "/openapi.json"})
    operation = description.json()["paths"]["/v1/landmarks"]["post"]
    body = example(operation["requestBody"]["content"]["application/json"]["schema"])
    sample_image = base64.b64decode(body["image"])
    options = {name: value for name, value in body.items() if name != "image"}
    query = {
        parameter["name"]: ",".join(sample) if parameter["name"] == "omit" else sample
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
        for sample in parameter["schema"].get("examples", [])
    }
    query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    responses = await send(
        {"json": body},
        {"files": [("image", ("a.png", sample_image))], "data": {"options": json.dumps(options)}},
        {"content": sample_image, "params": query},
        *({"content": sample_image, "params": {name: value}} for name, value in query.items()),
    )
    assert set(options) == {
        "boxes", "topk", "max_faces", "detector_threshold", "decoder", "flip", "omit", "min_score",
        "refine", "pixel_aspect", "min_face",
    }  # fmt: skip
    assert set(query) == set(options) - {"boxes"} | {"box"}
    assert [response.status_code for response in responses] == [200] * (3 + 11)
    assert responses[0].json()["faces"] == responses[1].json()["faces"] == responses[2].json()["faces"] != []


def example(schema):
    """A JSON object of the first example of every property that has one."""
    return {name: each["examples"][0] for name, each in schema["properties"].items() if "examples" in each}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/vnd.msgpack", "application/vnd.msgpack"),
        ("application/x-msgpack;q=0.5, text/plain", "application/x-msgpack"),
        ("application/json, application/msgpack", "application/json"),
        ("application/json;q=0.5, Application/Msgpack;q=0.9", "application/msgpack"),
        ("application/msgpack;q=0", "application/json"),
        ("application/msgpack;q=much", "application/json"),
        ("application/msgpack;q=0.1, */*", "application/json"),
    ],
)
async def test_accept_chooses_json_or_msgpack(accept, kind):
    query = "?box=20.5,30.5,200.5,210.5&omit=timings_ms"
    mine = {"X-Request-ID": "me"}
    plain, chosen = await send(raw(query, **mine), raw(query, **mine, **({"Accept": accept} if accept else {})))
    assert chosen.headers["content-type"] == kind
    assert plain.headers["vary"] == chosen.headers["vary"] == "Accept"
    read = ormsgpack.unpackb if "msgpack" in kind else orjson.loads
    body = read(chosen.content)
    # JSON has a float32 in few digits, msgpack in four bytes
    assert np.float32(body["faces"][0]["points"]).tolist() == np.float32(plain.json()["faces"][0]["points"]).tolist()
    assert body["model"] == plain.json()["model"]
    assert AnswerModel.model_validate(body, strict=True)


async def test_errors_are_problem_documents_whatever_is_accepted():
    (response,) = await send(raw(kind="text/html", Accept="application/msgpack"))
    assert reply(response).code == "unsupported_media_type"


def batch(*images, options=None):
    files = [("image", ("a.png", image)) for image in images]
    data = {} if options is None else {"options": json.dumps(options)}
    return {"url": "/v1/landmarks/batch", "files": files, "data": data}


async def test_options_of_a_batch_are_for_all_images_or_for_each():
    none, shared, each = await send(
        batch(IMAGE, IMAGE),
        batch(IMAGE, IMAGE, options={"boxes": [BOX]}),
        batch(IMAGE, IMAGE, options=[{}, {"boxes": [BOX, BOX]}]),
    )
    counts = [[len(result["answer"]["faces"]) for result in r.json()["results"]] for r in (none, shared, each)]
    assert counts == [[0, 0], [1, 1], [0, 2]]
    assert BatchModel.model_validate(each.json(), strict=True)


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (batch(IMAGE, IMAGE, options=[{}]), "invalid_request", "a list of 1 for 2 images"),
        (batch(IMAGE) | {"url": "/v1/landmarks/batch?topk=4"}, "invalid_request", "in the body"),
        (raw() | {"url": "/v1/landmarks/batch"}, "unsupported_media_type", "multipart/form-data"),
        ({"url": "/v1/landmarks/batch", "files": [("photo", ("a", IMAGE))]}, "invalid_request", "a part 'photo'"),
        (batch(bytes(3_000_000)), "too_many_bytes", "the body has more than"),
        (batch(*[b"x"] * 101), "too_many_images", "more parts than 3 images"),
        ({"url": "/v1/landmarks/batch", "method": "GET"}, "method_not_allowed", "/docs"),
    ],
)
async def test_a_batch_that_cannot_be_read(request_, code, says):
    (response,) = await send(request_, max_batch_bytes=1_000_000)
    assert reply(response).code == code
    assert says in reply(response).message


async def test_a_batch_with_an_image_over_the_limit_of_one():
    (response,) = await send(batch(IMAGE, IMAGE + bytes(100_000)))
    assert ["problem" in result for result in response.json()["results"]] == [False, True]
    assert response.json()["results"][1]["problem"]["code"] == "too_many_bytes"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/layout", "/v1/models", "/", "/docs"])
async def test_head_answers_as_get_without_a_body(path):
    get, head = await send({"method": "GET", "url": path}, {"method": "HEAD", "url": path})
    assert (head.status_code, head.content) == (200, b"")
    assert get.content != b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # which have changed meanwhile
        assert head.headers["content-length"] == str(len(get.content))


async def test_head_of_a_service_that_is_not_ready():
    engine = FakeEngine()
    engine.is_ready = False
    (head,) = await send({"method": "HEAD", "url": "/readyz"}, engine=engine)
    assert (head.status_code, head.content) == (503, b"")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/landmarks", "POST"),
        ("HEAD", "/v1/landmarks", "POST"),
        ("PUT", "/v1/landmarks/batch", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/v1/layout", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
async def test_another_method_is_refused_with_those_allowed(method, path, allow):
    (response,) = await send({"method": method, "url": path})
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert method == "HEAD" or reply(response).code == "method_not_allowed"


async def test_a_slash_at_the_end_of_a_path_changes_nothing():
    image, health, unknown = await send(
        raw() | {"url": "/v1/landmarks/"}, {"method": "GET", "url": "/healthz//"}, {"method": "GET", "url": "/v2/"}
    )
    assert (reply(image).code, health.text, reply(unknown).code) == ("ok", '{"status":"ok"}', "not_found")


@pytest.mark.parametrize("coding", ["gzip", "br", "x-gzip, identity", "deflate"])
@pytest.mark.parametrize("request_", [raw(), as_json(), form(), form() | {"url": "/v1/landmarks/batch"}])
async def test_a_compressed_body_is_refused_by_the_name_of_its_header(request_, coding):
    headers = {**request_.get("headers", {}), "Content-Encoding": coding}
    (response,) = await send(request_ | {"headers": headers})
    assert (response.status_code, reply(response).code) == (415, "unsupported_media_type")
    assert "Content-Encoding" in reply(response).message


async def test_the_coding_identity_is_none():
    (response,) = await send(raw(**{"Content-Encoding": "Identity"}))
    assert reply(response).code == "ok"


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"This is a form.\r\n", b" --b\r\n-b" + b"x" * 70_000 + b"\r\n"])
@pytest.mark.parametrize("name", ["; filename*=UTF-8''a.png", "", '; filename="a.png"', '; filename=""'])
async def test_a_form_with_a_preamble_and_its_image_with_any_file_name(preamble, name):
    part = f'--b\r\nContent-Disposition: form-data; name="image"{name}\r\n\r\n'.encode() + IMAGE
    (response,) = await send({"content": preamble + part + b"\r\n--b--\r\n", "headers": BOUNDARY})
    assert reply(response).code == "ok"


async def test_a_form_that_never_begins():
    (response,) = await send({"content": b"no boundary" * 1000, "headers": BOUNDARY})
    assert reply(response).code == "invalid_request"


async def test_text_as_an_image_of_a_form_is_none():
    (response,) = await send({"files": [("image", (None, "text"))]})
    assert reply(response).code == "not_an_image"


async def test_json_may_begin_with_a_byte_order_mark():
    body = {"image": base64.b64encode(IMAGE).decode(), "boxes": [BOX]}
    in_body = {"content": b"\xef\xbb\xbf" + orjson.dumps(body), "headers": {"Content-Type": "application/json"}}
    options = "\ufeff" + json.dumps({"boxes": [BOX]})
    as_file = {"files": [("image", ("a", IMAGE)), ("options", ("o.json", options.encode(), "application/json"))]}
    responses = await send(in_body, form(options), as_file, batch(IMAGE) | {"data": {"options": options}})
    assert [response.status_code for response in responses] == [200] * 4
    assert [len(response.json()["faces"]) for response in responses[:3]] == [1] * 3


async def test_json_has_no_second_byte_order_mark():
    content = b"\xef\xbb\xbf" * 2 + orjson.dumps({"image": base64.b64encode(IMAGE).decode()})
    (response,) = await send({"content": content, "headers": {"Content-Type": "application/json"}})
    assert reply(response).code == "invalid_request"
