"""Pools that programs used, healthy and damaged, for the fuzzer of pools to begin with: else it hardly ever comes past
the first header."""

import random
from pathlib import Path

from heapwitness.pool import Pool

SIZE = 4096
_SECRET = (1, 2, 3, 4)
_ANSWERS = 10
"""Bytes at an input's end that inputs.py takes for the event."""


def write(directory: Path) -> None:
    """Some files into a directory."""
    for number in range(24):
        choose = random.Random(number)
        log2 = 3 + number % 2
        pool = Pool(bytearray(SIZE + 16), granule_log2=log2, size=SIZE, secret=_SECRET)
        nodes: list[int] = []
        for _ in range(choose.randrange(5, 40)):
            node = pool.allocate(choose.randrange(1, 200))
            nodes += [] if node is None else [node]
        for node in choose.sample(nodes, len(nodes) // 2):
            pool.release(node) if choose.random() < 0.5 else pool.cache(node, poison=choose.random() < 0.5)
        data = bytearray(pool.memory[pool.start : pool.start + SIZE])
        if number % 3:
            at = (choose.choice(nodes) << log2) + choose.randrange(48)
            data[at : at + 20] = choose.randbytes(min(20, SIZE - at))
        # The granule is the last byte's; the rest names a node and a reason.
        tail = bytes([*choose.randbytes(_ANSWERS - 1), number % 2])
        (directory / str(number)).write_bytes(bytes(data) + tail)
