"""The health check of the images with Triton: `triton_answers.py [PORT]` succeeds when its models answer.

That is, when the network and its decoder, and the detector where there is one, answer the golden crop within 10
seconds. A model that has answered other requests meanwhile is busy, and counts as well. PORT is that of Triton's HTTP
API on this machine. Whether the answers are right is what gateways check. The exit status is 2 when nothing listens
there, as while Triton loads its models, and 1 when what listens does not answer.
"""

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

TIMEOUT = 10.0
GOLDEN = Path(__file__).with_name("golden.rgb")
"""The golden crop of 256 x 256 pixels, three bytes each, which the build of the image writes."""
MODELS = {"landmarks": "crops", "detector": "image"}
"""Each model that gateways call, and the name of its input."""


def main(arguments: "list[str]") -> int:
    """The exit status; standard error says what does not answer."""
    port = int(arguments[0]) if arguments else 8000
    try:
        served = [model for model in MODELS if model == "landmarks" or ask(port, f"/v2/models/{model}")[0] == 200]
        with ThreadPoolExecutor(len(served)) as threads:
            failures = [text for text in threads.map(lambda model: failure(port, model), served) if text]
    except ConnectionRefusedError as error:
        return report(2, f"no Triton on port {port}: {error}")
    except (OSError, http.client.HTTPException, LookupError, ValueError) as error:
        return report(1, f"Triton does not answer as it should: {error!r}")
    return report(1, "; ".join(failures)) if failures else 0


def report(status: int, text: str) -> int:
    """Writes the text, and returns the status."""
    sys.stderr.write(f"{text}\n")
    return status


def failure(port: int, model: str) -> "str | None":
    """Why the model counts as one that does not answer."""
    before, end = successes(port, model), time.monotonic() + TIMEOUT
    try:
        status, answer = ask(port, f"/v2/models/{model}/infer", *request(port, model))
        if status == 200:
            return None
        problem = answer.decode("utf-8", "replace")
        is_full = "maximum queue size" in problem
    except TimeoutError:
        problem, is_full = f"no answer within {TIMEOUT:g} s", False
    while is_full and time.monotonic() < end and successes(port, model) == before:
        time.sleep(0.2)
    is_busy = is_full or time.monotonic() >= end
    return None if is_busy and successes(port, model) > before else f"{model}: {problem}"


def request(port: int, model: str) -> "tuple[bytes, int]":
    """The body of an inference of the golden crop, and the length of the JSON in front of the pixels."""
    inputs = json.loads(ask(port, f"/v2/models/{model}/config")[1])["input"]
    (dims,) = (each["dims"] for each in inputs if each["name"] == MODELS[model])
    shape = [1, *(256 if int(size) < 0 and axis < 2 else int(size) for axis, size in enumerate(dims))]
    golden, size = GOLDEN.read_bytes(), shape[1] * shape[2] * shape[3]
    pixels = (golden * (size // len(golden) + 1))[:size]  # for a model of another size: any pixels will do
    tensor = {"name": MODELS[model], "shape": shape, "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + pixels, len(header)


def successes(port: int, model: str) -> int:
    """How many requests the model has answered."""
    statistics = json.loads(ask(port, f"/v2/models/{model}/stats")[1])["model_stats"]
    return sum(int(version["inference_stats"]["success"]["count"]) for version in statistics)


def ask(port: int, path: str, body: "bytes | None" = None, json_length: int = 0) -> "tuple[int, bytes]":
    """Status and body of an answer. Raises OSError, which TimeoutError is."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        headers = {} if body is None else {"Inference-Header-Content-Length": str(json_length)}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
