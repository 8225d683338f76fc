"""C++ names as written in the source, by the C++ library that is installed anyway."""

import ctypes
import functools
from collections.abc import Callable

_LIBRARIES = ("libstdc++.so.6", "libc++abi.so.1")
# Deeply nested forged names take the demangler exponential time or much stack.
_LENGTH_LIMIT = 1024


@functools.cache
def _demangler() -> Callable[[bytes], bytes | None] | None:
    for library in _LIBRARIES:
        try:
            loaded = ctypes.CDLL(library)
            function = loaded.__cxa_demangle
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
        release = ctypes.CDLL(None).free
        release.argtypes = [ctypes.c_void_p]
        release.restype = None

        def demangle_bytes(name: bytes) -> bytes | None:
            status = ctypes.c_int(-1)
            address = function(name, None, None, ctypes.byref(status))
            if not address:
                return None
            try:
                return ctypes.string_at(address) if status.value == 0 else None
            finally:
                release(address)

        return demangle_bytes
    return None


@functools.lru_cache(maxsize=4096)
def demangle(name: str) -> str:
    """The source's spelling of a linker's name; the name itself when it is not a C++ one."""
    if not name.startswith("_Z") or len(name) > _LENGTH_LIMIT:
        return name
    demangler = _demangler()
    if demangler is None:
        return name
    spelled = demangler(name.encode("utf-8", "replace"))
    return spelled.decode("utf-8", "replace") if spelled else name
