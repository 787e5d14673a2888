"""The memory that decoding takes, against what is held for it: a process of its own measures its peak."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT

SIDE = 2500
SLACK = 24 << 20
"""Bytes of buffers that do not grow with the image."""

PROGRAM = """
import re, sys
from pathlib import Path
from service.images.decode import decode_source, decoding_bytes, read_header
from service.images.limits import ImageLimits
from service.triton_server import malloc

def bytes_of(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

malloc.set_up()
limits = ImageLimits(1 << 30, 1 << 30)
for path in map(Path, sys.argv[1:]):
    peaks = []
    for attempt in range(3):  # the first loads what is loaded once; a busy system takes pages back meanwhile
        data = path.read_bytes()
        Path("/proc/self/clear_refs").write_text("5")
        before = bytes_of("VmRSS")
        source = read_header(data, limits)
        decode_source(source, limits)
        peaks.append(bytes_of("VmHWM") - before)
        held = decoding_bytes(source, len(data))
        del source
    print(path.name, max(peaks[1:]), held)
"""

TURNED = Image.Exif()
TURNED[0x0112] = 6
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "turned jpeg": ("RGB", "JPEG", {"exif": TURNED}),
    "jpeg of inks": ("CMYK", "JPEG", {"progressive": True}),
    "png": ("RGBA", "PNG", {"compress_level": 1}),
    "webp": ("RGBA", "WEBP", {"method": 0}),
    "animated webp": (
        "RGB",
        "WEBP",
        {"method": 0, "save_all": True, "append_images": [Image.new("RGB", (SIDE, SIDE))]},
    ),
    "gif": ("P", "GIF", {}),
    "bmp": ("RGBA", "BMP", {}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff of inks": ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
    "avif": ("RGB", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
}


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_no_format_takes_more_memory_than_is_held_for_it(tmp_path: Path) -> None:
    for name, (mode, form, options) in FILES.items():
        file = io.BytesIO()
        Image.new(mode, (SIDE, SIDE), 77).save(file, form, **options)
        (tmp_path / name).write_bytes(file.getvalue())
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in FILES)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line.rsplit(" ", 2) for line in result.stdout.splitlines()]
    assert [name for name, _, _ in rows] == list(FILES)
    assert [row for row in rows if int(row[1]) > int(row[2]) + SLACK] == []
    assert [row for row in rows if int(row[1]) < int(row[2]) / 3] == []  # nor is much more held than is taken
