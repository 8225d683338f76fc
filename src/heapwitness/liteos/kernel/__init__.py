"""The kernel's own code of the heap, step by step."""
