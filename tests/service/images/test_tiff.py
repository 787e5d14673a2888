import struct
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images.decode import decode_image, decode_srgb
from service.images.limits import ImageLimits
from tests.fakes import gradient_image
from tests.service.images.support import LIMITS, RGB, failure, rgb, saved, xmp

NOISE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))


NO_COUNTS: Mapping[int, int] = MappingProxyType({})


def tiff(
    pixels: bytes, size: tuple[int, int], bits: list[int], counts: Mapping[int, int] = NO_COUNTS, **tags: Any
) -> bytes:
    """An uncompressed TIFF file of one strip; `tags` by their number, as t262=(type, value).

    `counts` holds the number of values of a tag, where it is two: the second is 0.
    """
    order = {3: "<HHIHH", 4: "<HHII"}
    fields = {256: (4, size[0]), 257: (4, size[1]), 259: (3, 1), 277: (3, len(bits)), 278: (4, size[1])}
    fields |= {262: (3, 2 if len(bits) >= 3 else 1), 279: (4, len(pixels))}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    depths = struct.pack(f"<{len(bits)}H", *bits)
    start = 8 + 2 + 12 * (len(fields) + 2) + 4
    entries = {
        tag: struct.pack(order[kind], tag, kind, counts.get(tag, 1), value, *([0] if kind == 3 else []))
        for tag, (kind, value) in fields.items()
    }
    inline = depths.ljust(4, b"\0") if len(depths) <= 4 else struct.pack("<I", start)
    entries[258] = struct.pack("<HHI", 258, 3, len(bits)) + inline
    entries[273] = struct.pack("<HHII", 273, 4, 1, start + len(depths))
    table = b"".join(entries[tag] for tag in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4) + depths + pixels


@pytest.mark.parametrize("compression", ["zstd", "lzma", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_every_lossless_compression_gives_the_very_pixels(compression, mode):
    image = RGB.quantize(16) if mode == "P" else RGB.convert(mode)
    np.testing.assert_array_equal(decode_srgb(saved(image, "TIFF", compression=compression), LIMITS), rgb(image))


def test_jpeg_in_tiff_is_read():
    shown = decode_srgb(saved(RGB, "TIFF", compression="jpeg", quality=95), LIMITS)
    assert np.abs(shown.astype(int) - rgb(RGB)).mean() < 5


@pytest.mark.parametrize("compression", [34712, 50001])
def test_compressions_that_are_not_read_are_named(compression):
    with pytest.raises(ServiceError, match=f"compression {compression}") as caught:
        decode_srgb(tiff(bytes(64), (8, 8), [8], t259=(3, compression)), LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_IMAGE


GREYS = np.arange(64).reshape(8, 8) * 4


@pytest.mark.parametrize("bits", [2, 4])
def test_packed_pixels_are_read(bits):
    levels = GREYS >> (8 - bits)
    rows = ["".join(f"{level:0{bits}b}" for level in row) for row in levels]
    packed = b"".join(int(row, 2).to_bytes(bits, "big") for row in rows)
    shown = decode_srgb(tiff(packed, (8, 8), [bits]), LIMITS)
    np.testing.assert_array_equal(shown[..., 1], levels * 255 // (2**bits - 1))


@pytest.mark.parametrize("inverted", [False, True])
def test_pixels_of_12_and_16_bits_become_bytes(inverted):
    shown = (255 - GREYS if inverted else GREYS).astype(np.uint8)
    row = ["".join(f"{level << 4:012b}" for level in values) for values in GREYS]
    packed = b"".join(int(bits, 2).to_bytes(12, "big") for bits in row)
    photometric = (3, 0 if inverted else 1)
    files = [tiff((GREYS << 8).astype("<u2").tobytes(), (8, 8), [16], t262=photometric)]
    files.append(tiff(packed, (8, 8), [12], t262=photometric))
    files.append(tiff((GREYS << 8).astype("<u2").tobytes(), (8, 8), [16], t262=photometric, t284=(3, 2)))
    swapped = tifffile_bytes((GREYS << 8).astype(">u2"), photometric="miniswhite" if inverted else "minisblack")
    files.append(swapped)
    for data in files:
        np.testing.assert_array_equal(decode_srgb(data, LIMITS), np.repeat(shown[..., None], 3, axis=2))


def tifffile_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, byteorder=">" if pixels.dtype.str[0] == ">" else "<", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_are_read(kind, tile, compression):
    pixels = gradient_image(64, 48)
    stored = np.moveaxis(pixels, 2, 0).astype(kind) * (257 if kind[-1] == "2" else 1)
    options = {"photometric": "rgb", "planarconfig": "separate", "tile": tile, "compression": compression}
    np.testing.assert_array_equal(decode_srgb(tifffile_bytes(stored.astype(kind), **options), LIMITS), pixels)


def test_further_channels_are_dropped():
    pixels = gradient_image(64, 48)
    five = np.concatenate([pixels, np.full((48, 64, 2), 7, np.uint8)], axis=2)
    data = tiff(five.tobytes(), (64, 48), [8] * 5, t338=(3, 0), counts={338: 2})
    np.testing.assert_array_equal(decode_srgb(data, LIMITS), pixels)


@pytest.mark.parametrize("bits", [[24], [12, 12, 12], [8] * 9])
def test_pixels_that_are_not_read_are_named(bits):
    with pytest.raises(ServiceError, match=f"{len(bits)} channels of {bits[0]} bits") as caught:
        decode_srgb(tiff(bytes(2000), (8, 8), bits), LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_IMAGE


def pages(*images: PillowImage.Image, **options: Any) -> bytes:
    return saved(images[0], "TIFF", save_all=True, append_images=list(images[1:]), **options)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("tag", "value"), [(254, 1), (255, 2)])
def test_the_image_is_read_and_not_its_thumbnail_or_mask(tag, value, big):
    thumbnail = PillowImage.new("RGB", (8, 6), "red")
    thumbnail.encoderinfo = {"tiffinfo": {tag: value}}  # Pillow's options for one page
    image = decode_image(pages(thumbnail, RGB, big_tiff=big), LIMITS)
    np.testing.assert_array_equal(image.pixels, rgb(RGB))
    assert image.warnings == ()


def test_of_several_pages_the_first_is_read_with_a_warning():
    image = decode_image(pages(RGB, PillowImage.new("RGB", (64, 48))), LIMITS)
    np.testing.assert_array_equal(image.pixels, rgb(RGB))
    assert [warning.code for warning in image.warnings] == ["first_frame_only"]


@pytest.mark.parametrize("tags", [{"t254": (4, 1)}, {"t50706": (4, 0x401)}])
def test_raw_files_and_thumbnails_alone_are_refused_by_name(tags):
    assert failure(tiff(bytes(64), (8, 8), [8], **tags)) is ErrorKind.UNSUPPORTED_IMAGE


def test_the_orientation_is_that_of_the_tag_and_never_of_xmp():
    assert decode_srgb(saved(RGB, "TIFF", tiffinfo={700: xmp(6)}), LIMITS).shape == (48, 64, 3)
    assert decode_srgb(saved(RGB, "TIFF", tiffinfo={700: xmp(1), 274: 6}), LIMITS).shape == (64, 48, 3)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_pixels_with_an_error_are_damaged(compression):
    data = bytearray(saved(NOISE, "TIFF", compression=compression))
    middle = len(data) // 2
    data[middle : middle + 300] = b"\xff" * 300
    assert failure(bytes(data)) is ErrorKind.DAMAGED_IMAGE


def test_the_size_is_checked_before_pixels_are_decoded():
    data = tiff(b"", (60_000, 60_000), [8])
    assert failure(data, ImageLimits(10**6, 10**6)) is ErrorKind.TOO_MANY_PIXELS


def test_a_damaged_fax_does_not_fill_the_log(capfd):
    data = bytearray(saved(NOISE.convert("1"), "TIFF", compression="group4"))
    middle = len(data) // 2
    data[middle : middle + 100] = b"\xff" * 100
    with suppress(ServiceError):
        decode_srgb(bytes(data), LIMITS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 10**6])
def test_directories_beyond_the_end_are_damage(offset):
    assert failure(b"II+\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(99)) is ErrorKind.DAMAGED_IMAGE


def test_tiles_far_larger_than_the_image_are_damage():
    tiles: dict[str, Any] = {"t324": (4, 8), "t325": (4, 100), "t323": (4, 16), "t259": (3, 8)}
    assert failure(tiff(bytes(300), (8, 8), [8], **tiles, t322=(4, 2**31 - 16))) is ErrorKind.DAMAGED_IMAGE
    whole = saved(RGB, "TIFF", compression="tiff_adobe_deflate", tile=(256, 256))
    np.testing.assert_array_equal(decode_srgb(whole, LIMITS), rgb(RGB))


def test_directories_that_lead_to_each_other_are_read_once():
    data = bytearray(tiff(bytes(64), (8, 8), [8]))
    count = struct.unpack_from("<H", data, 8)[0]
    struct.pack_into("<I", data, 10 + 12 * count, 8)
    assert decode_image(bytes(data), LIMITS).warnings == ()
