"""What the index of free nodes must look like, from the headers alone.

The index is a treap whose priorities are a keyed hash of the offsets, so its shape does not depend on
the order of operations: for any set of free nodes there is exactly one. That makes every link and every
root a value that can be told from the rest of the pool.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from heapwitness.heap.pool import SeenPool
from heapwitness.heap.walk import walk
from heapwitness.layout import witness
from heapwitness.layout.witness import Links, NodeHeader, State
from heapwitness.memory import Unreadable

NODES_LIMIT = 200_000
"""Pools with more nodes than this are not walked only to tell what links were."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The index as it must be: `links` of each free node without their check, roots and counters."""

    links: dict[int, tuple[int, int, int]]
    bins: tuple[int, ...]
    large: int
    nodes: int
    used: int

    @property
    def bitmap(self) -> int:
        return sum(1 << number for number, root in enumerate(self.bins) if root)


_shapes: WeakKeyDictionary[SeenPool, Shape | None] = WeakKeyDictionary()


def shape(pool: SeenPool) -> Shape | None:
    """The index that a pool's headers ask for; None where a header is lost or not there, or there are too many.

    A view's pool is walked once for it.
    """
    if pool not in _shapes:
        try:
            _shapes[pool] = _shape(pool)
        except Unreadable:
            _shapes[pool] = None
    return _shapes[pool]


def _shape(pool: SeenPool) -> Shape | None:
    trees: dict[int, list[tuple[int, int]]] = {}
    nodes = used = 0
    for node in walk(pool):
        if node.lost or nodes > NODES_LIMIT:
            return None
        if node.offset == pool.end:
            break
        nodes += 1
        if node.header.state is State.FREE:
            trees.setdefault(_tree(pool, node.header.size), []).append((node.header.size, node.offset))
        else:
            used += 1
    links: dict[int, tuple[int, int, int]] = {}
    bins = [0] * witness.BINS
    large = 0
    for number, members in trees.items():
        root = _treap(pool, sorted(members), links)
        if number < witness.BINS:
            bins[number] = root
        else:
            large = root
    return Shape(links, tuple(bins), large, nodes, used)


def _tree(pool: SeenPool, size: int) -> int:
    return min(size - pool.min_node, witness.BINS)


def _treap(pool: SeenPool, members: list[tuple[int, int]], links: dict[int, tuple[int, int, int]]) -> int:
    """Add the links of the treap over `members`, which are in order; returns its root."""
    left: dict[int, int] = {}
    right: dict[int, int] = {}
    parent: dict[int, int] = {}
    spine: list[tuple[int, int]] = []
    for _, node in members:
        priority = witness.priority(pool.secret, node)
        below = 0
        while spine and spine[-1][0] < priority:
            below = spine.pop()[1]
        left[node] = below
        if below:
            parent[below] = node
        if spine:
            right[spine[-1][1]] = node
            parent[node] = spine[-1][1]
        else:
            parent[node] = 0
        spine.append((priority, node))
    for _, node in members:
        links[node] = (left[node], right.get(node, 0), parent[node])
    return spine[0][1] if spine else 0


def links_before(pool: SeenPool, node: int, header: NodeHeader) -> Links | None:
    """What the links of a released node were before something was written over them.

    Args:
        header: of a free or cached node, or of a used one that is known to wait for its owner.

    Returns:
        None when it cannot be told. Whatever the rest says, words whose check still holds win.
    """
    stored = pool.links(node)
    if pool.links_hold(node, stored):
        return stored
    if header.state is State.CACHED:
        lefts = {0, witness.POISONED[0], witness.POISONED_BEFORE}
        rights, parents = {0, witness.POISONED[1]}, {witness.CACHED_PARENT}
        known = None
    elif header.state is State.FREE:
        whole = shape(pool)
        known = whole.links.get(node) if whole else None
        lefts, rights, parents = {0, stored.left}, {0, stored.right}, {0, stored.parent}
        if known:
            lefts, rights, parents = lefts | {known[0]}, rights | {known[1]}, parents | {known[2]}
    else:
        lefts, rights, parents = {0, stored.left}, {stored.right}, {witness.PENDING_PARENT}
        known = None
    candidates = [
        witness.sealed_links(pool.secret, left, right, parent, node)
        for left in lefts
        for right in rights
        for parent in parents
    ]
    confirmed = [one for one in candidates if one.check == stored.check]
    if confirmed:
        return min(confirmed, key=lambda one: _distance(one, stored))
    if header.state is State.CACHED:
        candidates = [one for one in candidates if bool(one.left) == bool(one.right)]
        # The mark is hardly chance; zeros may well have been written.
        first, second = witness.POISONED
        poisoned = stored.left & 0xFF == first & 0xFF or stored.right == second or _is_poisoned(pool, node, header)
        # Where the payload does not tell, what is left of the links must.
        return min(
            candidates,
            key=lambda one: (
                poisoned not in (None, bool(one.left)),
                _distance(one, stored),
                one.left == witness.POISONED_BEFORE,
            ),
        )
    return witness.sealed_links(pool.secret, *known, node) if known else None


def _is_poisoned(pool: SeenPool, node: int, header: NodeHeader) -> bool | None:
    """Whether the end of poison is left in a cached node's payload, of which a write from its start leaves the longest;
    None: too little to tell."""
    start, end = pool.poison_range(node, header)
    # What was slack holds nearly the same pattern, and old poison may have left a word of it anywhere.
    end -= (header.slack + 7) // 8 * 8
    length = min(16, end - start)
    if length < 8:
        return None
    return pool.peek(end - length, length) == pool.poison(node) * (length // 8)


def _distance(one: Links, other: Links) -> int:
    return sum(a != b for a, b in zip(one.pack(), other.pack(), strict=True))
