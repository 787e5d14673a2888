"""The shared truth of the project: layout, crop geometry, codec and tensor contract.

Imports NumPy and OpenCV; knows no server and no torch.
"""

import os
import sys

# Packages that other parts of the project import would write an identifier of this machine into the home folder, and
# report their use to their makers: OpenVINO and NNCF by this package, ONNX Runtime unless this variable is set.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
