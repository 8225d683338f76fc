"""Where damage ends among many lost nodes is found in steps that do not grow with their square."""

from collections.abc import Iterator

from heapwitness.diagnose.where import last_of
from heapwitness.heap import PoolNode
from heapwitness.layout.witness import NodeHeader

NODES = 2000
SIZE = 2
LOST = NodeHeader(size=SIZE, prev_size=SIZE, meta=0, check=0)


class Counted(list[PoolNode]):
    """Nodes that count how often one is looked at."""

    looks = 0

    def __getitem__(self, at: object) -> PoolNode:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(at)  # type: ignore[index, no-any-return, call-overload]

    def __iter__(self) -> Iterator[PoolNode]:
        for node in super().__iter__():
            self.looks += 1
            yield node


def node(number: int, *, holds: bool) -> PoolNode:
    return PoolNode(
        offset=number * SIZE,
        keeper=max(number - 1, 0) * SIZE,
        header=LOST,
        own=LOST,
        kept=LOST,
        own_holds=holds,
        kept_holds=holds,
        lost=not holds,
    )


def test_the_last_of_each_of_many_lost_nodes_is_found_in_few_looks() -> None:
    nodes = Counted(node(number, holds=number % 2 == 1) for number in range(NODES))

    found = [last_of(nodes, nodes[number]) for number in range(0, NODES - 1, 2)]

    assert [one.offset for one in found if one is not None] == [number * SIZE for number in range(0, NODES - 1, 2)]
    assert nodes.looks < 20 * NODES


def test_nodes_that_lead_to_none_that_holds_have_no_last_one() -> None:
    nodes = [node(number, holds=False) for number in range(3)]

    assert [last_of(nodes, one) for one in nodes] == [None, None, None]
