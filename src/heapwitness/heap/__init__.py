"""Walks the nodes of a heap without trusting a length that it has not verified."""

from heapwitness.heap.area import NodeArea, PoolNode
from heapwitness.heap.check import Fault, check
from heapwitness.heap.pool import LostPool
from heapwitness.heap.run_check import check_run
from heapwitness.heap.runs import WalkedRuns, area_at
from heapwitness.heap.walk import walk
from heapwitness.heap.walked_pool import WalkedPool

__all__ = [
    "Fault",
    "LostPool",
    "NodeArea",
    "PoolNode",
    "WalkedPool",
    "WalkedRuns",
    "area_at",
    "check",
    "check_run",
    "walk",
]
