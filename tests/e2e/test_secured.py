"""`landmarks serve` with everything that protects and shows it, as one process on real sockets."""

import json
import signal
import ssl
from pathlib import Path

import grpc
import httpx
import trustme

from landmarks.golden import golden_crop
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.security.api_keys import new_key
from service.triton_server.process import free_ports
from tests.e2e.test_gateway import served
from tests.fakes import encoded

IMAGE = encoded(golden_crop())
BOX = (60.5, 22.25, 199.0, 211.75)


def test_keys_tls_metrics_and_the_log_of_a_running_service(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours, theirs = authority.issue_cert("127.0.0.1"), authority.issue_cert("render@example.com")
    key, line = new_key("ana")
    files = {name: tmp_path / name for name in ("keys", "server.crt", "server.key", "ca.crt", "client.pem")}
    files["keys"].write_text(line + "\n")
    ours.cert_chain_pems[0].write_to_path(str(files["server.crt"]))
    ours.private_key_pem.write_to_path(str(files["server.key"]))
    authority.cert_pem.write_to_path(str(files["ca.crt"]))
    theirs.private_key_and_cert_chain_pem.write_to_path(str(files["client.pem"]))
    (metrics,) = free_ports(1)
    with served(
        engine="local",
        api_keys_file=files["keys"],
        tls_certificate=files["server.crt"],
        tls_key=files["server.key"],
        tls_client_ca=files["ca.crt"],
        metrics_port=metrics,
        log_format="json",
    ) as service:
        service.read_announcement()
        assert f"https://127.0.0.1:{service.rest}" in service.announced
        assert f"http://127.0.0.1:{metrics}/metrics" in service.announced
        assert "Authorization: Bearer $LANDMARKS_API_KEY" in service.announced

        context = ssl.create_default_context(cafile=files["ca.crt"])
        context.load_cert_chain(files["client.pem"])
        with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{service.rest}", timeout=60) as client:
            query = {"box": ",".join(map(str, BOX))}
            named = {"Authorization": f"Bearer {key}", "X-Request-ID": "mine"}
            response = client.post("/v1/landmarks", content=IMAGE, params=query, headers=named)
            assert len(response.json()["faces"][0]["points"]) == 98
            assert client.post("/v1/landmarks", content=IMAGE, params=query).status_code == 401
            assert client.get("/metrics", headers=named).status_code == 404

        pem = files["client.pem"].read_bytes()
        credentials = grpc.ssl_channel_credentials(files["ca.crt"].read_bytes(), pem, pem)
        with grpc.secure_channel(f"127.0.0.1:{service.rpc}", credentials) as channel:
            stub = landmarks_pb2_grpc.LandmarksStub(channel)
            box = pb.Box(**dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
            answer = stub.Detect(pb.DetectRequest(image=IMAGE, boxes=[box]), metadata=(("x-api-key", key),))
            assert len(answer.faces) == 1

        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        assert 'landmarks_requests_total{code="ok",door="rest",protocol="rest"} 1.0' in text
        assert 'landmarks_requests_total{code="ok",door="grpc",protocol="grpc"} 1.0' in text
        assert 'landmarks_requests_total{code="unauthenticated",door="rest",protocol="rest"} 1.0' in text
        assert httpx.get(f"http://127.0.0.1:{metrics}/readyz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{metrics}/v1/models").status_code == 404

        status, errors = service.stop(signal.SIGTERM)
        assert status == 0
        assert key not in errors
        lines = [json.loads(line) for line in errors.splitlines()]
        (mine,) = [line for line in lines if line.get("request_id") == "mine"]
        assert (mine["client"], mine["code"], mine["protocol"]) == ("ana", "ok", "rest")
