"""heapwitness: finds who overwrote the heap."""

__version__ = "0.1.0"
