"""Which frame of a stack is told to a reader who is told only one.

The program's own code with a line comes first, then a Python line, then own code without a line; what
others wrote comes after that: libraries that packages bring, glue that every program has in it (templates,
operator new, allocation wrappers), interpreters, the system's libraries, code without a file, and what only starts a
program. Among equals it is the innermost.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum, auto

from heapwitness.findings.model import Frame


class _Home(Enum):
    """Whose a module is. `FOUNDATION`: what other packages build on."""

    OWN = auto()
    FOUNDATION = auto()
    INTERPRETER = auto()
    SYSTEM = auto()
    NONE = auto()


class _Rank(IntEnum):
    """How much a frame says; the lowest says most."""

    OWN_LINE = auto()
    PYTHON = auto()
    PYTHON_PACKAGE = auto()
    PYTHON_LIBRARY = auto()
    OWN_FUNCTION = auto()
    OWN_PLACE = auto()
    FOUNDATION = auto()
    GLUE = auto()
    INTERPRETER = auto()
    INTERPRETER_GLUE = auto()
    SYSTEM = auto()
    BARE = auto()
    STARTUP = auto()


_OTHERS: dict[_Home, tuple[_Rank, _Rank]] = {
    _Home.FOUNDATION: (_Rank.FOUNDATION, _Rank.GLUE),
    _Home.INTERPRETER: (_Rank.INTERPRETER, _Rank.INTERPRETER_GLUE),
    _Home.SYSTEM: (_Rank.SYSTEM, _Rank.SYSTEM),
}
"""Ranks of code that is not the program's own: what is no glue, and what is."""

_SYSTEM_DIRECTORIES = ("/lib/", "/lib32/", "/lib64/", "/usr/lib/", "/usr/lib32/", "/usr/lib64/", "/usr/libexec/")
_SYSTEM_NAMES = (
    *(
        "libheapwitness_preload.so",
        "libc.so",
        "libc-",
        "libc.musl",
        "ld-linux",
        "ld-musl",
        "libstdc++",
        "libc++",
        "libgcc_s",
        "libpthread",
        "libm.so",
    ),
)
_INTERPRETER = re.compile(
    r"(lib)?(python|pypy|perl|ruby|node(js)?|php|lua(jit)?|java|jvm|julia)(-?\d[\d.]*[a-z]*)?(\.so[\d.]*)?"
)
_PACKAGES = re.compile(r"/(site-packages|dist-packages|node_modules|perl5|vendor_ruby|gems)/")
# What wheels bring along, NumPy's core, and what Numba's arrays come by: most extensions allocate by these.
_FOUNDATION = re.compile(r"(\.libs|\.dylibs|numpy/_?core|/numba)/|/lib[^/]*\.so[\d.]*$")
_SHARED = re.compile(r"\.so(\.|$)")

_HEADERS = re.compile(
    r"^(/usr/include/|/usr/lib/gcc|/usr/lib/llvm|/rustc/)|/include/(c\+\+|python[23]|numpy|pybind11|nanobind)[/.\d]"
    r"|(^|/)Include/(\w+/)?\w+\.h$|/numpy/_?core/include/"
)
_GLUE = re.compile(
    r"(std|__gnu_cxx|__cxxabiv1|pybind11|nanobind|alloc)::.*|operator (new|delete)\b.*|__(Pyx|pyx_tp|rust|rdl|rg)_\w+"
    r"|(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|reallocarray)"
    r"|_?Py(Mem|Object|DataMem)_\w*(alloc|Free|Realloc|NEW|FREE|Resize)\w*|_Py(Mem|Object)_\w+"
    r"|_?Py_(New|X?(IN|DE)C?REF|Dealloc)\w*|_?PyType_(Generic)?Alloc\w*|_?PyObject_(GC_)?New(Var)?"
    r"|default_(malloc|calloc|realloc|free)|_?npy_(alloc|free)_cache\w*"
)
# Of the runtime's functions that only a name tells, those into which a compiler puts what they are given to call.
_TEMPLATE = re.compile(r"(std|__gnu_cxx|pybind11|nanobind)::.*")
_SOURCE = re.compile(r"\.(cpp|cc|cxx|C|c\+\+|cu)$")
_OF_TEMPLATES = re.compile(r"(^|/)(pybind11|nanobind|libstdc\+\+-v3|libcxx)/")
_STARTUP = re.compile(
    r"_start|_dl_start_user|__libc_start_(call_)?main(_impl)?|__libc_csu_\w+|start_thread|(__)?clone3?|thread_start"
)
_LONGEST = 1000
_OURS = re.compile(r"/heapwitness/(inside|numpy|pool)\.py$")
_STANDARD_PYTHON = re.compile(r"^<frozen |/python[23]\.\d+/(?!(site|dist)-packages/)")


def named(stack: Sequence[Frame]) -> Frame | None:
    """The frame of a stack, innermost first, that says most to a reader; None for an empty one. Code of the program's
    own that called its Python code back, as a library does of ctypes or cffi, did not do what that does."""
    inner = next((number for number, frame in enumerate(stack) if _rank(frame) is _Rank.PYTHON), len(stack))
    return min(stack[: inner + 1], key=_rank, default=None)


def folded(stack: Sequence[Frame]) -> Iterator[tuple[int, Frame] | int]:
    """A stack as it is shown: frames with their numbers, and how many frames of the interpreter are left out.

    Where there are Python frames, the interpreter's own between and behind them say nothing more. A single one, and the
    innermost of all, are shown.
    """
    python = any(frame.language == "python" for frame in stack)
    kinds = itertools.groupby(enumerate(stack), lambda one: python and one[0] > 0 and _is_interpreter(one[1]))
    for is_interpreter, run in kinds:
        frames = list(run)
        if is_interpreter and len(frames) > 1:
            yield len(frames)
        else:
            yield from frames


def _is_interpreter(frame: Frame) -> bool:
    return frame.language == "c" and _home(frame) is _Home.INTERPRETER


def _rank(frame: Frame) -> _Rank:
    if frame.language == "python":
        return _python_rank(frame.file or "")
    if frame.function and _STARTUP.fullmatch(frame.function):
        return _Rank.STARTUP
    home = _home(frame)
    if home is _Home.NONE:
        return _Rank.BARE
    glue = _is_glue(frame)
    if home is not _Home.OWN:
        return _OTHERS[home][glue]
    if glue:
        return _Rank.GLUE
    if frame.file and frame.line is not None:
        return _Rank.OWN_LINE
    return _Rank.OWN_FUNCTION if frame.function else _Rank.OWN_PLACE


def _python_rank(file: str) -> _Rank:
    if _STANDARD_PYTHON.search(file) or _OURS.search(file):
        return _Rank.PYTHON_LIBRARY
    return _Rank.PYTHON_PACKAGE if _PACKAGES.search(file) else _Rank.PYTHON


def _home(frame: Frame) -> _Home:
    path = frame.module
    if path is None:
        return _Home.OWN if frame.function or frame.file else _Home.NONE
    name = os.path.basename(path)
    if path.startswith("["):
        return _Home.SYSTEM
    if "/lib-dynload/" in path or _INTERPRETER.fullmatch(name):
        return _Home.INTERPRETER
    packaged = _PACKAGES.search(path)
    if packaged:
        return _Home.FOUNDATION if _FOUNDATION.search(path, packaged.end() - 1) else _Home.OWN
    # An executable below one of those directories is a program all the same.
    shared = _SHARED.search(name) is not None
    system = shared and (path.startswith(_SYSTEM_DIRECTORIES) or name.startswith(_SYSTEM_NAMES))
    return _Home.SYSTEM if system else _Home.OWN


def _is_glue(frame: Frame) -> bool:
    """Whether a frame's code is in every program: written in a header that comes with compilers and
    interpreters, or by its name a runtime's. A line of a source file is the program's, whichever template it was put
    into."""
    file = frame.file or ""
    if _HEADERS.search(file):
        return True
    name = qualified(frame.function or "")
    if frame.line is not None and _SOURCE.search(file) and not _OF_TEMPLATES.search(file) and _TEMPLATE.fullmatch(name):
        return False
    return _GLUE.fullmatch(name) is not None


def qualified(function: str) -> str:
    """A function's name with its scopes, without arguments, template arguments and what it returns."""
    plain: list[str] = []
    depth = 0
    for character in function[:_LONGEST].replace("(anonymous namespace)", "{anonymous}"):
        if character == "<" and not "".join(plain[-8:]).endswith("operator"):
            depth += 1
        elif character == ">" and depth:
            depth -= 1
        elif character == "(" and not depth and plain:
            break
        elif not depth:
            plain.append(character)
    name = "".join(plain)
    at = name.find("operator ")
    start = name.rfind(" ", 0, at if at >= 0 else len(name))
    return name[start + 1 :]


def is_own(frame: Frame) -> bool:
    """Whether a frame is of the program's own code, as far as that can be told."""
    return _rank(frame) in (_Rank.OWN_LINE, _Rank.PYTHON, _Rank.OWN_FUNCTION, _Rank.OWN_PLACE)


def is_packaged(frame: Frame) -> bool:
    """Whether a frame is of a file that a package brought."""
    return frame.module is not None and _PACKAGES.search(frame.module) is not None


def is_foreign(frame: Frame) -> bool:
    """Whether a frame says nothing to the author of a Python program: the interpreter's, the system's, glue."""
    return _rank(frame) > _Rank.OWN_PLACE


def is_of_others(frame: Frame) -> bool:
    """Whether a frame is surely of code that others wrote; an address of which nothing is known is not."""
    return not is_own(frame) and _rank(frame) is not _Rank.BARE
