"""Addresses to functions, files, lines and inlined frames; the same path for live processes and records."""

from heapwitness.symbols.maps import Mapping, parse_maps
from heapwitness.symbols.resolver import Resolver

__all__ = ["Mapping", "Resolver", "parse_maps"]
