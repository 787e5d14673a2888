"""GIF, BMP, AVIF and HEIC.

The HEIC files are a red square beside a blue one, of 128 x 64 pixels, written by pillow-heif: `turned.heic` with an
orientation of 6, which becomes a rotation of the container, `two.heic` with a black image besides.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images.decode import decode_image, decode_srgb
from service.images.formats import FORMATS
from service.images.limits import ImageLimits
from service.limits import IMAGE_FORMATS
from tests.service.images.support import LIMITS, RGB, exif, failure, rgb, saved, xmp

FILES = Path(__file__).parent / "files"
SQUARES = PillowImage.new("RGB", (128, 64), (255, 0, 0))
SQUARES.paste((0, 0, 255), (64, 0, 128, 64))


def check_squares(pixels: np.ndarray) -> None:
    """Red on the left, blue on the right."""
    assert pixels.shape == (64, 128, 3)
    np.testing.assert_allclose(pixels[8:56, 8:56].mean((0, 1)), (255, 0, 0), atol=12)
    np.testing.assert_allclose(pixels[8:56, 72:120].mean((0, 1)), (0, 0, 255), atol=12)


def test_messages_name_every_format_that_is_read() -> None:
    assert tuple(FORMATS) == IMAGE_FORMATS


def codes(data: bytes) -> list[str]:
    return [warning.code for warning in decode_image(data, LIMITS).warnings]


@pytest.mark.parametrize("form", ["GIF", "AVIF", "BMP"])
def test_the_image_is_read(form):
    check_squares(decode_srgb(saved(SQUARES, form), LIMITS))
    assert codes(saved(SQUARES, form)) == []


@pytest.mark.parametrize("form", ["GIF", "AVIF"])
def test_of_an_animation_the_first_frame_is_read_with_a_warning(form):
    data = saved(SQUARES, form, save_all=True, append_images=[PillowImage.new("RGB", (128, 64))])
    check_squares(decode_srgb(data, LIMITS))
    assert codes(data) == ["first_frame_only"]


def test_heic_is_read_and_turned_by_its_container():
    check_squares(decode_srgb((FILES / "plain.heic").read_bytes(), LIMITS))
    turned = decode_srgb((FILES / "turned.heic").read_bytes(), LIMITS)
    check_squares(np.rot90(turned))  # the stored image was turned clockwise
    assert codes((FILES / "plain.heic").read_bytes()) == []
    assert codes((FILES / "two.heic").read_bytes()) == ["first_frame_only"]


def test_avif_is_turned_by_its_container_and_not_by_xmp():
    check_squares(np.rot90(decode_srgb(saved(SQUARES, "AVIF", exif=exif(6)), LIMITS)))
    check_squares(decode_srgb(saved(SQUARES, "AVIF", xmp=xmp(6)), LIMITS))


def test_a_container_without_a_brand_of_its_own_is_known_by_the_compatible_ones():
    data = saved(SQUARES, "AVIF")
    assert data[4:12] == b"ftypavif"
    check_squares(decode_srgb(data[:8] + b"mif1" + data[12:], LIMITS))
    heic = (FILES / "plain.heic").read_bytes()
    check_squares(decode_srgb(heic[:8] + b"mif1" + heic[12:], LIMITS))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_files_that_end_early_are_damaged(kept):
    for data in (
        saved(RGB, "GIF"),
        saved(RGB, "AVIF"),
        (FILES / "plain.heic").read_bytes(),
    ):
        assert failure(data[: int(kept * len(data))]) is ErrorKind.DAMAGED_IMAGE


def bmp(masks: tuple[int, ...], bits: int, pixels: bytes) -> bytes:
    """A BMP file of 2 x 1 pixels with bit fields."""
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, bits, 3, len(pixels), 0, 0, 0, 0) + struct.pack("<3I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels


def test_usual_bit_fields_are_read_and_odd_ones_refused_by_name():
    red_and_blue = struct.pack("<2H", 0xF800, 0x001F)
    shown = decode_srgb(bmp((0xF800, 0x07E0, 0x001F), 16, red_and_blue), LIMITS)
    assert shown.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    with pytest.raises(ServiceError, match="save it as") as caught:
        decode_srgb(bmp((0x00F0, 0x0F00, 0xF000), 16, red_and_blue), LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_IMAGE


def test_run_lengths_of_bmp_are_read():
    head = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 8, 1, 8, 0, 0, 2, 0) + bytes([0, 0, 255, 0, 255, 0, 0, 0])
    coded = bytes([2, 0, 2, 1, 0, 0, 0, 1])
    data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(coded), 0, 0, 14 + len(head)) + head + coded
    assert decode_srgb(data, LIMITS).tolist() == [[[255, 0, 0]] * 2 + [[0, 0, 255]] * 2]


def test_run_lengths_of_bmp_are_read_up_to_a_size():
    """Pillow decodes them in Python."""
    head = struct.pack("<IiiHHIIiiII", 40, 900, 900, 1, 8, 1, 0, 0, 0, 2, 0) + bytes(8)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + b"\1\2" * 2**20
    assert failure(data, ImageLimits(10**7, 10**7)) is ErrorKind.UNSUPPORTED_IMAGE


BLOCKS = {
    "comments": lambda count: b"!\xfe\1a\0" * count,
    "a comment": lambda count: b"!\xfe" + b"\2ab" * count + b"\0",
    "a comment behind junk": lambda count: b"?!\xfe" + b"\1a" * count + b"\0",
    "junk": lambda count: b"?" * 6 * count,
}


@pytest.mark.parametrize("is_behind", [False, True], ids=["before the image", "behind it"])
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=list(BLOCKS))
def test_gif_files_of_very_many_blocks_are_refused(blocks, is_behind):
    """Pillow passes over them in Python, up to the second image, and keeps comments."""
    data = saved(SQUARES, "GIF")
    at = len(data) - 1 if is_behind else 13 + (3 << (data[10] & 7) + 1)
    check_squares(decode_srgb(data[:at] + blocks(1000) + data[at:], LIMITS))
    assert failure(data[:at] + blocks(200_000) + data[at:], ImageLimits(10**7, 10**7)) is ErrorKind.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("form", ["WEBP", "PNG", "JPEG"])
def test_junk_in_the_place_of_exif_does_not_matter(form):
    chance = np.random.default_rng(0)
    plain = decode_srgb(saved(RGB, form), LIMITS)
    for start in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\0\x05", b"Exif\0\0"):
        data = saved(RGB, form, exif=start + chance.bytes(50))
        assert decode_srgb(data, LIMITS).shape == plain.shape


def test_webp_is_not_turned_by_xmp():
    assert decode_srgb(saved(RGB, "WEBP", xmp=xmp(6)), LIMITS).shape == (48, 64, 3)
    np.testing.assert_array_equal(decode_srgb(saved(RGB, "WEBP", lossless=True, xmp=xmp(6)), LIMITS), rgb(RGB))
