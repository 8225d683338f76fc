"""Traces of allocations, replayed with faults."""
