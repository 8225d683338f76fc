"""LiteOS's heap, byte for byte: configuration, layout, the pool itself, and what is damaged in it.

Start with `Config.load` and `Pool.init` or `Pool.attach`.
"""

from heapwitness.liteos.config.config import BadConfig, Config
from heapwitness.liteos.errors import BadPool, KernelDied
from heapwitness.liteos.kernel.sizecheck import CheckLevel
from heapwitness.liteos.layout.layout import Layout
from heapwitness.liteos.pool.pool import Pool

__all__ = ["BadConfig", "BadPool", "CheckLevel", "Config", "KernelDied", "Layout", "Pool"]
