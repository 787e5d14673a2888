from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images import ImageLimits, decode_image, jpeg_is_complete, upright
from tests.fakes import encoded, picture

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6)


def failure(data: bytes, limits: ImageLimits = LIMITS) -> ErrorKind:
    with pytest.raises(ServiceError) as caught:
        decode_image(data, limits)
    return caught.value.kind


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_lossless_formats_give_the_very_pixels(extension):
    np.testing.assert_array_equal(decode_image(encoded(picture(), extension), LIMITS), picture())


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_lossy_formats_give_nearly_the_pixels(extension):
    image = decode_image(encoded(picture(), extension), LIMITS)
    assert image.shape == (240, 320, 3)
    assert np.abs(image.astype(int) - picture()).mean() < 3


def test_grey_alpha_and_sixteen_bits_become_rgb_bytes():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(grey), LIMITS), np.stack([grey] * 3, axis=2))
    buffer = BytesIO()
    PillowImage.fromarray(np.dstack([picture(), grey])).save(buffer, "PNG")
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), LIMITS), picture())
    sixteen = picture().astype(np.uint16) * 256 + 7
    np.testing.assert_array_equal(decode_image(encoded(sixteen), LIMITS), picture())


# where the pixel that is stored top left, and the one beside it to the right, are shown: row, column
SHOWN = {
    1: ((0, 0), (0, 1)),
    2: ((0, -1), (0, -2)),
    3: ((-1, -1), (-1, -2)),
    4: ((-1, 0), (-1, 1)),
    5: ((0, 0), (1, 0)),
    6: ((0, -1), (1, -1)),
    7: ((-1, -1), (-2, -1)),
    8: ((-1, 0), (-2, 0)),
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_in_every_format(form, orientation):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    # blocks of 16 pixels survive the compression of JPEG and WebP
    stored = np.kron(np.array([[250, 130, 10], [10, 10, 10]], np.uint8), np.ones((16, 16), np.uint8))
    options = {"tiffinfo": {0x0112: orientation}} if form == "TIFF" else {"exif": exif}
    PillowImage.fromarray(np.stack([stored] * 3, axis=2)).save(buffer, form, **options)
    shown = decode_image(buffer.getvalue(), LIMITS)[8::16, 8::16, 0]
    assert shown.shape == ((2, 3) if orientation < 5 else (3, 2))
    (row, column), (row2, column2) = SHOWN[orientation]
    assert abs(int(shown[row, column]) - 250) < 20
    assert abs(int(shown[row2, column2]) - 130) < 20


def test_upright_of_every_orientation_by_hand():
    image = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.uint8)
    assert upright(image, 6)[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]
    assert upright(image, 8)[..., 0].tolist() == [[3, 6], [2, 5], [1, 4]]
    assert upright(image, 7)[..., 0].tolist() == [[6, 3], [5, 2], [4, 1]]


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"GIF89a" + bytes(99), b"<svg/>", bytes(1000)])
def test_what_is_not_an_image(data):
    assert failure(data) is ErrorKind.NOT_AN_IMAGE


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_damaged(extension, kept):
    data = encoded(picture(), extension)
    assert failure(data[: max(16, int(kept * len(data)))]) is ErrorKind.DAMAGED_IMAGE


def test_a_jpeg_whose_missing_end_a_decoder_would_fill_is_damaged():
    data = encoded(picture(), ".jpg")
    assert failure(data[: len(data) // 2] + bytes(len(data) // 2)) is ErrorKind.DAMAGED_IMAGE


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = encoded(picture(32, 24), ".jpg")
    data = encoded(picture(), ".jpg")
    application = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + application + data[2:]
    assert jpeg_is_complete(whole)
    assert jpeg_is_complete(whole + b"trailing")
    assert not jpeg_is_complete(whole[:-2])


def test_limits_are_inclusive():
    data = encoded(picture(40, 30))
    assert decode_image(data, ImageLimits(len(data), 1200)).shape == (30, 40, 3)
    assert failure(data, ImageLimits(len(data) - 1, 1200)) is ErrorKind.TOO_MANY_BYTES
    assert failure(data, ImageLimits(len(data), 1199)) is ErrorKind.TOO_MANY_PIXELS


def test_pixels_are_counted_from_the_header_alone():
    # a PNG that claims 30,000 x 30,000 pixels in its header and holds none of them
    import zlib

    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [header, b"IDAT" + zlib.compress(b""), b"IEND"]
    parts = [(len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in chunks]
    assert failure(b"\x89PNG\r\n\x1a\n" + b"".join(parts)) is ErrorKind.TOO_MANY_PIXELS


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([".jpg", ".png", ".webp", ".bmp", ".tiff"]), st.data())
def test_spoiled_files_are_decoded_or_refused_and_never_crash(extension, data):
    content = bytearray(encoded(picture(24, 16), extension))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ServiceError):  # of whatever kind: anything else fails
        assert decode_image(bytes(content), LIMITS).dtype == np.uint8
