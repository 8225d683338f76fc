"""Walks the nodes of a pool without trusting a length that it has not verified."""

from heapwitness.heap.check import Fault, check
from heapwitness.heap.pool import BadPool, Pool
from heapwitness.heap.walk import Node, standing, walk

__all__ = ["BadPool", "Fault", "Node", "Pool", "check", "standing", "walk"]
