"""A pool with all that can be told of its nodes."""

from collections.abc import Iterator

from heapwitness.heap.area import PoolNode
from heapwitness.heap.index import links_before
from heapwitness.heap.pool import SeenPool
from heapwitness.heap.verify import pending_links
from heapwitness.heap.walk import walk
from heapwitness.layout import witness
from heapwitness.layout.witness import NodeHeader


class WalkedPool(SeenPool):
    """A pool whose nodes are gone through, and looked into, without trusting what is not verified."""

    def walk(self, start: int | None = None, known: int = -1) -> Iterator[PoolNode]:
        return walk(self, start, known)

    def links_before(self, node: int, header: NodeHeader) -> tuple[bytes, bytes] | None:
        links = links_before(self, node, header)
        return (links.pack(), b"\1" * witness.HEADER) if links is not None else None

    def handed(self, node: int, header: NodeHeader) -> int | None:
        links = pending_links(self, node, header)
        return links.right if links is not None else None
