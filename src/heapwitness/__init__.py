"""heapwitness: finds who overwrote the heap."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heapwitness.pool import Pool as Pool

__version__ = "0.1.0"
__all__ = ["Pool"]


def __getattr__(name: str) -> Any:
    # The compiled core is looked for when it is wanted: reading a dump does without.
    if name == "Pool":
        from heapwitness.pool import Pool

        return Pool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
