"""The free lists of a pool, checked against its free nodes.

Heads and links have no backup of their own, but each link is named from both sides: the entry before
says `next`, the entry after says `prev`. The order that most of them agree on is the expected one.
"""

from collections.abc import Iterable, Mapping

import msgspec

from heapwitness.liteos.heap.halflists import HalfWay, head_address, list_index, stored_links
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk
from heapwitness.liteos.layout.layout import ControlHeader


class LinkWord(msgspec.Struct, frozen=True):
    """One link that is not what the other links ask for: a word of a list head, or of a free node's header.

    `node` is the node that holds it (None for a list head), `address` is the word's.
    """

    address: int
    node: int | None
    field: str
    expected: int
    actual: int


class FreeLists:
    """The lists of one walked pool. `headers` gives, by address, the headers of nodes whose copies are both lost."""

    def __init__(self, view: PoolView, walk: Walk, headers: Mapping[int, ControlHeader]) -> None:
        self._view = view
        self._layout = view.layout
        self._links: dict[int, tuple[int, int]] = {}
        self._members: dict[int, list[int]] = {}
        self._free: dict[int, int] = {}
        self._half = HalfWay(view, walk) if walk.midway else None
        for node in walk.nodes:
            header = node.header or headers.get(node.address)
            if header is None or header.used:
                continue
            index = list_index(self._layout, node.size)
            if index is None:
                continue
            links = view.links(node.address - view.address)
            self._free[links] = node.address
            self._links[links] = header.prev, header.next
            self._members.setdefault(index, []).append(links)

    @property
    def changing(self) -> frozenset[int]:
        """Nodes that an operation half way was taking off a list or putting on one, by address."""
        if self._half is None:
            return frozenset()
        return frozenset(self._view.of_links(links) + self._view.address for links in self._half.changing)

    def wrong(self) -> tuple[LinkWord, ...]:
        """Every link that has to change for the lists to hold exactly the free nodes."""
        found: list[LinkWord] = []
        for index in range(self._layout.list_count):
            head = head_address(self._view, index)
            stored = stored_links(self._view, head)
            members = self._members.get(index, [])
            if stored is None or self._holds(head, stored, members):
                continue
            if self._half is not None:
                if index in self._half.explained:
                    continue
                members = [one for one in members if one not in self._half.changing]
            order = self._order(head, stored, members)
            ring = [head, *order, head]
            for before, here, after in zip([ring[-2], *ring], ring[:-1], ring[1:], strict=False):
                found += self._differences(here, before, after, stored if here == head else self._links[here])
        return tuple(found)

    def _holds(self, head: int, stored: tuple[int, int], members: Iterable[int]) -> bool:
        left = set(members)
        before, here = head, stored[1]
        while here != head:
            if here not in left:
                return False
            left.remove(here)
            prev, following = self._links[here]
            if prev != before:
                return False
            before, here = here, following
        return stored[0] == before and not left

    def _order(self, head: int, stored: tuple[int, int], members: list[int]) -> list[int]:
        """The members in the order that the links ask for; where they say nothing, by address."""
        after = self._agreed({head: stored, **{one: self._links[one] for one in members}}, {*members, head})
        seen = {head}
        pieces = [_follow(after, head, seen)[1:]]
        inner = set(after.values())
        begins = [one for one in members if one not in inner]
        # What then is left goes round in circles; it is cut at its lowest node.
        for start in (*begins, *members):
            if start not in seen:
                pieces.append(_follow(after, start, seen))
        last = [piece for piece in pieces[1:] if after.get(piece[-1]) == head]
        rest = [piece for piece in pieces if piece not in last]
        return [one for piece in (*rest, *last) for one in piece]

    def _agreed(self, links: Mapping[int, tuple[int, int]], known: set[int]) -> dict[int, int]:
        """Who follows whom: first what both sides say, then what one side says and nothing contradicts."""
        said = [(one, following) for one, (_, following) in links.items() if following in known]
        heard = {(prev, one) for one, (prev, _) in links.items() if prev in known}
        after: dict[int, int] = {}
        taken: set[int] = set()
        for before, following in (*(one for one in said if one in heard), *said, *sorted(heard)):
            if before not in after and following not in taken:
                after[before] = following
                taken.add(following)
        return after

    def _differences(self, here: int, before: int, after: int, stored: tuple[int, int]) -> list[LinkWord]:
        pointer = self._layout.pointer
        node = self._free.get(here)
        found: list[LinkWord] = []
        for offset, name, expected, actual in (
            (0, "pstPrev", before, stored[0]),
            (pointer, "pstNext", after, stored[1]),
        ):
            if expected != actual:
                found.append(LinkWord(here + offset, node, name, expected, actual))
        return found


def _follow(after: Mapping[int, int], start: int, seen: set[int]) -> list[int]:
    piece = [start]
    seen.add(start)
    while (following := after.get(piece[-1])) is not None and following not in seen:
        piece.append(following)
        seen.add(following)
    return piece
