"""Places in a pool that verify by themselves: where a walk that lost a header can go on.

A place is an anchor when a header there is sound and names a node before it, or when a backup there
names the very place it lies in. Each place is looked at once, from low to high, and only as far as
somebody asks.
"""

import bisect
import operator
from collections.abc import Callable, Iterator
from itertools import compress

from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.image.scan import words
from heapwitness.liteos.image.store import PART, PARTS_KEPT, let_go
from heapwitness.liteos.layout.layout import ControlHeader

_CHUNK = 4096
_ZEROS = bytes(8 * _CHUNK)
_KEPT = PARTS_KEPT * PART


class Anchors:
    """The anchors of one pool. All places are offsets from the pool's start; `end` is the end node's."""

    def __init__(self, view: PoolView, end: int) -> None:
        self._view = view
        self._end = end
        self._places: list[int] = []
        self._before: list[int | None] = []
        self._named: dict[int, int] = {}
        self._next = view.layout.first_offset
        # Where the bytes end before the pool does there is nothing to look at.
        in_bytes = len(view.data) - self._next
        self._last = min(end, self._next + max(in_bytes - in_bytes % view.layout.align, 0))

    def following(self, node: int) -> int | None:
        """The first anchor that names `node` as the node before it; the end node may be it."""
        while (found := self._named.get(node)) is None and self._next <= self._end:
            self._look_at_more()
        return found

    def next(self, node: int) -> tuple[int, int | None]:
        """The first anchor above `node` that does not name a node below it, and which node it names.

        None when it names none, as for the end node when nothing else is left.
        """
        for place, before in self._above(node + 1):
            if before is None or before >= node:
                named = self._named.get(node)
                return (named, node) if named is not None and named <= place else (place, before)
        return self._end, None

    def _above(self, start: int) -> Iterator[tuple[int, int | None]]:
        index = bisect.bisect_left(self._places, start)
        while True:
            while index < len(self._places):
                # What was found since may lie below.
                if self._places[index] >= start:
                    yield self._places[index], self._before[index]
                index += 1
            if self._next > self._end:
                return
            self._look_at_more()

    def _look_at_more(self) -> None:
        view, layout = self._view, self._view.layout
        base = view.address
        own_at = layout.header_offset + layout.control.pre_node.offset
        backup_at = None if layout.backup_offset is None else layout.backup_offset + layout.control.pre_node.offset
        stop = min(self._next + _CHUNK * layout.align, self._last)
        places = range(self._next, stop, layout.align)
        back = set(self._words_that(operator.lt, places, own_at))
        named = set() if backup_at is None else set(self._words_that(operator.eq, places, backup_at))
        for at in sorted(back | named):
            if at in back:
                header = view.own(at)
                if header is not None and self._is_anchor(header, at):
                    self._add(at, header.pre_node - base)
                    continue
            if at in named:
                self._look_at_backup(at)
        if stop // _KEPT != self._next // _KEPT:
            let_go(view.data)
        self._next = stop
        if stop == self._last:
            self._add_end()

    def _words_that(self, compare: Callable[[int, int], bool], places: range, offset: int) -> Iterator[int]:
        """Places whose word at an offset compares with their own address, and names no place below the nodes."""
        view, layout = self._view, self._view.layout
        part = view.data[places.start + offset : places.stop + offset]
        if part == _ZEROS[: len(part)]:
            return iter(())
        low = view.address + layout.first_offset
        found = words(part, layout.pointer)
        here = range(view.address + places.start, view.address + places.stop, layout.align)
        return compress(places, map(operator.and_, map(compare, found, here), map(low.__le__, found)))

    def _is_anchor(self, header: ControlHeader, at: int) -> bool:
        view, layout = self._view, self._view.layout
        if (header.pre_node - view.address) % layout.align != layout.first_offset % layout.align:
            return False
        if not view.sound(header, at, self._end):
            return False
        # Without a checksum, what follows has to agree.
        return layout.control.checksum is not None or self._agrees_after(header, at)

    def _agrees_after(self, header: ControlHeader, at: int) -> bool:
        after = self._view.own(at + header.size)
        return after is None or after.pre_node == self._view.address + at

    def _look_at_backup(self, at: int) -> None:
        """A sound backup that names its own place: a node starts here, and a used one's magic tells the next."""
        view, layout = self._view, self._view.layout
        header = view.backup(at)
        if header is None or not layout.checksum_holds(header):
            return
        if not header.used or not layout.has_magic:
            self._add(at, None)
            return
        magic_at = layout.header_offset + layout.control.magic.offset
        following = (~header.magic - view.address - magic_at) & 0xFFFFFFFF
        if at + layout.smallest_node <= following <= self._end:
            self._add(at, None)
            self._named.setdefault(at, following)

    def _add(self, at: int, before: int | None) -> None:
        self._places.append(at)
        self._before.append(before)
        if before is not None:
            self._named.setdefault(before, at)

    def _add_end(self) -> None:
        """The end node is an anchor: its header, if it is good, names the last node."""
        header = self._view.own(self._end)
        known = header is not None and self._view.good_end(header, self._end, None)
        self._add(self._end, header.pre_node - self._view.address if known and header is not None else None)
        self._next = self._end + 1
