"""AVIF and HEIC files that state less than they hold, or have the same bytes several times."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from service.errors import ErrorKind, ServiceError
from service.images.av1 import frame_sizes
from service.images.bmff import items
from service.images.decode import decode_image, decoding_bytes, read_header
from service.images.limits import ImageLimits
from tests.service.images.support import failure, saved

LIMITS = ImageLimits(max_bytes=10**8, max_pixels=10**8)
LARGE = PillowImage.new("RGB", (2000, 1500), 77)
STILL = saved(LARGE, "AVIF", speed=10)
MOVING = saved(LARGE, "AVIF", speed=10, save_all=True, append_images=[PillowImage.new("RGB", LARGE.size)])
TRANSPARENT = PillowImage.merge("RGBA", [*LARGE.split(), PillowImage.linear_gradient("L").resize(LARGE.size)])
HEIC = (Path(__file__).parent / "files" / "plain.heic").read_bytes()


def stated(data: bytes, width: int, height: int) -> bytes:
    """The file, whose items and tracks state this size."""
    changed = bytearray(data)
    for box, offset, fixed in ((b"ispe", 4, 0), (b"tkhd", 88, 16)):
        for match in re.finditer(box, data):
            struct.pack_into(">II", changed, match.end() + offset, width << fixed, height << fixed)
    return bytes(changed)


@pytest.mark.parametrize("data", [STILL, MOVING, saved(TRANSPARENT, "AVIF", speed=10)], ids=["still", "moving", "rgba"])
def test_a_file_that_states_less_than_it_holds_is_refused_before_it_is_decoded(data: bytes) -> None:
    assert (read_header(data, LIMITS).header.width, read_header(data, LIMITS).header.height) == LARGE.size
    with pytest.raises(ServiceError) as caught:
        read_header(stated(data, 64, 64), LIMITS)
    assert caught.value.kind is ErrorKind.DAMAGED_IMAGE


def test_further_frames_are_counted_and_many_of_them_refused() -> None:
    """The decoder keeps up to eight that are not shown."""
    source = read_header(STILL, LIMITS)
    pixels = source.header.width * source.header.height
    for further, bytes_per_pixel in ((0, 20), (3, 41)):
        repeated = read_header(with_frames(1 + further), LIMITS)
        assert decoding_bytes(repeated, 0) == pixels * bytes_per_pixel
    assert failure(with_frames(100), LIMITS) is ErrorKind.DAMAGED_IMAGE


def with_frames(count: int) -> bytes:
    """The still image, its data so often in a row."""
    (offset, length) = struct.unpack_from(">II", STILL, STILL.index(b"iloc") + 18)
    data = STILL[offset : offset + length] * count
    moved = bytearray(STILL[:offset] + data)
    struct.pack_into(">I", moved, STILL.index(b"iloc") + 22, len(data))
    struct.pack_into(">I", moved, offset - 8, 8 + len(data))
    return bytes(moved)


def bits(*fields: tuple[int, int]) -> bytes:
    """Integers, each in so many bits."""
    text = "".join(f"{value:0{count}b}" for value, count in fields)
    return int(text.ljust(-len(text) // 8 * -8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def unit(kind: int, content: bytes) -> bytes:
    return bytes([kind << 3 | 2, len(content)]) + content


def sequence(width_bits: int, width: int, height: int) -> bytes:
    """The header of a sequence of the main profile, with one operating point and no tool that is optional."""
    start = [(0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (5, 5)]
    size = [(width_bits - 1, 4), (width_bits - 1, 4), (width - 1, width_bits), (height - 1, width_bits)]
    return unit(1, bits(*start, *size, (0, 1), (0, 3), (0, 4), (0, 1), (1, 1), (1, 1)))


SHOWN_KEY = [(0, 1), (0, 2), (1, 1), (0, 1), (0, 1)]
"""A key frame that is shown, without tools for the content of screens."""


def test_a_frame_that_has_a_size_of_its_own_is_taken_for_the_largest() -> None:
    usual, own = (unit(6, bits(*SHOWN_KEY, (has_own, 1), (0, 9))) for has_own in (0, 1))
    data = memoryview(sequence(12, 640, 480) + usual + own + sequence(16, 8, 8) + own)
    assert list(frame_sizes(data)) == [(640, 480), (4096, 4096), (65536, 65536)]
    again = unit(6, bits((1, 1), (3, 3)))
    assert list(frame_sizes(memoryview(sequence(12, 640, 480) + again))) == []


def with_extents(data: bytes, count: int) -> bytes:
    """The file, whose picture has so many extents more, each of which is all of the file."""
    start = data.index(b"iloc") - 4
    end = start + struct.unpack_from(">I", data, start)[0]
    (number,) = struct.unpack_from(">H", data, start + 16)
    offset, length = struct.unpack_from(">II", data, end - 8)
    if data[start + 13]:  # a base, which the offset is added to
        offset += struct.unpack_from(">I", data, start + 20)[0]
    meta = data.index(b"meta") - 4
    (meta_size,) = struct.unpack_from(">I", data, meta)
    size = 30 + 8 * count  # of the new box, which goes to the end of that of all of them
    extents = [(offset + size, length)] + [(0, len(data))] * count
    head = struct.pack(">I4sIHHHHH", size, b"iloc", 0, 0x4400, 1, number, 0, 1 + count)
    box = head + b"".join(struct.pack(">II", *extent) for extent in extents)
    old = data[: start + 4] + b"free" + data[start + 8 : meta + meta_size]
    return old[:meta] + struct.pack(">I", meta_size + size) + old[meta + 4 :] + box + data[meta + meta_size :]


@pytest.mark.parametrize("data", [STILL, HEIC], ids=["AVIF", "HEIC"])
def test_extents_that_have_the_same_bytes_over_and_over_are_refused(data: bytes) -> None:
    """A reader makes a copy of all of them."""
    assert decode_image(with_extents(data, 0), LIMITS).pixels.shape == decode_image(data, LIMITS).pixels.shape
    data += struct.pack(">I4s", 100_008, b"free") + bytes(100_000)
    for count in (30, 20_000):
        with pytest.raises(ServiceError) as caught:
            read_header(with_extents(data, count), LIMITS)
        assert caught.value.kind is ErrorKind.DAMAGED_IMAGE


def test_what_follows_the_boxes_is_ignored() -> None:
    for trailer in (b"SEFT", b"\0\0\0\x7fabcd" * 3, bytes(50)):
        assert read_header(STILL + trailer, LIMITS).header.width == LARGE.width


@given(st.data())
def test_damaged_boxes_raise_nothing_but_what_is_said(data: st.DataObject) -> None:
    changed = bytearray(MOVING[:1000])
    for place in data.draw(st.lists(st.integers(0, 999), max_size=5)):
        changed[place] = data.draw(st.sampled_from([0, 1, 127, 255]))
    try:
        for item in items(bytes(changed)):
            list(frame_sizes(item.data))
    except ValueError:
        pass
