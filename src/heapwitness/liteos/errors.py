"""The errors that a pool's operations raise, besides `config.BadConfig`."""

from heapwitness.errors import HeapwitnessError


class BadPool(HeapwitnessError):
    """A pool that the kernel refuses to make, or bytes that hold none."""


class KernelDied(HeapwitnessError):
    """The genuine kernel would not return from this operation on these bytes: it would fault or never end.

    Only pools with `faithful=True` raise it. What the kernel wrote before is in the buffer.
    """
