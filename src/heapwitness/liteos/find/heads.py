"""Tables of list heads in an image whose layout nobody knows: empty ones point to themselves.

A pool begins with its own address and size, and the table of 26 heads stands somewhere behind that.
"""

import bisect
import itertools
import struct
from collections import Counter
from collections.abc import Iterator

import msgspec

from heapwitness.liteos.image.scan import own_addresses, stepping
from heapwitness.liteos.image.store import SourceStretch
from heapwitness.liteos.layout.layout import LIST_COUNT

_BASES = 8
_FEWEST_EMPTY = 4
_LARGEST_POOL = 1 << 30
_TRIED = 256
# Hostile memory may consist of its own addresses.
_OWN_LIMIT = 1 << 22
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


def find_tables(image: SourceStretch, address: int | None, pointer: int) -> Iterator[Table]:
    """Tables in an image, those first whose image address most empty heads agree on.

    Args:
        image: bytes of the target's memory.
        address: the target's address of the first byte; None to have it told by the heads.
        pointer: the size of a pointer in bytes.
    """
    bases = [address] if address is not None else _bases(image, pointer)
    found = [(base, *_at_base(image, base, pointer)) for base in bases]
    for base, own, empty in sorted(found, key=lambda one: -len(one[2])):
        if len(empty) >= _FEWEST_EMPTY:
            yield from _tables_at(image, own, base, empty, pointer)


def _bases(image: SourceStretch, pointer: int) -> list[int]:
    """Addresses of the image's first byte that most pairs of empty heads ask for."""
    votes = Counter(word - at for at, word in stepping(image, pointer))
    return [base for base, count in votes.most_common(_BASES) if count >= _FEWEST_EMPTY // 2]


def _at_base(image: SourceStretch, base: int, pointer: int) -> tuple[list[int], list[int]]:
    """Offsets of words that hold their own address, and those of empty heads: the next word says the same."""
    own = list(itertools.islice(own_addresses(image, base, pointer), _OWN_LIMIT))

    def is_empty(at: int) -> bool:
        address = base + at
        following = image[at + pointer : at + 2 * pointer]  # shorter where the image was cut in the middle of it
        same = len(following) == pointer and int.from_bytes(following, "little") == address
        return bool(address) and not address % pointer and same

    return own, list(filter(is_empty, own))


def _tables_at(image: SourceStretch, own: list[int], base: int, empty: list[int], pointer: int) -> Iterator[Table]:
    step = 2 * pointer
    known = set(empty)
    table = struct.Struct(f"<{2 * LIST_COUNT}{'I' if pointer == 4 else 'Q'}")
    for last in empty:
        # The list of the largest nodes is empty in all but the largest pools.
        start = last + step - LIST_COUNT * step
        if last + step in known or start < 0:
            continue
        heads = table.unpack(image[start : start + table.size])
        for pool, size in _pools_before(image, own, start, pointer):
            low = base + pool
            if all(low <= word < low + size and word % pointer == 0 for word in heads):
                here = sum(start + index * step in known for index in range(LIST_COUNT))
                yield Table(base, pool, start, size, here)
                break


def _pools_before(image: SourceStretch, pools: list[int], heads: int, pointer: int) -> Iterator[tuple[int, int]]:
    """Places before a table that hold their own address, with a size that can be; the nearest first, a few."""
    stop = bisect.bisect_right(pools, heads - 2 * pointer)
    for at in reversed(pools[max(stop - _TRIED, 0) : stop]):
        size = int.from_bytes(image[at + pointer : at + pointer + 4], "little")
        if heads - at <= _LARGEST_INFO and heads - at + LIST_COUNT * 2 * pointer < size < _LARGEST_POOL:
            yield at, size
