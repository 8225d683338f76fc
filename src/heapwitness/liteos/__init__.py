"""LiteOS's bestfit heap with node head backup, byte for byte: configuration, layout, pool."""

from heapwitness.liteos.config import Config
from heapwitness.liteos.layout import Layout

__all__ = ["Config", "Layout"]
