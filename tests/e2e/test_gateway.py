"""The service as its users run it: a real process, a real Triton, real sockets, curl."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from landmarks.golden import golden_crop
from landmarks.layout import WFLW98
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.triton_server.process import free_ports
from tests.conftest import ROOT
from tests.fakes import encoded

IMAGE = encoded(golden_crop())
BOX = (60.5, 22.25, 199.0, 211.75)


class Served:
    """A running `landmarks serve`."""

    def __init__(self, process: subprocess.Popen[str], rest: int, rpc: int) -> None:
        self.process = process
        self.rest, self.rpc = rest, rpc
        self.url = f"http://127.0.0.1:{rest}"
        self.announced = ""

    def read_announcement(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.announced += line
            if "curl" in line:
                return
        raise AssertionError(f"the service exited: {self.process.stderr.read()}")  # type: ignore[union-attr]

    def stop(self, number: int) -> tuple[int, str]:
        """Exit status and standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def environment(**settings: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LANDMARKS_")}
    return kept | {f"LANDMARKS_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def served(**settings: object) -> Iterator[Served]:
    rest, rpc = free_ports(2)
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"],
        cwd=ROOT,
        env=environment(port=rest, grpc_port=rpc, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    service = Served(process, rest, rpc)
    try:
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def ports_are_free(*ports: int) -> bool:
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
    return True


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [d for child in children for d in descendants(int(child))]


def shared_memory_prefixes(pids: list[int]) -> set[str]:
    """The prefixes of these Tritons' shared-memory files. Other Tritons may run at the same time."""
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    return {match[1] for text in commands if (match := re.search(r"shm-region-prefix-name=([^\0]+)", text))}


@pytest.fixture(scope="module")
def service(triton_url: str) -> Iterator[Served]:
    with served(triton_url=triton_url, max_in_flight=8) as running:
        running.read_announcement()
        yield running


def test_a_browser_without_a_network_shows_the_description(service: Served, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path}"]
    command = [browser, *quiet, *offline, "--virtual-time-budget=10000", "--dump-dom", f"{service.url}/docs"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "/v1/landmarks" in shown
    assert "The points of every face in one image" in shown


def test_curl_and_a_grpc_client_get_the_same_points_to_the_last_bit(service: Served) -> None:
    response = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params={"box": ",".join(map(str, BOX))})
    (face,) = response.json()["faces"]
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        box = pb.Box(**dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
        answer = landmarks_pb2_grpc.LandmarksStub(channel).Detect(pb.DetectRequest(image=IMAGE, boxes=[box]))
    for name in ("points", "scores", "covariances"):
        ours = np.array(face[name], np.float32).ravel()
        np.testing.assert_array_equal(ours, np.array(getattr(answer.faces[0], name), np.float32), err_msg=name)
    assert len(face["points"]) == 98
    assert answer.model.provenance.startswith("sha256:")


def test_the_printed_curl_line_works(service: Served) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    match = re.search(r"curl .*", service.announced)
    assert match is not None
    answer = subprocess.run(match[0], shell=True, capture_output=True, check=True, timeout=60).stdout
    assert len(json.loads(answer)["faces"][0]["points"]) == 98


EXAMPLES = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_reference_run(service: Served, tmp_path: Path, number: int) -> None:
    language, text = EXAMPLES[number]
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "photo.jpg").write_bytes(encoded(golden_crop(), ".jpg"))
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{service.rest}").replace("8081", str(service.rpc))
    text = text.replace("178,63,268,176", "60,22,199,211").replace("178, 63, 268, 176", "60, 22, 199, 211")
    command = ["bash", "-ec", text.replace("curl ", "curl -sS --fail-with-body ")]
    if language == "python":
        command = [sys.executable, "-W", "ignore", "-c", text]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r'"points"|^1 faces$|^answer\nproblem$', ended.stdout, re.MULTILINE), ended.stdout


def test_readiness_and_topk_reach_triton(service: Served) -> None:
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    query = {"box": ",".join(map(str, BOX))}
    one = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params={**query, "topk": "1"}).json()
    nine = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params=query).json()
    assert one["faces"][0]["points"] != nine["faces"][0]["points"]
    strongest = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params={**query, "decoder": "argmax"}).json()
    assert strongest["faces"] == one["faces"]


def test_flip_averaging_of_an_image_and_of_its_mirror_image_agree(service: Served) -> None:
    mirrored = encoded(np.ascontiguousarray(golden_crop()[:, ::-1]))
    boxes = (BOX, (255 - BOX[2], BOX[1], 255 - BOX[0], BOX[3]))
    there, back = (
        np.array(httpx.post(f"{service.url}/v1/landmarks", content=image, params=query).json()["faces"][0]["points"])
        for image, box in zip((IMAGE, mirrored), boxes, strict=True)
        for query in ({"box": ",".join(map(str, box)), "flip": "true"},)
    )
    mirrored_back = back[list(WFLW98.flip)] * (-1, 1) + (255, 0)
    distances = np.abs(mirrored_back - there)
    # without averaging: a pixel at the median, and up to seven. It is not zero, because the warp to a crop rounds
    assert np.median(distances) < 0.05
    assert distances.max() < 0.5


def test_several_images_are_answered_in_one_call(service: Served) -> None:
    files = [("image", ("a.png", IMAGE)), ("image", ("b.png", b"hello")), ("image", ("c.png", IMAGE))]
    form = {"options": json.dumps({"boxes": [BOX]})}
    first, second, third = httpx.post(f"{service.url}/v1/landmarks/batch", files=files, data=form).json()["results"]
    assert first["answer"]["faces"] == third["answer"]["faces"]
    assert len(first["answer"]["faces"]) == 1
    assert second["problem"]["code"] == "not_an_image"


def test_many_faces_are_answered_in_one_request(service: Served) -> None:
    boxes = [",".join(map(str, (BOX[0] + i, *BOX[1:]))) for i in range(20)]
    answer = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params={"box": boxes}, timeout=60).json()
    assert [face["box"][0] for face in answer["faces"]] == [60.5 + i for i in range(20)]


def test_a_port_in_use_is_one_line_and_leaves_nothing(service: Served) -> None:
    (free,) = free_ports(1)
    for rest, rpc in ((service.rest, free), (free, service.rpc)):
        ended = subprocess.run(
            [sys.executable, "-m", "service", "serve"],
            cwd=ROOT,
            env=environment(port=rest, grpc_port=rpc),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert re.fullmatch(r"landmarks: cannot listen on 127\.0\.0\.1:\d+: .*LANDMARKS_PORT.*\n", ended.stderr)
        assert ports_are_free(free)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_cleanly(needs_triton: None, number: int) -> None:
    with served() as running:
        running.read_announcement()
        family = descendants(running.process.pid)
        prefixes = shared_memory_prefixes(family)
        assert httpx.post(f"{running.url}/v1/landmarks", content=IMAGE, timeout=60).status_code == 200
        status, errors = running.stop(number)
        assert status == 0
        assert "Traceback" not in errors
        assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []
        assert ports_are_free(running.rest, running.rpc)
        assert prefixes
        assert [path for prefix in prefixes for path in Path("/dev/shm").glob(f"{prefix}*")] == []


def test_a_signal_during_the_start_stops_it(needs_triton: None) -> None:
    with served() as running:
        end = time.monotonic() + 60
        while not (family := descendants(running.process.pid)) and time.monotonic() < end:
            os.sched_yield()
        status, errors = running.stop(signal.SIGTERM)
        assert (status, "Traceback" in errors) == (0, False)
        assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []


def test_a_triton_that_does_not_answer_is_reported() -> None:
    (nobody,) = free_ports(1)
    with served(triton_url=f"127.0.0.1:{nobody}", startup_timeout=0.5) as running:
        _, errors = running.process.communicate(timeout=60)
        assert running.process.returncode == 1
        assert errors.splitlines()[-1].startswith("landmarks: ")
        assert "Traceback" not in errors


def test_without_triton_the_local_engine_serves(service: Served) -> None:
    with served(engine="local") as running:
        running.read_announcement()
        assert descendants(running.process.pid) == []
        query = {"box": ",".join(map(str, BOX))}
        ours, theirs = (
            httpx.post(f"{url}/v1/landmarks", content=IMAGE, params=query, timeout=60).json()["faces"][0]["points"]
            for url in (running.url, service.url)
        )
        assert np.abs(np.array(ours) - np.array(theirs)).max() < 0.01
