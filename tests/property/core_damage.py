"""Where a pool can be damaged: every protected byte, by what protects it."""

from collections.abc import Iterator
from dataclasses import dataclass

from heapwitness.layout.witness import CONTROL, HEADER, KEPT, OVERHEAD, WITNESSED, State
from heapwitness.pool import Pool


@dataclass(frozen=True, slots=True)
class Spot:
    """Some protected bytes of a pool: `begin` and `length` in bytes, `node` 0 for the control block."""

    what: str
    node: int
    begin: int
    length: int


def spots(pool: Pool) -> Iterator[Spot]:
    """Every copy of a header, all slack, links and poison, the control block and its copy."""
    log2 = pool.granule_log2
    yield Spot("fixed", 0, 0, WITNESSED)
    yield Spot("derived", 0, WITNESSED, CONTROL - WITNESSED)
    yield Spot("copy", 0, pool.size - WITNESSED, WITNESSED)
    nodes = list(pool.nodes())
    for offset in [node.offset for node in nodes] + [pool.end]:
        start = offset << log2
        yield Spot("header", offset, start, HEADER)
        yield Spot("backup", offset, start + KEPT, HEADER)
    for node in nodes:
        start, end = node.offset << log2, (node.offset + node.size) << log2
        if node.state is State.USED and node.slack:
            yield Spot("slack", node.offset, end - node.slack, node.slack)
        if node.state in (State.FREE, State.CACHED):
            yield Spot("links", node.offset, start + OVERHEAD, HEADER)
        poisoned = pool.memory[start + OVERHEAD : start + OVERHEAD + 4] == bytes((1, 0, 0, 0))
        if node.state is State.CACHED and poisoned:
            yield Spot("poison", node.offset, start + OVERHEAD + HEADER, end - start - OVERHEAD - HEADER)
