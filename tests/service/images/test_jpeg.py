import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images.decode import decode_image, decode_srgb, read_header
from service.images.limits import ImageLimits
from tests.fakes import gradient_image
from tests.service.images.profiles import SRGB, red_and_blue_swapped
from tests.service.images.support import LIMITS, RGB, exif, failure, saved, segment, xmp

PLAIN = saved(RGB, "JPEG", quality=90)
NOISE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))


def with_segments(*segments: bytes, data: bytes = PLAIN) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def scan_start(data: bytes | bytearray) -> int:
    """Offset of the coded data of the first scan."""
    marker = data.index(b"\xff\xda")
    return marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")


def check_same(data: bytes, plain: bytes = PLAIN) -> None:
    np.testing.assert_array_equal(decode_srgb(data, LIMITS), decode_srgb(plain, LIMITS))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*range(0xE0, 0xEE), 0xEF, 0xFE]), st.binary(max_size=40)), max_size=5))
def test_application_segments_and_comments_of_any_content_do_not_matter(segments):
    check_same(with_segments(*(segment(marker, content) for marker, content in segments)))


@pytest.mark.parametrize(
    "malformed",
    [
        segment(0xE0, b"JFIF\0\x01"),
        segment(0xE0, b"JFIF\0\x09\x01\0\0\x01\0\x01\0\0"),
        segment(0xEE, b"Adobe\0"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE1, b"Exif\0\0II*\0"),
        segment(0xE1, b"Exif\0\0" + bytes(range(256))),
        segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff"),
        segment(0xE5, b"") + b"between segments",
        b"\xff\xff\xff",
    ],
)
def test_malformed_metadata_that_browsers_ignore_are_ignored(malformed):
    check_same(with_segments(malformed))
    assert decode_image(with_segments(malformed), LIMITS).warnings == ()


def test_an_incomplete_profile_is_ignored_with_a_warning():
    parts = [b"ICC_PROFILE\0" + bytes([number, 3]) + SRGB[:100] for number in (1, 2)]
    image = decode_image(with_segments(*(segment(0xE2, part) for part in parts)), LIMITS)
    assert [warning.code for warning in image.warnings] == ["profile_ignored"]


def test_a_profile_in_parts_of_any_order_is_applied():
    profile = red_and_blue_swapped()
    parts = [b"ICC_PROFILE\0" + bytes([1, 2]) + profile[:300], b"ICC_PROFILE\0" + bytes([2, 2]) + profile[300:]]
    red = saved(PillowImage.new("RGB", (64, 48), (255, 0, 0)), "JPEG")
    shown = decode_srgb(with_segments(*(segment(0xE2, part) for part in reversed(parts)), data=red), LIMITS)
    assert np.abs(shown.astype(int) - (0, 0, 255)).max() <= 3


def test_the_orientation_is_that_of_exif_and_never_of_xmp():
    in_xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))
    check_same(with_segments(in_xmp))
    assert decode_srgb(with_segments(in_xmp, segment(0xE1, exif(6))), LIMITS).shape == (64, 48, 3)


@pytest.mark.parametrize(("kind", "count"), [(4, 1), (1, 1), (3, 2)])
def test_an_orientation_that_is_not_one_number_of_16_bits_is_ignored(kind, count):
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, kind, count, 6, 0)
    check_same(with_segments(segment(0xE1, block)))


@pytest.mark.parametrize("length", [1, 2, 16])
def test_a_few_surplus_bytes_before_the_end_are_accepted(length):
    check_same(PLAIN[:-2] + bytes(length) + PLAIN[-2:])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_file_that_is_cut_and_closed_is_damaged(options):
    data = saved(NOISE, "JPEG", quality=90, **options)
    assert decode_srgb(data, LIMITS).shape == (96, 128, 3)
    start = scan_start(data)
    for kept in (0.1, 0.5, 0.9):
        cut = start + int(kept * (len(data) - start))
        assert failure(data[:cut].rstrip(b"\xff") + b"\xff\xd9") is ErrorKind.DAMAGED_IMAGE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_coded_data_with_an_error_are_damaged(mode):
    data = bytearray(saved(NOISE.convert(mode), "JPEG", quality=90))
    middle = (scan_start(data) + len(data)) // 2
    data[middle : middle + 200] = bytes(200)  # short codes: blocks are missing at the end, or bytes are left over
    assert failure(bytes(data)) is ErrorKind.DAMAGED_IMAGE


def progressive(scans: int) -> bytes:
    """A progressive file whose last scan is repeated until there are as many."""
    data = saved(RGB, "JPEG", progressive=True)
    first, last = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    own = data.count(b"\xff\xda", first)
    return data[:last] + data[last:-2] * (scans - own + 1) + data[-2:]


def test_at_most_100_scans_are_read():
    assert decode_srgb(progressive(100), LIMITS).shape == (48, 64, 3)
    with pytest.raises(ServiceError, match="101 scans, at most 100 are read") as caught:
        decode_srgb(progressive(101), LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_IMAGE
    check_same(with_segments(segment(0xE5, b"\xff\xda" * 200)))


def test_fewer_scans_are_read_of_a_large_image():
    """Each of 100 megapixels takes a fifth of a second."""
    data = bytearray(progressive(21))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 10_000)
    large = ImageLimits(max_bytes=10**6, max_pixels=10**8)
    with pytest.raises(ServiceError, match="21 scans, at most 20 are read"):
        read_header(bytes(data), large)
    data[frame + 5 : frame + 9] = struct.pack(">HH", 5000, 10_000)
    assert read_header(bytes(data), large).header.height == 5000


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (struct.pack(">BBHHB", 0xC1, 12, 48, 64, 3), "12 bits per channel"),
        (struct.pack(">BBHHB", 0xC0, 8, 48, 64, 2), "2 channels"),
        (struct.pack(">BBHHB", 0xC0, 8, 0, 64, 3), "its height behind the pixels"),
        (struct.pack(">BBHHB", 0xC5, 8, 48, 64, 3), "hierarchical"),
    ],
)
def test_sound_files_of_rare_kinds_are_refused_by_name(frame, message):
    start = PLAIN.index(b"\xff\xc0")
    rare = PLAIN[: start + 1] + frame[:1] + PLAIN[start + 2 : start + 4] + frame[1:] + PLAIN[start + 10 :]
    with pytest.raises(ServiceError, match=message) as caught:
        decode_srgb(rare, LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_IMAGE


@pytest.mark.parametrize(
    ("kind", "size", "warned"),
    [(0, (64, 48), True), (0, (32, 24), False), (0x020002, (32, 24), True), (0x010001, (64, 48), False)],
)
def test_gain_maps_and_thumbnails_are_no_further_images(kind, size, warned):
    second = saved(PillowImage.new("RGB", size), "JPEG")
    part_size = 2 + 2 + 4 + 8 + 2 + 12 + 4 + 32
    block_start = 2 + 2 + 2 + 4
    offset = len(PLAIN) + part_size - block_start
    entries = struct.pack(">IIIHH", 0x030000, 0, 0, 0, 0) + struct.pack(">IIIHH", kind, len(second), offset, 0, 0)
    block = b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0xB002, 7, 32, 26) + bytes(4) + entries
    data = with_segments(segment(0xE2, b"MPF\0" + block)) + second
    assert [warning.code for warning in decode_image(data, LIMITS).warnings] == ["first_frame_only"] * warned


def test_lossless_coding_is_read():
    grey = gradient_image(24, 16)[..., 0]
    np.testing.assert_array_equal(decode_srgb(lossless(grey), LIMITS), np.repeat(grey[..., None], 3, axis=2))


def lossless(grey: np.ndarray) -> bytes:
    """A JPEG file of process 14 (ITU T.81, annex H): differences to the pixel on the left, in nine codes of 4 bits."""
    height, width = grey.shape
    bits = ""
    for row, values in enumerate(grey.astype(int)):
        for column, value in enumerate(values):
            before = values[column - 1] if column else grey[row - 1, 0] if row else 128
            difference = int(value) - int(before)
            category = abs(difference).bit_length()
            bits += f"{category:04b}"
            if category:
                bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    bits += "1" * (-len(bits) % 8)
    coded = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    codes = bytes([0, 0, 0, 9]) + bytes(12) + bytes(range(9))
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])
    return (
        b"\xff\xd8"
        + segment(0xC3, frame)
        + segment(0xC4, b"\0" + codes)
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
        + coded
        + b"\xff\xd9"
    )
