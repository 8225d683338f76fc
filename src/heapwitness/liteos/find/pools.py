"""Finds pools in a dump by what no other memory looks like.

A pool's info begins with its own address, and the heads of empty free lists point to themselves. In a
raw dump of which nobody knows the address, the difference between such a word and its place tells it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.image import Segment
from heapwitness.liteos.image.scan import own_addresses, stepping
from heapwitness.liteos.image.store import stretch
from heapwitness.liteos.layout.layout import Layout

_ENOUGH = 5
_ENOUGH_WHERE_ASKED = 2
_RUN = 4
_CANDIDATES = 4096
_OWN_KEPT = 1 << 20
# So many list heads of a pool may be damaged.
_HEADS_LOST = 6


class FoundPool(msgspec.Struct, frozen=True):
    """A pool: its address on the target, the target's address of the segment that holds it, and how sure that is.

    `signs` names in words what was recognised; `score` counts them, empty list heads up to four.
    """

    address: int
    segment_address: int
    score: int
    signs: tuple[str, ...]


def find_pools(segment: Segment, layout: Layout, *, placed: bool) -> tuple[FoundPool, ...]:
    """The pools of a layout in a segment, in order of address, none inside of another.

    Args:
        segment: bytes at an address.
        layout: what the pools look like.
        placed: False when nobody knows where the segment lies: then its address is told by the pools,
            and only those are returned that agree with the surest one.

    Source: docs/liteos.md.
    """
    finder = _Finder(segment, layout, placed=placed)
    found = sorted(finder.pools(), key=lambda pool: (-pool.score, pool.address))
    if not placed and found:
        found = [pool for pool in found if pool.segment_address == found[0].segment_address]
    chosen: list[FoundPool] = []
    taken: list[tuple[int, int]] = []
    for pool in found:
        start, stop = pool.address, pool.address + max(finder.size_at(pool), layout.min_pool_size)
        if all(stop <= low or start >= high for low, high in taken):
            chosen.append(pool)
            taken.append((start, stop))
    return tuple(sorted(chosen, key=lambda pool: pool.address))


class _Finder:
    def __init__(self, segment: Segment, layout: Layout, *, placed: bool) -> None:
        self.data = stretch(segment.data)
        self.base = segment.address
        self.layout = layout
        self.placed = placed
        self.pointer = layout.pointer
        self.step = layout.list_head_size
        self._own: list[int] | None = None

    def size_at(self, pool: FoundPool) -> int:
        """The size that a pool's info says."""
        at = pool.address - pool.segment_address + self.layout.pool.pool_size.offset
        return int.from_bytes(self.data[at : at + 4], "little")

    def pools(self) -> Iterator[FoundPool]:
        seen: set[tuple[int, int]] = set()
        for at, base in self._candidates():
            if (at, base) in seen or at < 0 or base < 0:
                continue
            seen.add((at, base))
            if len(seen) > _CANDIDATES:
                return
            found = self.judge(at, base)
            if found is not None:
                yield found

    def _candidates(self) -> Iterator[tuple[int, int]]:
        """Places of pools and the segment's address that each asks for."""
        heads = self.layout.lists_offset
        for at, word in self._self_named():
            yield at, word - at
        for at, word in self._empty_runs():
            # Which list the first empty head is of is not known.
            for index in range(self.layout.list_count):
                yield at - heads - index * self.step, word - at

    def _self_named(self) -> Iterator[tuple[int, int]]:
        """Words that can be a pool's own address: a size that can be lies beside, an empty list's head behind.

        Memory is full of words that hold their own address (every empty list of the kernel), so this must be
        cheap. Where nobody knows the segment's address, only the lists tell it.
        """
        if not self.placed:
            return
        size_at, heads = self.layout.pool.pool_size.offset, self.layout.lists_offset
        smallest, mask = self.layout.min_pool_size, self.layout.pointer_mask
        # Lists of the largest sizes are empty in nearly every pool; of the three one may be damaged.
        sampled = (self.layout.list_count - 1, self.layout.list_count - 3, self.layout.list_count - 6)
        data, base = self.data, self.base
        for at in self._own_addresses():
            size = int.from_bytes(data[at + size_at : at + size_at + 4], "little")
            if smallest <= size <= mask - base - at and any(
                self._is_empty(at + heads + index * self.step, base) for index in sampled
            ):
                yield at, base + at

    def _own_addresses(self) -> Iterator[int]:
        """Offsets of words that hold their own address; kept, unless there are too many of them."""
        if self._own is None:
            found = list(islice(own_addresses(self.data, self.base, self.pointer), _OWN_KEPT + 1))
            if len(found) > _OWN_KEPT:
                return own_addresses(self.data, self.base, self.pointer)
            self._own = found
        return iter(self._own)

    def _empty_runs(self) -> Iterator[tuple[int, int]]:
        """The first of several heads in a row that point to themselves."""
        run_start = run_base = run = 0
        for head, word in self._pairs():
            base = word - head
            if run and base == run_base and head == run_start + run * self.step:
                run += 1
                if run == _RUN:
                    yield run_start, run_start + run_base
            else:
                run_start, run_base, run = head, base, 1

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Heads that point to themselves (where the address is not known: as far as the head behind tells)."""
        if self.placed:
            for at in self._own_addresses():
                if self._is_empty(at, self.base):
                    yield at, self.base + at
            return
        before = -1
        for at, word in stepping(self.data, self.pointer):
            if at != before:
                yield at, word
            before = at + self.step
            yield before, word + self.step

    def _is_empty(self, at: int, base: int) -> bool:
        links = self._links(at)
        return links is not None and links == (base + at, base + at)

    def _links(self, at: int) -> tuple[int, int] | None:
        if not 0 <= at <= len(self.data) - self.step:
            return None
        middle = at + self.pointer
        prev, following = self.data[at:middle], self.data[middle : middle + self.pointer]
        return int.from_bytes(prev, "little"), int.from_bytes(following, "little")

    def judge(self, at: int, base: int, enough: int = _ENOUGH) -> FoundPool | None:
        """The pool at an offset, if at least `enough` signs speak for it."""
        layout, address = self.layout, base + at
        if at + layout.first_offset + layout.node_size > len(self.data) or address > layout.pointer_mask:
            return None
        signs: list[str] = []
        own = int.from_bytes(self.data[at : at + self.pointer], "little")
        if own == address:
            signs.append("its info has its own address")
        size_at = at + layout.pool.pool_size.offset
        size = int.from_bytes(self.data[size_at : size_at + 4], "little")
        end = layout.end_offset(size)
        plausible = layout.min_pool_size <= size <= layout.pointer_mask - address
        empty, inside = self._heads(at, base, size if plausible else len(self.data) - at)
        if empty:
            signs.append(f"{empty} empty free lists point to themselves")
        first = self._first(at, base, end if plausible else None)
        if first:
            signs.append("its first node is sound")
        ends = plausible and self._ends(at, base, end)
        if ends:
            signs.append("its end node is where its size says")
        score = len(signs) + min(empty, 4)
        # Words that hold their own address are not enough: the kernel has other tables of empty lists.
        fits = own == address and plausible and at + size <= len(self.data)
        if score < enough or not (first or ends or fits) or inside + _HEADS_LOST < layout.list_count:
            return None
        return FoundPool(address, base, score, tuple(signs))

    def _heads(self, at: int, base: int, size: int) -> tuple[int, int]:
        """How many list heads are empty, and how many hold links that can be."""
        empty = inside = 0
        low = base + at + self.layout.lists_offset
        high = base + at + size
        for index in range(self.layout.list_count):
            head = at + self.layout.lists_offset + index * self.step
            links = self._links(head)
            if links is None:
                break
            empty += links == (base + head, base + head)
            inside += low <= links[0] < high and low <= links[1] < high
            if inside + _HEADS_LOST < index:
                break
        return empty, inside

    def _view(self, at: int, base: int, start: int) -> PoolView:
        """A view in which the node at offset `start` of the pool lies at its offset; other bytes are not there."""
        size = self.layout.node_size
        data = bytes(start) + self.data[at + start : at + start + size]
        return PoolView(data, base + at, self.layout)

    def _first(self, at: int, base: int, end: int | None) -> bool:
        start = self.layout.first_offset
        view = self._view(at, base, start)
        header = view.own(start)
        if header is None:
            return False
        reach = header.pre_node - view.address
        return (end is None or reach == end) and reach > start and view.sound(header, start, reach)

    def _ends(self, at: int, base: int, end: int) -> bool:
        start = at + end + self.layout.header_offset
        data = self.data[start : start + self.layout.control.size]
        if start < 0 or len(data) < self.layout.control.size:
            return False
        header = self.layout.decode_control(data, 0)
        before = header.pre_node - base - at
        return self.layout.checksum_holds(header) and self.layout.first_offset <= before < end


def find_in(segments: Iterable[Segment], layout: Layout, *, placed: bool) -> tuple[FoundPool, ...]:
    """The pools in all segments of an image."""
    return tuple(pool for segment in segments for pool in find_pools(segment, layout, placed=placed))


def judge(segment: Segment, address: int, layout: Layout) -> FoundPool | None:
    """The pool that somebody says is at an address of a segment; None where next to nothing speaks for it."""
    at = address - segment.address
    return _Finder(segment, layout, placed=True).judge(at, segment.address, _ENOUGH_WHERE_ASKED)
