"""Free lists as an operation of the kernel leaves them half way.

One node at a time is taken off a list or put on one, and it is linked from one side before the other. A node that was
just made free, and the free one behind it that joins it, are on no list for a while; one that grew or was cut is still
on the list of its former size. So a list read forward and read backward may differ by that node, and few nodes may be
elsewhere than their size says. Anything more is damage.
"""

from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk
from heapwitness.liteos.layout.layout import Layout

_MOST = 3


class HalfWay:
    """What an operation half way explains.

    Attributes:
        explained: the lists (by index) whose links it explains.
        changing: links of the nodes that it is taking off or putting on.
    """

    def __init__(self, view: PoolView, walked: Walk) -> None:
        self.explained: frozenset[int] = frozenset()
        self.changing: frozenset[int] = frozenset()
        self._view = view
        self._links: dict[int, tuple[int, int]] = {}
        self._sizes: dict[int, int] = {}
        free: set[int] = set()
        for node in walked.nodes:
            header = node.own if node.own_good else node.header
            if header is None or (node.used and not node.moving):
                continue
            links = view.links(node.address - view.address)
            self._links[links] = header.prev, header.next
            self._sizes[links] = node.size
            if not node.used and not node.moving:
                free.add(links)
        self._judge(free)

    def _judge(self, free: set[int]) -> None:
        listed: set[int] = set()
        elsewhere: set[int] = set()
        whole: set[int] = set()
        for index in range(self._view.layout.list_count):
            forward, backward = self._read(index, 1), self._read(index, 0)
            if forward is None or backward is None:
                listed |= {*(forward or ()), *(backward or ())}
                continue
            backward.reverse()
            one_sided = {*forward} ^ {*backward}
            if [one for one in forward if one not in one_sided] != [one for one in backward if one not in one_sided]:
                continue
            whole.add(index)
            members = {*forward, *backward}
            listed |= members
            elsewhere |= one_sided
            elsewhere |= {one for one in members if list_index(self._view.layout, self._sizes[one]) != index}
        # What stands on a list that is broken is found only from one side, or not at all: that is damage.
        if len(whole) == self._view.layout.list_count:
            elsewhere |= free - listed
        if len(elsewhere) <= _MOST:
            self.explained, self.changing = frozenset(whole), frozenset(elsewhere)

    def _read(self, index: int, direction: int) -> list[int] | None:
        """The entries of a list, forward (1) or backward (0); None where it does not come back to its head."""
        head = head_address(self._view, index)
        stored = stored_links(self._view, head)
        found: list[int] = []
        seen: set[int] = set()
        here = None if stored is None else stored[direction]
        while here is not None and here != head:
            if here not in self._links or here in seen:
                return None
            seen.add(here)
            found.append(here)
            here = self._links[here][direction]
        return None if here is None else found


def list_index(layout: Layout, size: int) -> int | None:
    """Which list holds free nodes of `size` bytes; None above the largest."""
    index = max(size.bit_length() - 1 - layout.list_min_log2, 0)
    return index if index < layout.list_count else None


def head_address(view: PoolView, index: int) -> int:
    """Address of a list's head."""
    return view.address + view.layout.lists_offset + index * view.layout.list_head_size


def stored_links(view: PoolView, address: int) -> tuple[int, int] | None:
    """The pair of links at an address: prev, next; None when it is not in the bytes."""
    prev, following = view.word(address - view.address), view.word(address - view.address + view.layout.pointer)
    return None if prev is None or following is None else (prev, following)
