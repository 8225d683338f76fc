"""Finds who overwrote the heap.

What this package and `heapwitness.liteos` name is what may be relied upon: docs/api.md. All else may move.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heapwitness import numpy as numpy
    from heapwitness.diagnose import examine as examine
    from heapwitness.errors import HeapwitnessError as HeapwitnessError
    from heapwitness.findings.model import Finding as Finding
    from heapwitness.findings.model import Report as Report
    from heapwitness.inside import Counts as Counts
    from heapwitness.inside import HeapCorruption as HeapCorruption
    from heapwitness.inside import check as check
    from heapwitness.inside import checked as checked
    from heapwitness.inside import watch as watch
    from heapwitness.memory import BufferMemory as BufferMemory
    from heapwitness.memory import CoreMemory as CoreMemory
    from heapwitness.memory import ProcessMemory as ProcessMemory
    from heapwitness.memory import SegmentsMemory as SegmentsMemory
    from heapwitness.memory import Unreadable as Unreadable
    from heapwitness.native import library as library
    from heapwitness.pool import Damaged as Damaged
    from heapwitness.pool import NoSuchNode as NoSuchNode
    from heapwitness.pool import Pool as Pool
    from heapwitness.pool import PoolBlock as PoolBlock
    from heapwitness.pool import PoolStats as PoolStats
    from heapwitness.report.json import BadReport as BadReport
    from heapwitness.report.json import load as load_report

__version__ = "0.1.0"

__all__ = [
    "BadReport",
    "BufferMemory",
    "CoreMemory",
    "Counts",
    "Damaged",
    "Finding",
    "HeapCorruption",
    "HeapwitnessError",
    "NoSuchNode",
    "Pool",
    "PoolBlock",
    "PoolStats",
    "ProcessMemory",
    "Report",
    "SegmentsMemory",
    "Unreadable",
    "check",
    "checked",
    "examine",
    "library",
    "load_report",
    "numpy",
    "watch",
]

_DIAGNOSE, _INSIDE, _MODEL, _MEMORY, _POOL = ("diagnose", "inside", "findings.model", "memory", "pool")
# Where each name is, to be imported when it is wanted: the command line starts without most of it, and a dump is read
# without the compiled core.
_HOMES = {
    "BadReport": ("report.json", "BadReport"),
    "BufferMemory": (_MEMORY, "BufferMemory"),
    "CoreMemory": (_MEMORY, "CoreMemory"),
    "Damaged": (_POOL, "Damaged"),
    "Finding": (_MODEL, "Finding"),
    "Counts": (_INSIDE, "Counts"),
    "HeapCorruption": (_INSIDE, "HeapCorruption"),
    "HeapwitnessError": ("errors", "HeapwitnessError"),
    "NoSuchNode": (_POOL, "NoSuchNode"),
    "Pool": (_POOL, "Pool"),
    "PoolBlock": (_POOL, "PoolBlock"),
    "PoolStats": (_POOL, "PoolStats"),
    "ProcessMemory": (_MEMORY, "ProcessMemory"),
    "Report": (_MODEL, "Report"),
    "SegmentsMemory": (_MEMORY, "SegmentsMemory"),
    "Unreadable": (_MEMORY, "Unreadable"),
    "check": (_INSIDE, "check"),
    "checked": (_INSIDE, "checked"),
    "examine": (_DIAGNOSE, "examine"),
    "library": ("native", "library"),
    "load_report": ("report.json", "load"),
    "watch": (_INSIDE, "watch"),
}


def __getattr__(name: str) -> Any:
    if name == "numpy":
        return importlib.import_module(f"{__name__}.numpy")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own = _HOMES[name]
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), own)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
