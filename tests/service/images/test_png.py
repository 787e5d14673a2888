import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from service.errors import ErrorKind
from service.images.decode import decode_image, decode_srgb
from service.images.limits import ImageLimits
from tests.service.images.profiles import SRGB
from tests.service.images.support import LIMITS, RGB, chunk, exif, failure, rgb, saved, xmp

PLAIN = saved(RGB, "PNG")
HEAD, REST = PLAIN[:33], PLAIN[33:]
"""The signature with the header chunk, and all behind it."""
LETTERS = st.sampled_from(list(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
KNOWN = b"tEXt zTXt iTXt pHYs cHRM gAMA sRGB sBIT bKGD hIST sPLT tIME tRNS".split()
SMALL = st.sampled_from(list(b"abcdefghijklmnopqrstuvwxyz"))
ANCILLARY = st.sampled_from(KNOWN) | st.tuples(SMALL, LETTERS, LETTERS, LETTERS).map(bytes)


def codes(data: bytes) -> list[str]:
    return [warning.code for warning in decode_image(data, LIMITS).warnings]


@settings(deadline=None)
@given(st.lists(st.tuples(ANCILLARY, st.binary(max_size=40), st.none() | st.integers(0, 2**32 - 1)), max_size=6))
def test_ancillary_chunks_of_any_name_content_and_checksum_do_not_matter(chunks):
    ancillary = b"".join(chunk(*each) for each in chunks if each[0] not in (b"iCCP", b"eXIf", b"acTL"))
    for data in (HEAD + ancillary + REST, PLAIN[:-12] + ancillary + PLAIN[-12:]):
        np.testing.assert_array_equal(decode_srgb(data, LIMITS), rgb(RGB))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_that_inflates_to_much_does_not_matter(kind):
    head = b"Comment\0" + (b"\0" if kind == b"zTXt" else b"\1\0\0\0")
    data = HEAD + chunk(kind, head + zlib.compress(bytes(50_000_000), 9)) + REST
    np.testing.assert_array_equal(decode_srgb(data, LIMITS), rgb(RGB))


@pytest.mark.parametrize(
    "content",
    [
        b"icc\0\0" + zlib.compress(SRGB + bytes(5_000_000), 9),
        b"icc\0\1" + zlib.compress(SRGB),
        b"icc\0\0" + zlib.compress(SRGB)[:-9],
        b"icc\0\0nonsense",
        b"icc",
        b"",
    ],
)
def test_a_profile_that_cannot_be_read_is_ignored_with_a_warning(content):
    data = HEAD + chunk(b"iCCP", content) + REST
    assert codes(data) == ["profile_ignored"]
    np.testing.assert_array_equal(decode_srgb(data, LIMITS), rgb(RGB))


def test_a_profile_of_two_megabytes_is_used():
    large = struct.pack(">I", len(SRGB) + 2_000_000) + SRGB[4:] + bytes(2_000_000)
    assert codes(HEAD + chunk(b"iCCP", b"icc\0\0" + zlib.compress(large)) + REST) == []


def test_the_orientation_is_that_of_the_exif_chunk_before_the_pixels():
    turned = chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    assert decode_srgb(HEAD + turned + REST, LIMITS).shape == (64, 48, 3)
    assert decode_srgb(PLAIN[:-12] + turned + PLAIN[-12:], LIMITS).shape == (48, 64, 3)
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n      {len(exif(6))}\n{exif(6).hex()}\n")
    text.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    assert decode_srgb(saved(RGB, "PNG", pnginfo=text), LIMITS).shape == (48, 64, 3)


def test_an_animation_of_one_frame_is_one_image():
    assert codes(HEAD + chunk(b"acTL", struct.pack(">II", 1, 0)) + REST) == []
    assert codes(HEAD + chunk(b"acTL", struct.pack(">II", 2, 0)) + REST) == ["first_frame_only"]


def test_a_missing_end_chunk_does_not_matter():
    np.testing.assert_array_equal(decode_srgb(PLAIN[:-12], LIMITS), rgb(RGB))


def parts(pixels: bytes) -> bytes:
    return b"".join([HEAD, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


RAW = b"".join(b"\0" + row.tobytes() for row in rgb(RGB))


@pytest.mark.parametrize(
    "data",
    [
        parts(zlib.compress(RAW)[: len(zlib.compress(RAW)) // 2]),
        parts(zlib.compress(RAW[: len(RAW) // 2])),
        parts(zlib.compress(RAW)[:-4] + b"abcd"),
        HEAD + chunk(b"IDAT", zlib.compress(RAW), crc=1) + chunk(b"IEND", b""),
        HEAD + chunk(b"ABCD", b"") + REST,
        HEAD + HEAD[8:] + REST,
        PLAIN[:8] + REST,
        HEAD + chunk(b"IEND", b""),
        PLAIN[:8] + chunk(b"IHDR", b"") + REST,
    ],
    ids=["cut", "half", "sum", "crc", "critical", "twice", "headless", "empty", "short"],
)
def test_files_with_wrong_pixels_or_critical_chunks_are_damaged(data):
    assert failure(data) is ErrorKind.DAMAGED_IMAGE


def test_the_coding_of_apple_and_endless_chunks_are_refused_by_name():
    assert failure(PLAIN[:8] + chunk(b"CgBI", bytes(4)) + PLAIN[8:]) is ErrorKind.UNSUPPORTED_IMAGE
    assert (
        failure(HEAD + chunk(b"teXt", b"") * 100_001 + REST, ImageLimits(10**7, 10**6)) is ErrorKind.UNSUPPORTED_IMAGE
    )


def test_interlaced_and_transparent_files_keep_their_colors():
    palette = RGB.quantize(64)
    for image, options in ((palette, {"transparency": bytes(range(64))}), (RGB, {"transparency": (1, 2, 3)})):
        np.testing.assert_array_equal(decode_srgb(saved(image, "PNG", **options), LIMITS), rgb(image))
    clear = PillowImage.new("RGBA", (8, 8), (200, 100, 50, 0))
    assert (decode_srgb(saved(clear, "PNG"), LIMITS) == (200, 100, 50)).all()
