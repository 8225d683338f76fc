"""NumPy's arrays on the checked heap, and single ones at guard pages (docs/python.md).

    heapwitness.numpy.install()               the data of all arrays from now on; under `heapwitness run` done by itself
    with heapwitness.numpy.guarded(): ...     of those that are made in a block, in its context
    fenced = heapwitness.numpy.fence(array)   a copy behind whose end nothing can be touched

NumPy keeps small blocks that were released in a cache of its own, which is passed by: so a write into the data of an
array that is gone is seen. Without an engine in the process all of it does nothing. What cannot be done raises
`HeapwitnessError`, a fence that was touched `HeapCorruption`.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from heapwitness.errors import HeapwitnessError
from heapwitness.inside import engine, findings, raise_found, told_since

if TYPE_CHECKING:
    import numpy

_NAME = b"mem_handler"
_SET, _DEFAULT = 304, 306
"""Places in NumPy's table of functions, which keep what they hold (since 1.22)."""

_api = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _api)
)
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))


def install() -> bool:
    """Let all arrays have their data on the checked heap from now on, in every thread.

    Returns:
        whether they do; False without an engine, and where NumPy's own allocator was exchanged already.
    """
    program = engine()
    if program is None:
        return False
    handler = ctypes.cast(_table()[_DEFAULT], ctypes.POINTER(ctypes.py_object))[0]
    take = program.heapwitness_take_arrays
    take.restype, take.argtypes = ctypes.c_bool, [ctypes.c_void_p]
    return bool(take(_pointer_of(handler, _NAME)))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let the arrays that are made in the block have their data on the checked heap.

    As NumPy has it, that holds for the context of the block, not for other threads.
    """
    with _handler("heapwitness_array_handler") if engine() is not None else contextlib.nullcontext():
        yield


def fence(array: "numpy.ndarray[Any, Any]", *, start: bool = False) -> "numpy.ndarray[Any, Any]":
    """A copy of an array, the last byte of whose data lies right before a page that nothing can touch.

    The very store, or read, behind it is told with its line. In the main thread it raises `HeapCorruption` as soon as
    Python runs its own code again: the C code that stores cannot be left in the middle.

    Args:
        array: of any dtype; the copy has its shape and its order.
        start: guard what lies before its data instead.

    Returns:
        the copy; the array itself without an engine.

    Raises:
        HeapwitnessError: this system has no such pages, the array is too large for them, or there is no room left.
    """
    import numpy

    program = engine()
    if program is None:
        return array
    program.heapwitness_fence.restype = program.heapwitness_is_fenced.restype = ctypes.c_bool
    program.heapwitness_fence.argtypes = [ctypes.py_object]
    program.heapwitness_is_fenced.argtypes = [ctypes.c_void_p]
    findings()
    told_since()
    if not program.heapwitness_fence(_raise_found):
        raise HeapwitnessError("arrays cannot be fenced on this system.")
    with _handler("heapwitness_fence_start" if start else "heapwitness_fence_end"):
        copy = numpy.array(array, copy=True, order="K", subok=False)
    if not program.heapwitness_is_fenced(copy.ctypes.data):
        raise HeapwitnessError(f"an array of {copy.nbytes:,} bytes cannot be fenced: it is too large, or too many are.")
    return copy


def _raise_found() -> None:
    """Called by the engine when a fence was touched."""
    raise_found(findings())


def _table() -> Any:
    """NumPy's table of functions.

    Raises:
        HeapwitnessError: this NumPy is older than the interface.
    """
    import numpy

    if tuple(map(int, numpy.__version__.split(".")[:2])) < (1, 22):
        raise HeapwitnessError(f"NumPy {numpy.__version__} has no interface for the data of arrays; 1.22 has.")
    module = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
    return ctypes.cast(_pointer_of(module._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))


@contextlib.contextmanager
def _handler(name: str) -> Iterator[None]:
    """Let arrays be allocated by one of the engine's handlers in this context."""
    program = engine()
    assert program is not None
    address = ctypes.addressof(ctypes.c_char.in_dll(program, name))
    exchange = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table()[_SET])
    before = exchange(_new_capsule(address, _NAME, None))
    try:
        yield
    finally:
        exchange(before)
