"""C++ names as written in the source, by the C++ library that is installed anyway, and Cython's."""

import ctypes
import functools
import re
from typing import Any

from heapwitness.findings.cython import source_name

_LIBRARIES = ("libstdc++.so.6", "libc++abi.so.1")
# Deeply nested forged names take the demangler exponential time or much stack.
_LENGTH_LIMIT = 1024
_TAG = re.compile(r"\[abi:[^\[\]]{0,256}\]")
# Of what Numba puts around a function: cpython, cfunc, __ufunc__, __gufunc__.
_AROUND = re.compile(r"^\w{1,32}\.(?=_Z)")


@functools.cache
def _demangler() -> Any:
    """The library's `__cxa_demangle`; None where no C++ library is installed."""
    for library in _LIBRARIES:
        try:
            function = ctypes.CDLL(library).__cxa_demangle
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
        return function
    return None


@functools.cache
def _release() -> Any:
    function = ctypes.CDLL(None).free
    function.argtypes = [ctypes.c_void_p]
    function.restype = None
    return function


@functools.lru_cache(maxsize=4096)
def demangle(name: str) -> str:
    """The source's spelling of a linker's name; the name itself when it is neither C++'s nor Cython's."""
    if name.startswith("__pyx_"):
        return source_name(name)
    demangler = _demangler() if name.startswith("_Z") and len(name) <= _LENGTH_LIMIT else None
    if demangler is None:
        return name
    status = ctypes.c_int(-1)
    address = demangler(name.encode("utf-8", "replace"), None, None, ctypes.byref(status))
    if not address:
        return name
    try:
        return ctypes.string_at(address).decode("utf-8", "replace") if status.value == 0 else name
    finally:
        _release()(address)


def plain(name: str) -> str:
    """The same of a function that a compiler made at run time, without what it adds to tell versions of it apart, and
    what it put around it."""
    return _TAG.sub("", demangle(_AROUND.sub("", name)))
