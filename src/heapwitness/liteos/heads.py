"""Tables of list heads in an image whose layout nobody knows: empty ones point to themselves.

A pool begins with its own address and size, and the table of 26 heads stands somewhere behind that.
"""

import bisect
import itertools
import struct
from collections.abc import Iterator

import msgspec

from heapwitness.liteos.layout import LIST_COUNT

_BASES = 8
_FEWEST_EMPTY = 4
_LARGEST_POOL = 1 << 30
_TRIED = 256
# The largest pool info there is has statistics for 65,535 tasks.
_LARGEST_INFO = 8 * 0x10000 + 64


class Table(msgspec.Struct, frozen=True):
    """A table of list heads and its pool.

    `base` is the address on the target that the image's first byte must have, `pool` and `heads` are
    offsets in the image, `size` is what the pool says its size is, `empty` how many heads are empty.
    """

    base: int
    pool: int
    heads: int
    size: int
    empty: int


def find_tables(image: bytes, address: int | None, pointer: int) -> Iterator[Table]:
    """Tables in an image, those first whose image address most empty heads agree on.

    Args:
        image: bytes of the target's memory.
        address: the target's address of the first byte; None to have it told by the heads.
        pointer: the size of a pointer in bytes.
    """
    code = struct.Struct("<I" if pointer == 4 else "<Q")
    words = [word for (word,) in code.iter_unpack(image[: len(image) // pointer * pointer])]
    by_base: dict[int, list[int]] = {}
    for number, (word, following) in enumerate(itertools.pairwise(words)):
        at = number * pointer
        # A word that is its own address, and the next one says the same: an empty list's head.
        if word != following or not word or word % pointer:
            continue
        base = word - at
        if base == address or (address is None and base >= 0):
            by_base.setdefault(base, []).append(at)
    for base, empty in sorted(by_base.items(), key=lambda item: -len(item[1]))[:_BASES]:
        if len(empty) >= _FEWEST_EMPTY:
            yield from _tables_at(image, words, base, empty, pointer)


def _tables_at(image: bytes, words: list[int], base: int, empty: list[int], pointer: int) -> Iterator[Table]:
    step = 2 * pointer
    known = set(empty)
    pools = [number * pointer for number, word in enumerate(words) if word == base + number * pointer]
    for last in empty:
        # The list of the largest nodes is empty in all but the largest pools.
        start = last + step - LIST_COUNT * step
        if last + step in known or start < 0:
            continue
        heads = words[start // pointer : (last + step) // pointer]
        for pool, size in _pools_before(image, pools, start, pointer):
            low = base + pool
            if all(low <= word < low + size and word % pointer == 0 for word in heads):
                here = sum(start + index * step in known for index in range(LIST_COUNT))
                yield Table(base, pool, start, size, here)
                break


def _pools_before(image: bytes, pools: list[int], heads: int, pointer: int) -> Iterator[tuple[int, int]]:
    """Places before a table that hold their own address, with a size that can be; the nearest first, a few."""
    stop = bisect.bisect_right(pools, heads - 2 * pointer)
    for at in reversed(pools[max(stop - _TRIED, 0) : stop]):
        size = int.from_bytes(image[at + pointer : at + pointer + 4], "little")
        if heads - at <= _LARGEST_INFO and heads - at + LIST_COUNT * 2 * pointer < size < _LARGEST_POOL:
            yield at, size
