"""Links the Triton of the nvidia-pytriton wheel into the folder layout of NVIDIA's image: `triton_layout.py FOLDER`.

Both images can then be started in the same way, and the server finds its backend in its default folder.
"""

import sys
from pathlib import Path

from service.triton_server.process import libpython_folder, link_backend, wheel_folder


def link_layout(root: Path) -> None:
    wheel = wheel_folder()
    libpython_folder()  # raises now where it is missing, rather than when a model is loaded
    link_backend(wheel, root)
    (root / "bin").symlink_to(wheel / "pytriton/tritonserver/bin")
    (root / "lib").symlink_to(wheel / "nvidia_pytriton.libs")


if __name__ == "__main__":
    link_layout(Path(sys.argv[1]))
