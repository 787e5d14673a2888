"""Small image files of every format that is read, and strategies that damage them."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Literal

import numpy as np
import pillow_heif
import tifffile
from hypothesis import strategies as st
from PIL import Image as Pillow

from tests.contract.hostile import images
from tests.fakes import gradient_image

NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Values of fields at which arithmetic of 8, 16 and 32 bits goes wrong."""

CHANGES = ("flip", "flip", "flip", "field", "field", "field", "overwrite", "insert", "remove", "double", "end")
"""Kinds of changes, some of them more likely than others: a file that ends early tests little else."""


@cache
def files() -> tuple[bytes, ...]:
    """Good files: those of the hostile corpus, and further formats and layouts."""
    small = gradient_image(48, 40)
    image = Pillow.fromarray(small)
    return (
        *images.files().values(),
        images.pillow(small, "GIF"),
        _saved(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        images.pillow(small, "BMP", "P"),
        images.pillow(small, "WEBP", "RGBA", lossless=True),
        images.pillow(small, "AVIF"),
        images.pillow(small, "AVIF", "RGBA"),
        _heic(image),
        _heic(image.convert("RGBA")),
        _tiff(small, compression="zlib", predictor=True),
        _tiff(small, tile=(16, 16), bigtiff=True),
        _tiff(small.astype(np.uint16) * 257, byteorder=">", planarconfig="separate"),
    )


def _saved(image: Pillow.Image, form: str, **how: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def _heic(image: Pillow.Image) -> bytes:
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=60)
    return buffer.getvalue()


def _tiff(pixels: np.ndarray, bigtiff: bool = False, byteorder: Literal["<", ">"] = "<", **how: object) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=bigtiff, byteorder=byteorder) as file:
        planes = pixels.transpose(2, 0, 1) if "planarconfig" in how else pixels
        file.write(planes, photometric="rgb", **how)
    return buffer.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with up to five changes, most of them behind its signature."""
    data = bytearray(draw(st.sampled_from(files())))
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0 if draw(st.integers(0, 7)) == 0 else min(12, len(data)), len(data)))
        end = min(len(data), start + draw(st.integers(1, 64)))
        match draw(st.sampled_from(CHANGES)):
            case "flip" if start < len(data):
                data[start] ^= 1 << draw(st.integers(0, 7))
            case "field":
                size = draw(st.sampled_from((2, 4)))
                value = draw(st.one_of(st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1))) % 256**size
                data[start : start + size] = value.to_bytes(size, draw(st.sampled_from(("big", "little"))))
            case "overwrite":
                data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "insert":
                data[start:start] = draw(st.binary(max_size=64))
            case "remove":
                del data[start:end]
            case "double":
                data[start:start] = data[start:end]
            case "end":
                del data[start:]
    return bytes(data)
