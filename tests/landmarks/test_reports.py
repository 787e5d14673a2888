"""Nothing that the project imports identifies this machine to its makers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PROGRAM = """
import landmarks
import openvino, onnxruntime
openvino.Core().read_model({model!r})
onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
import nncf
"""


def test_nothing_is_written_into_an_empty_home(model_repository: Path, tmp_path: Path) -> None:
    """openvino and nncf would write intel/openvino_ga_cid, ONNX Runtime a deviceid below .cache."""
    program = PROGRAM.format(model=str(model_repository / "detector/1/model.onnx"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | {"HOME": str(tmp_path)}, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert list(tmp_path.rglob("*")) == []
