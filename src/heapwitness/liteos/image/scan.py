"""Words of a large memory that may belong to a pool, found without a loop over each word.

Two things are looked for. A word that holds its own address shares its upper bytes with all addresses of
the 64 KiB around it, and bytes are searched fast. Heads of empty lists that follow each other go up by the
size of a head, wherever the memory lies: the lowest bytes of all words, subtracted from each other as one
large number, show that.
"""

import array
import operator
import struct
import sys
from collections.abc import Iterator
from itertools import compress

from heapwitness.liteos.image import store
from heapwitness.liteos.image.store import SourceStretch

_BLOCK = 1 << 16
# With more hits than this in a block its words are compared one by one, which then is faster.
_DENSE = 512


def own_addresses(data: SourceStretch, base: int, pointer: int) -> Iterator[int]:
    """Offsets of the words that hold their own address, from low to high.

    Args:
        data: the memory.
        base: the target's address of its first byte.
        pointer: the size of a pointer in bytes.
    """
    for start, part in _parts(data, pointer):
        size = min(len(part) - pointer + 1, store.PART)
        low = 0
        while low < size:
            address = base + start + low
            if address >> 8 * pointer:
                return
            high = min(low + _BLOCK - address % _BLOCK, size)
            for at in _own_in_block(part, low, high, base + start, pointer):
                yield start + at
            low = high


def words(part: bytes, pointer: int) -> "memoryview[int]":
    """The whole pointer-sized words of bytes."""
    whole = memoryview(part)[: len(part) - len(part) % pointer]
    if sys.byteorder == "little":
        return whole.cast("I") if pointer == 4 else whole.cast("Q")
    swapped = array.array("I" if pointer == 4 else "Q", bytes(whole))
    swapped.byteswap()
    return memoryview(swapped)


def places(data: SourceStretch, wanted: bytes) -> Iterator[int]:
    """Offsets at which some bytes, not all of them zero, stand."""
    beyond = len(wanted) - 1
    for start, part in _parts(data, beyond):
        at = part.find(wanted)
        while at >= 0:
            yield start + at
            at = part.find(wanted, at + 1)


def stepping(data: SourceStretch, pointer: int) -> Iterator[tuple[int, int]]:
    """Two words in a row that are equal, followed by two that are larger by their size: offset and first word.

    Two empty list heads in a row look like that, whatever the address of the memory is; so the word is
    aligned and no smaller than its offset.
    """
    step = 2 * pointer
    heads = struct.Struct("<4I" if pointer == 4 else "<4Q")
    # A difference is one less where the byte before it borrowed.
    borrowed = bytes(step if byte == step - 1 else byte for byte in range(256))
    wanted = bytes([step, step])
    for start, part in _parts(data, 2 * step):
        lows = part[::pointer]
        number = int.from_bytes(lows, "little")
        risen = (1 << 8 * len(lows)) + (number >> 16) - number
        marks = risen.to_bytes(len(lows) + 1, "little").translate(borrowed)
        last = min(len(part) - heads.size, store.PART - pointer) // pointer
        number = marks.find(wanted)
        while 0 <= number <= last:
            first, second, third, fourth = heads.unpack_from(part, number * pointer)
            at = start + number * pointer
            if first == second and third == fourth == first + step and first >= at and first and not first % pointer:
                yield at, first
            number = marks.find(wanted, number + 1)


def _parts(data: SourceStretch, beyond: int) -> Iterator[tuple[int, bytes]]:
    """Offsets and bytes of the memory in parts, those without the zero ones."""
    for number, part in enumerate(data.parts(beyond)):
        if not store.is_zero(part):
            yield number * store.PART, part


def _own_in_block(part: bytes, low: int, high: int, base: int, pointer: int) -> Iterator[int]:
    """Offsets of own addresses between `low` and `high`, where all addresses have the same upper bytes."""
    upper = (base + low >> 16).to_bytes(pointer - 2, "little")
    # Offsets count from a multiple of the pointer's size, which `low` need not be.
    hits = 0
    found = part.find(upper, low + 2, high + pointer - 1)
    while found >= 0:
        at = found - 2
        if not at % pointer and int.from_bytes(part[at:found], "little") == base + at & 0xFFFF:
            yield at
        hits += 1
        if hits == _DENSE:
            yield from _own_of_words(part, -(-(at + 1) // pointer) * pointer, high, base, pointer)
            return
        found = part.find(upper, found + 1, high + pointer - 1)


def _own_of_words(part: bytes, low: int, high: int, base: int, pointer: int) -> Iterator[int]:
    places = range(low, min(high, len(part) - pointer + 1), pointer)
    here = range(base + low, base + low + len(places) * pointer, pointer)
    return compress(places, map(operator.eq, words(part[low : low + len(places) * pointer], pointer), here))
