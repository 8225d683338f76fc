"""Walks the nodes of a pool without trusting a length that it has not verified."""

from heapwitness.heap.check import Fault, check
from heapwitness.heap.pool import LostPool, WalkedPool
from heapwitness.heap.walk import PoolNode, standing, walk

__all__ = ["Fault", "LostPool", "PoolNode", "WalkedPool", "check", "standing", "walk"]
