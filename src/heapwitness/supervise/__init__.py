"""Starting a program with the engine inside, and taking its events."""

from heapwitness.supervise.options import Options
from heapwitness.supervise.supervisor import run

__all__ = ["Options", "run"]
