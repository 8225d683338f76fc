"""heapwitness inside of other tools."""
