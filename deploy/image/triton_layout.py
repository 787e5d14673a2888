"""Lays the Triton of the nvidia-pytriton wheel out as NVIDIA's image has it: triton_layout.py [/opt/tritonserver].

So both images are started alike, and the server finds its backend where it looks by itself.
"""

import sys
from pathlib import Path

from service.triton_server.process import libpython_folder, link_backend, wheel_folder


def lay_out(root: Path) -> None:
    wheel = wheel_folder()
    libpython_folder()  # a missing one is told now rather than when a model is loaded
    link_backend(wheel, root)
    (root / "bin").symlink_to(wheel / "pytriton/tritonserver/bin")
    (root / "lib").symlink_to(wheel / "nvidia_pytriton.libs")


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
