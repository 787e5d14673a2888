"""The client in a process of its own: what it imports, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.client.conftest import every_api
from tests.client.test_rest import NO_MODELS, http
from tests.conftest import ROOT

TIMEOUT = 60


def start(program: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        yield listener


def test_the_client_needs_nothing_of_the_service() -> None:
    unwanted = "{'service', 'landmarks', 'fastapi', 'torch', 'cv2', 'tritonclient', 'pydantic'}"
    process = start(f"import sys, landmarks_client; print({unwanted} & set(sys.modules))")
    assert process.communicate(timeout=TIMEOUT) == ("set()\n", "")


@every_api
def test_ctrl_c_ends_a_call_that_waits(listener: socket.socket, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    process = start(
        "from landmarks_client import Client\n"
        f"with Client({url!r}, timeout=3600) as client:\n"
        "    try:\n"
        "        client.models()\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(TIMEOUT)
        assert connection.recv(1)  # the request, or gRPC's preface: the call waits for an answer that never comes
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TIMEOUT) == ("interrupted\n", "")
    assert process.returncode == 0


def answer_once(listener: socket.socket) -> socket.socket:
    """The connection, kept open."""
    connection, _ = listener.accept()
    connection.settimeout(TIMEOUT)
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    connection.sendall(http(NO_MODELS))
    return connection


def test_a_client_that_is_not_closed_lets_the_process_end(listener: socket.socket) -> None:
    process = start(
        "from landmarks_client import Client\n"
        f"client = Client('http://127.0.0.1:{listener.getsockname()[1]}')\n"
        "print(client.models())\n"
    )
    with answer_once(listener):
        assert process.communicate(timeout=TIMEOUT) == ("[]\n", "")
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_client_of_its_own(listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    process = start(
        "import os\n"
        "from landmarks_client import Client\n"
        f"client = Client({url!r})\n"
        "client.models()\n"
        "if os.fork() == 0:\n"
        f"    print(Client({url!r}).models(), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    with answer_once(listener), answer_once(listener):
        assert process.communicate(timeout=TIMEOUT) == ("[]\n", "")
    assert process.returncode == 0
