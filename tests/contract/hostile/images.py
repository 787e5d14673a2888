"""Files that are damaged, very large, or not images."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tests.contract.hostile.cases import BOX, Case, ImageCase
from tests.fakes import encoded, gradient_image


def pillow(image: np.ndarray, form: str, mode: str = "RGB", **how: Any) -> bytes:
    buffer = BytesIO()
    Pillow.fromarray(image).convert(mode).save(buffer, form, **how)
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """Good files of every kind that is read."""
    small = gradient_image(96, 80)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    frames = [Pillow.fromarray(small), Pillow.fromarray(small[::-1].copy())]
    webp = BytesIO()
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:])
    return {
        "jpeg": pillow(small, "JPEG", exif=exif.tobytes()),
        "jpeg-progressive": pillow(small, "JPEG", progressive=True, icc_profile=b"\0" * 128 + b"x" * 400),
        "jpeg-cmyk": pillow(small, "JPEG", "CMYK"),
        "png": pillow(small, "PNG"),
        "png-16": encoded(small.astype(np.uint16) * 257),
        "png-palette": pillow(small, "PNG", "P"),
        "webp": pillow(small, "WEBP", quality=80),
        "webp-animated": webp.getvalue(),
        "tiff": pillow(small, "TIFF"),
        "tiff-lzw": pillow(small, "TIFF", "RGBA", compression="tiff_lzw"),
        "tiff-jpeg": pillow(small, "TIFF", compression="jpeg"),
        "bmp": pillow(small, "BMP"),
    }


def damaged(chance: random.Random) -> Iterator[Case]:
    """Files that are cut off, changed in places, without a part, repeated, or with huge numbers in their header."""
    for name, data in files().items():
        for _ in range(4):
            end = chance.randrange(3, len(data))
            yield ImageCase(f"{name} cut at {end}", data[:end], {"boxes": [BOX]})
        for count in (1, 8, 64):
            changed = bytearray(data)
            for _ in range(count):
                changed[chance.randrange(4, len(data))] = chance.randrange(256)
            yield ImageCase(f"{name} with {count} bytes changed", bytes(changed), {"boxes": [(5, 5, 70, 70)]})
        for position in sorted(chance.sample(range(8, min(len(data), 120)), 3)):
            yield ImageCase(f"{name} with 0xff at {position}", data[:position] + b"\xff" * 4 + data[position + 4 :])
        start = chance.randrange(8, len(data) // 2)
        yield ImageCase(f"{name} without a part at {start}", data[:start] + data[start + 40 :])
        yield ImageCase(f"{name} twice", data + data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    )


def bmp(width: int, height: int, bits: int = 24, offset: int = 54) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, offset) + head


def tiff(*tags: tuple[int, int, int, int], next_ifd: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_ifd)


def jpeg_of(width: int, height: int) -> bytes:
    """A good JPEG whose frame header claims another size."""
    data = bytearray(pillow(gradient_image(64, 64), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bombs(chance: random.Random) -> Iterator[Case]:
    """Small files that would be large, slow or endless."""
    sides = [(0, 0), (1, 0), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (65_535, 65_534), (1, 250_001), (8_001, 2)]
    for width, height in sides:
        yield ImageCase(f"png of {width} x {height}", png(width, height))
        yield ImageCase(f"bmp of {width} x {height}", bmp(width % 2**31, height % 2**31))
        size = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8))
        yield ImageCase(f"tiff of {width} x {height}", tiff(*size, (278, 4, 1, height), (279, 4, 1, 2**31)))
        yield ImageCase(f"jpeg of {width % 65_536} x {height % 65_536}", jpeg_of(width % 65_536, height % 65_536))
    yield ImageCase("png of one row's data for all", png(500, 500, pixels=bytes(1501)))
    yield ImageCase("png of far more data than pixels", png(8, 8, pixels=bytes(20_000_000)))
    yield ImageCase(
        "png whose text unpacks to 30 MB", png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(30_000_000))))
    )
    yield ImageCase(
        "png whose profile unpacks to 30 MB", png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(30_000_000))))
    )
    yield ImageCase("png of 4000 text chunks", png(8, 8, chunk(b"tEXt", b"a\0b") * 4000, pixels=bytes(200)))
    yield ImageCase(
        "png of many frames", png(8, 8, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), pixels=bytes(200))
    )
    for depth, colour in ((3, 2), (16, 3), (0, 0), (255, 255), (1, 6)):
        yield ImageCase(
            f"png of depth {depth} and colour {colour}", png(8, 8, depth=depth, colour=colour, pixels=bytes(300))
        )
    for bits in (0, 1, 7, 16, 32, 65_535):
        yield ImageCase(f"bmp of {bits} bits", bmp(8, 8, bits) + bytes(300))
    yield ImageCase("bmp upside down", bmp(8, -8) + bytes(300))
    yield ImageCase("bmp of the most negative height", bmp(8, -(2**31)) + bytes(300))
    yield ImageCase("bmp whose pixels start beyond the end", bmp(8, 8, offset=2**31) + bytes(300))
    yield ImageCase("tiff whose directory is itself", tiff((256, 4, 1, 8), (257, 4, 1, 8), next_ifd=8))
    yield ImageCase("tiff without a tag", tiff())
    yield ImageCase("tiff of a tag with four billion values", tiff((256, 4, 2**32 - 1, 8), (257, 4, 1, 8)))
    yield ImageCase("tiff of a directory beyond the end", b"II*\0\xff\xff\xff\xff")
    yield ImageCase("bigtiff of a directory beyond the end", b"II+\0\x08\0\0\0" + b"\xff" * 8)
    yield ImageCase("jpeg of 3000 empty segments", b"\xff\xd8" + b"\xff\xe0\0\2" * 3000 + b"\xff\xd9")
    yield ImageCase("jpeg of a segment of no length", b"\xff\xd8\xff\xe0\0\0" + bytes(100) + b"\xff\xd9")
    yield ImageCase("jpeg of nothing", b"\xff\xd8\xff\xd9")
    good = pillow(gradient_image(64, 64), "JPEG")
    for count in (0, 7, 200):
        exif = b"Exif\0\0II*\0\x08\0\0\0" + chance.randbytes(count)
        yield ImageCase(f"jpeg with {count} bytes of EXIF noise", good[:2] + segment(0xE1, exif) + good[2:])
        profile = b"ICC_PROFILE\0\1\1" + chance.randbytes(count)
        yield ImageCase(f"jpeg with {count} bytes of profile noise", good[:2] + segment(0xE2, profile) + good[2:])
    for side in (16_384, 2**24):
        riff = b"WEBPVP8X" + struct.pack("<IB", 10, 2) + bytes(3) + struct.pack("<I", side - 1)[:3] * 2
        yield ImageCase(f"webp of {side} squared", b"RIFF" + struct.pack("<I", len(riff)) + riff)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def not_images(chance: random.Random) -> Iterator[Case]:
    """Files that are not images, and images that end after their signature."""
    starts = {
        "gif": b"GIF89a\1\0\1\0", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "pdf": b"%PDF-1.7",
        "zip": b"PK\3\4", "exr": b"v/1\1\2\0\0\0", "psd": b"8BPS\0\1", "heic": b"\0\0\0\x18ftypheic",
        "ico": b"\0\0\1\0\1\0", "elf": b"\x7fELF", "gzip": b"\x1f\x8b\x08", "pickle": b"\x80\4\x95",
        "path": b"/etc/passwd", "url": b"http://169.254.169.254/latest/meta-data",
        "python": b"__import__('os').abort()", "msgpack": b"\x81\xa5image\xc4\0",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "xml": b"<!DOCTYPE a>",
    }  # fmt: skip
    for name, start in starts.items():
        yield ImageCase(f"a {name} file", start + bytes(64))
    for signature in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"II+\0"):
        yield ImageCase(f"nothing but {signature!r}", signature)
        yield ImageCase(f"noise behind {signature!r}", signature + chance.randbytes(500))
    for size in (0, 1, 2, 1000):
        yield ImageCase(f"{size} bytes of noise", chance.randbytes(size))
    yield ImageCase("more bytes than are read", encoded(gradient_image()) + bytes(120_000))
