import sys
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from landmarks.crop import Crop, warp
from landmarks.size import Size
from service.errors import ErrorKind, ServiceError
from service.images.decode import apply_orientation, decode_image, decode_srgb
from service.images.icc import to_srgb, unchanged
from service.images.limits import ImageLimits
from tests.fakes import encoded, gradient_image
from tests.service.images.profiles import SRGB, linear_grey, red_and_blue_swapped, red_cyan
from tests.service.images.support import LIMITS, exif, failure, saved


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_lossless_formats_give_the_very_pixels(extension):
    np.testing.assert_array_equal(decode_srgb(encoded(gradient_image(), extension), LIMITS), gradient_image())


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_lossy_formats_give_nearly_the_pixels(extension):
    image = decode_srgb(encoded(gradient_image(), extension), LIMITS)
    assert image.shape == (240, 320, 3)
    assert np.abs(image.astype(int) - gradient_image()).mean() < 3


RGB = PillowImage.fromarray(gradient_image(64, 48))
GREY = RGB.convert("L")
RGBA = RGB.copy()
RGBA.putalpha(GREY)
PALETTE = RGB.quantize(64)
RED = PillowImage.new("RGB", (64, 48), (255, 0, 0))
KINDS = {
    "grey PNG": (saved(GREY, "PNG"), GREY),
    "grey TIFF": (saved(GREY, "TIFF"), GREY),
    "grey BMP": (saved(GREY, "BMP"), GREY),
    "grey and alpha PNG": (saved(RGB.convert("LA"), "PNG"), GREY),
    "grey PNG of 16 bits": (encoded(np.array(GREY).astype(np.uint16) * 257), GREY),
    "grey TIFF of 16 bits": (encoded(np.array(GREY).astype(np.uint16) * 257, ".tiff"), GREY),
    "PNG of 16 bits": (encoded(gradient_image(64, 48).astype(np.uint16) * 257), RGB),
    "TIFF of 16 bits": (encoded(gradient_image(64, 48).astype(np.uint16) * 257, ".tiff"), RGB),
    "RGBA PNG": (saved(RGBA, "PNG"), RGB),
    "RGBA TIFF": (saved(RGBA, "TIFF"), RGB),
    "RGBA BMP": (saved(RGBA, "BMP"), RGB),
    "RGBA WebP": (saved(RGBA, "WEBP", lossless=True, exact=True), RGB),
    "palette PNG": (saved(PALETTE, "PNG"), PALETTE),
    "palette PNG with a clear colour": (saved(PALETTE, "PNG", transparency=3), PALETTE),
    "palette TIFF": (saved(PALETTE, "TIFF"), PALETTE),
    "palette BMP": (saved(PALETTE, "BMP"), PALETTE),
    "PNG of one bit": (saved(RGB.convert("1"), "PNG"), RGB.convert("1")),
    "TIFF of one bit": (saved(RGB.convert("1"), "TIFF"), RGB.convert("1")),
    "CMYK TIFF": (saved(RGB.convert("CMYK"), "TIFF"), RGB),
    "LZW TIFF": (saved(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "big TIFF": (saved(RGB, "TIFF", big_tiff=True), RGB),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_pixels_becomes_rgb_bytes(kind):
    data, expected = KINDS[kind]
    np.testing.assert_array_equal(decode_srgb(data, LIMITS), np.array(expected.convert("RGB")))


def test_a_cmyk_jpeg_is_read_as_its_inks_say():
    flat = PillowImage.new("CMYK", (64, 48), (0, 255, 255, 0))  # magenta and yellow make red
    assert np.abs(decode_srgb(saved(flat, "JPEG", quality=98), LIMITS).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_of_a_rare_kind_are_refused_by_name(mode):
    assert failure(saved(PillowImage.new(mode, (8, 8)), "TIFF")) is ErrorKind.UNSUPPORTED_IMAGE


def test_a_tiff_of_floats_in_three_channels_is_refused_by_name():
    floats = cv2.imencode(".tiff", np.zeros((8, 8, 3), np.float32))[1].tobytes()
    assert failure(floats) is ErrorKind.UNSUPPORTED_IMAGE


@pytest.mark.parametrize(
    ("form", "options"),
    [("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("MPO", {"quality": 98})],
)
def test_of_several_images_the_first_is_decoded_with_a_warning(form, options):
    with NamedTemporaryFile(suffix=".image") as file:
        RED.save(file.name, form, save_all=True, append_images=[GREY.convert("RGB")], **options)
        several = decode_image(Path(file.name).read_bytes(), LIMITS)
    assert [warning.code for warning in several.warnings] == ["first_frame_only"]
    assert np.abs(several.pixels.astype(int) - (255, 0, 0)).max() <= 3
    one = saved(RED, "JPEG" if form == "MPO" else form, **options)
    assert decode_image(one, LIMITS).warnings == ()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_embedded_profile_is_applied_in_every_format(form):
    data = saved(RED, form, icc_profile=red_and_blue_swapped())
    assert np.abs(decode_srgb(data, LIMITS).astype(int) - (0, 0, 255)).max() <= 3


def test_srgb_costs_nothing():
    image = decode_image(saved(RGB, "PNG", icc_profile=SRGB), LIMITS)
    assert image.to_srgb is unchanged
    np.testing.assert_array_equal(image.pixels, np.array(RGB))


def test_no_profile_of_a_client_is_kept():
    profile = red_and_blue_swapped() + bytes(1)  # an object that no other test has
    before = sys.getrefcount(profile)
    assert to_srgb(profile, grey=False) is not unchanged
    assert sys.getrefcount(profile) == before


def test_a_grey_profile_is_applied_and_an_rgb_one_in_a_grey_file_too():
    flat = PillowImage.new("L", (64, 48), 55)
    assert np.abs(decode_srgb(saved(flat, "PNG", icc_profile=linear_grey()), LIMITS).astype(int) - 128).max() <= 1
    assert (decode_srgb(saved(flat, "PNG", icc_profile=SRGB), LIMITS) == 55).all()


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_cmyk_profile_says_what_the_inks_are(form):
    flat = PillowImage.new("CMYK", (64, 48), (255, 0, 0, 0))
    data = saved(flat, form, icc_profile=red_cyan(), **({"quality": 98} if form == "JPEG" else {}))
    assert np.abs(decode_srgb(data, LIMITS).astype(int) - (255, 0, 0)).max() <= 8
    assert np.abs(decode_srgb(saved(flat, form), LIMITS).astype(int) - (0, 255, 255)).max() <= 3  # without it


@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_orientation_is_applied_by_both_decoders(orientation):
    left = PillowImage.new("CMYK", (64, 32), (255, 0, 0, 0))
    left.paste((0, 0, 0, 0), (32, 0, 64, 32))  # the right half is paper
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    shown = decode_srgb(saved(left, "JPEG", exif=exif, icc_profile=red_cyan(), quality=98), LIMITS)
    assert shown.shape == ((32, 64, 3) if orientation == 1 else (64, 32, 3))
    np.testing.assert_allclose(shown[4, 4], (255, 0, 0), atol=8)
    np.testing.assert_allclose(shown[-4, -4], (255, 255, 255), atol=8)


@pytest.mark.parametrize("profile", [b"nonsense", bytes(200), red_cyan(), linear_grey(), SRGB[:300]])
def test_a_profile_that_cannot_be_used_is_ignored_with_a_warning(profile):
    ignored = decode_image(saved(RGB, "PNG", icc_profile=profile), LIMITS)
    assert [warning.code for warning in ignored.warnings] == ["profile_ignored"]
    np.testing.assert_array_equal(ignored.to_srgb(ignored.pixels), np.array(RGB))
    inks = decode_image(saved(RGB.convert("CMYK"), "TIFF", icc_profile=SRGB), LIMITS)
    assert [warning.code for warning in inks.warnings] == ["profile_ignored"]


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
    shown = decode_srgb(buffer.getvalue(), LIMITS)[8::16, 8::16, 0]
    assert shown.shape == ((2, 3) if orientation < 5 else (3, 2))
    (row, column), (row2, column2) = SHOWN[orientation]
    assert abs(int(shown[row, column]) - 250) < 20
    assert abs(int(shown[row2, column2]) - 130) < 20


def test_orientations_by_hand():
    image = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.uint8)
    assert apply_orientation(image, 6)[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]
    assert apply_orientation(image, 8)[..., 0].tolist() == [[3, 6], [2, 5], [1, 4]]
    assert apply_orientation(image, 7)[..., 0].tolist() == [[6, 3], [5, 2], [4, 1]]


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"<svg/>", b"\0\0\0\x18ftypisom", bytes(1000)])
def test_what_is_not_an_image(data):
    assert failure(data) is ErrorKind.NOT_AN_IMAGE


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_damaged(extension, kept):
    data = encoded(gradient_image(), extension)
    assert failure(data[: max(16, int(kept * len(data)))]) is ErrorKind.DAMAGED_IMAGE


def test_a_jpeg_whose_missing_end_a_decoder_would_fill_is_damaged():
    data = encoded(gradient_image(), ".jpg")
    assert failure(data[: len(data) // 2] + bytes(len(data) // 2)) is ErrorKind.DAMAGED_IMAGE


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = encoded(gradient_image(32, 24), ".jpg")
    data = encoded(gradient_image(), ".jpg")
    application = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + application + data[2:]
    np.testing.assert_array_equal(decode_srgb(whole, LIMITS), decode_srgb(data, LIMITS))
    np.testing.assert_array_equal(decode_srgb(whole + b"trailing", LIMITS), decode_srgb(data, LIMITS))
    assert failure(whole[:-2]) is ErrorKind.DAMAGED_IMAGE


def test_limits_are_inclusive():
    data = encoded(gradient_image(40, 30))
    assert decode_srgb(data, ImageLimits(len(data), 1200)).shape == (30, 40, 3)
    assert failure(data, ImageLimits(len(data) - 1, 1200)) is ErrorKind.TOO_MANY_BYTES
    assert failure(data, ImageLimits(len(data), 1199)) is ErrorKind.TOO_MANY_PIXELS
    assert decode_srgb(data, ImageLimits(len(data), 1200, 40)).shape == (30, 40, 3)
    assert failure(data, ImageLimits(len(data), 1200, 39)) is ErrorKind.SIDE_TOO_LONG


def test_the_longest_image_that_is_read_can_be_cropped():
    strip = np.zeros((2, 32_766, 3), np.uint8)
    strip[:, -4:] = 255
    image = decode_srgb(encoded(strip), ImageLimits(10**6, 10**6, 32_766))
    crop = warp(
        image, Crop.around((32_760.0, -2.0, 32_765.0, 3.0), 1.0, Size.square(16)).image_to_crop(), Size.square(16)
    )
    assert crop.max() == 255


def test_pixels_are_counted_from_the_header_alone():
    # a PNG that claims 30,000 x 30,000 pixels in its header and holds none of them
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [header, b"IDAT" + zlib.compress(b""), b"IEND"]
    parts = [(len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in chunks]
    assert failure(b"\x89PNG\r\n\x1a\n" + b"".join(parts)) is ErrorKind.TOO_MANY_PIXELS


REAL = [data for data, _ in KINDS.values()] + [
    *(encoded(gradient_image(24, 16), extension) for extension in (".jpg", ".webp")),
    *(saved(RGB, form) for form in ("GIF", "AVIF")),
    *(saved(RGB, "TIFF", compression=compression) for compression in ("jpeg", "zstd", "lzma", "packbits")),
    saved(RGB, "JPEG", progressive=True, icc_profile=SRGB, exif=exif(6)),
    saved(RGB, "PNG", icc_profile=SRGB, exif=exif(6)),
    saved(RGB, "WEBP", icc_profile=SRGB, exif=exif(6)),
    saved(RGB, "MPO", save_all=True, append_images=[GREY.convert("RGB")]),
    (Path(__file__).parent / "files" / "turned.heic").read_bytes(),
]
MUTATIONS = st.tuples(st.sampled_from(["set", "cut", "insert"]), st.floats(0, 1), st.binary(min_size=1, max_size=8))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL), st.lists(MUTATIONS, min_size=1, max_size=4))
def test_spoiled_files_are_decoded_or_refused_and_never_crash(data, mutations):
    for kind, where, content in mutations:
        start = int(where * len(data))
        kept = data[start:] if kind == "insert" else data[start + len(content) :]
        data = data[:start] + (b"" if kind == "cut" else content) + kept
    with suppress(ServiceError):  # of whatever kind: anything else fails
        assert decode_srgb(data, LIMITS).dtype == np.uint8
