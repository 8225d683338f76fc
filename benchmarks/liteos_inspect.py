"""How fast a LiteOS pool is walked, diagnosed and repaired, by the number of its nodes.

    python benchmarks/liteos_inspect.py [NODES ...]

Prints a row for each step: the least processor time of three runs, and nodes in a second. The pool
has used and free blocks in turn; the last rows are of the same pool with one header in a thousand
overwritten.
"""

import sys
import time
from collections.abc import Callable

from heapwitness.liteos import Config, Layout, Pool
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.plan import plan
from heapwitness.liteos.dump.naming import bare
from heapwitness.liteos.dump.usage import usage
from heapwitness.liteos.find.pools import find_pools
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import walk
from heapwitness.liteos.image import Segment

ADDRESS = 0x20000000
BLOCK = 64
RUNS = 3


def made(config: Config, nodes: int) -> bytearray:
    """A pool with about so many nodes, three of four in use."""
    layout = Layout.of(config)
    buffer = bytearray(layout.first_offset + (nodes + 8) * (BLOCK + layout.node_size))
    # The kernel itself: the careful pool would verify every neighbour of 100,000 allocations first.
    pool = Pool.init(buffer, ADDRESS, config, faithful=True, link_registers=lambda: (0x8000200, 0x8000300, 0x8000400))
    blocks = [pool.alloc(BLOCK) for _ in range(nodes)]
    for block in blocks[::4]:
        pool.free(block)
    return buffer


def best(step: Callable[[], object]) -> float:
    """The least processor time of some runs, in seconds: other programs on the machine do not count."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def measure(title: str, data: bytearray, layout: Layout) -> None:
    """Print a row for each step on one pool."""
    nodes = len(walk(data, ADDRESS, layout).nodes)
    segment = Segment(ADDRESS, memoryview(data))

    def summed_up() -> object:
        return usage(HeaderEvidence(PoolView(bytes(data), ADDRESS, layout), walk(data, ADDRESS, layout), {}), {}, bare)

    steps: list[tuple[str, Callable[[], object]]] = [
        ("find", lambda: find_pools(segment, layout, placed=True)),
        ("walk", lambda: walk(data, ADDRESS, layout)),
        ("diagnose", lambda: diagnose(data, ADDRESS, layout)),
        ("usage", summed_up),
        ("plan repair", lambda: plan(data, ADDRESS, layout)),
    ]
    for name, step in steps:
        seconds = best(step)
        print(f"{title:<24} {nodes:>9,}  {name:<12} {seconds:8.3f} s  {nodes / seconds:>12,.0f} nodes/s", flush=True)


def main(counts: list[int]) -> None:
    """Measure pools of these many nodes."""
    print(f"{'pool':<24} {'nodes':>9}  {'step':<12} {'time':>10}")
    for count in counts:
        for width in (32, 64):
            config = Config(width=width, debug=True, head_backup=True, task_stat=True, leakcheck=True, recordinfo=True)
            layout = Layout.of(config)
            data = made(config, count)
            measure(f"{width}-bit", data, layout)
            addresses = [node.address for node in walk(data, ADDRESS, layout).nodes]
            for address in addresses[500::1000]:
                at = address - ADDRESS + layout.header_offset
                data[at : at + 16] = b"0123456789abcdef"
            measure(f"{width}-bit, damaged", data, layout)


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [100_000])
