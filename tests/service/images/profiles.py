"""ICC profiles written by hand, so that their conversion of a colour is known without a colour engine."""

from __future__ import annotations

import struct

from PIL import ImageCms

SRGB: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_and_blue_swapped() -> bytes:
    """sRGB with its red and blue primaries exchanged: the profile's red is a blue."""
    count = int.from_bytes(SRGB[128:132], "big")
    table = SRGB[132 : 132 + 12 * count].replace(b"rXYZ", b"?").replace(b"bXYZ", b"rXYZ").replace(b"?", b"bXYZ")
    return SRGB[:132] + table + SRGB[132 + 12 * count :]


def linear_grey() -> bytes:
    """Grey in proportion to the light: 55 of 255 is a fifth of white, which sRGB writes as 128."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _white(), b"kTRC": b"curv" + bytes(8)})


def red_cyan() -> bytes:
    """CMYK whose cyan ink prints sRGB's red; paper is white, and every other ink or mixture is black."""
    white, red, black = bytes([255, 128, 128]), bytes([138, 209, 198]), bytes([0, 128, 128])  # L, a, b
    corners = b"".join({0b0000: white, 0b1000: red}.get(inks, black) for inks in range(16))
    identity = b"".join(struct.pack(">i", 65536 if i % 4 == 0 else 0) for i in range(9))
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * straight + corners + 3 * straight
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _white(), b"A2B0": table})


def _white() -> bytes:
    return b"XYZ " + bytes(4) + _d50()


def _d50() -> bytes:
    return struct.pack(">3i", 63190, 65536, 54061)  # 0.9642, 1, 0.8249 in 16.16


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The file of ICC.1: a header of 128 bytes, the table of tags, the tags."""
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = start + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s28x", size, 0x02400000, kind, space, connection, b"acsp") + _d50()
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
