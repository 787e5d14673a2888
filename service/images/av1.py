"""The sizes of the frames in AV1 data, by their headers: AV1 Bitstream & Decoding Process Specification, section 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SEQUENCE_HEADER: Final = 1
_FRAME_HEADERS: Final = (3, 6, 7)
"""Of a frame, of one with its tiles, and once more."""
_HEADER_BYTES: Final = 512
"""More than a header has as far as it is read."""
_KEY, _SWITCH = 0, 3
"""Types of frames."""
_PER_FRAME: Final = 2
"""A choice of the sequence that is left to its frames."""


class Bits:
    """Reads integers of any number of bits. Raises ValueError at the end."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("a header is cut off")
        return self._value >> self._left & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        """A number that is preceded by as many zeros as it has bits."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        if zeros < 32:
            self.read(zeros)


@dataclass(frozen=True)
class Sequence:
    """What a sequence header says that frame headers are read by."""

    size: tuple[int, int]
    """Of frames that have no size of their own."""
    largest: tuple[int, int]
    """That other frames can have."""
    is_still: bool
    """Whether it has one frame, whose header has no choices."""
    time_bits: int
    screen_content: int
    integer_vectors: int
    id_bits: int


def frame_sizes(data: memoryview) -> Iterator[tuple[int, int]]:
    """An upper limit of the width and height of each frame. Raises ValueError where the data are damaged."""
    sequence = None
    for kind, content in units(data):
        if kind == _SEQUENCE_HEADER:
            sequence = read_sequence(Bits(content))
        elif kind in _FRAME_HEADERS and sequence is not None:
            size = read_frame(Bits(content), sequence)
            if size is not None:
                yield size


def units(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The type and the first bytes of each unit ("OBU")."""
    position = 0
    while position < len(data):
        head = data[position]
        position += 2 if head & 4 else 1
        length = len(data) - position
        if head & 2:
            length = 0
            for shift in range(0, 56, 7):
                byte = data[position] if position < len(data) else 0
                position += 1
                length |= (byte & 127) << shift
                if byte < 128:
                    break
        if length > len(data) - position:
            raise ValueError("a unit is cut off")
        yield head >> 3 & 15, data[position : position + min(length, _HEADER_BYTES)]
        position += length


def read_sequence(bits: Bits) -> Sequence:
    bits.read(4)  # profile, still picture
    is_still = bool(bits.read(1))
    time_bits = 0
    if is_still:
        bits.read(5)
    else:
        time_bits = _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    size = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    largest = 1 << width_bits, 1 << height_bits
    id_bits = 0
    if not is_still and bits.read(1):
        id_bits = bits.read(4) + bits.read(3) + 3
    bits.read(3)  # tools
    screen_content = integer_vectors = _PER_FRAME
    if not is_still:
        bits.read(4)  # tools
        has_order = bits.read(1)
        bits.read(2 * has_order)
        screen_content = _PER_FRAME if bits.read(1) else bits.read(1)
        if screen_content:
            integer_vectors = _PER_FRAME if bits.read(1) else bits.read(1)
    return Sequence(size, largest, is_still, time_bits, screen_content, integer_vectors, id_bits)


def _skip_operating_points(bits: Bits) -> int:
    """Returns the number of bits of a time in frame headers, 0 where they have none."""
    time_bits = delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        is_regular = bits.read(1)
        if is_regular:
            bits.skip_uvlc()
        if bits.read(1):  # model of a decoder
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5)
            time_bits = bits.read(5) + 1
            time_bits *= not is_regular
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
    return time_bits


def read_frame(bits: Bits, sequence: Sequence) -> tuple[int, int] | None:
    """None for a frame that is shown once more."""
    if sequence.is_still:
        return sequence.size
    if bits.read(1):
        return None
    kind, is_shown = bits.read(2), bits.read(1)
    bits.read(sequence.time_bits if is_shown else 1)
    if kind != _SWITCH and not (kind == _KEY and is_shown):
        bits.read(1)  # resilience
    bits.read(1)
    screen_content = bits.read(1) if sequence.screen_content == _PER_FRAME else sequence.screen_content
    if screen_content and sequence.integer_vectors == _PER_FRAME:
        bits.read(1)
    bits.read(sequence.id_bits)
    has_own_size = kind == _SWITCH or bits.read(1)
    return sequence.largest if has_own_size else sequence.size
