"""Which frame of a stack is told: the program's own one, whatever libraries, headers and interpreters are around it."""

import pytest

from heapwitness.findings.model import Frame
from heapwitness.report.frames import folded, named

PROGRAM, LIBRARY = "/home/me/build/server", "/opt/app/lib/libparse.so.1"
LIBC, CXX, PYTHON = (
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
    "/usr/bin/python3.11",
)
PACKAGES = "/home/me/.venv/lib/python3.12/site-packages"
SCIPY = f"{PACKAGES}/scipy/special/_specfun.cpython-312-x86_64-linux-gnu.so"
NUMPY = f"{PACKAGES}/numpy/_core/_multiarray_umath.cpython-312-x86_64-linux-gnu.so"
BLAS = f"{PACKAGES}/scipy.libs/libscipy_openblas-68440149.so"
HASHLIB = "/usr/lib/python3.11/lib-dynload/_sha3.cpython-311-x86_64-linux-gnu.so"
START = Frame(
    pc=90, module=LIBC, function="__libc_start_call_main", file="../sysdeps/nptl/libc_start_call_main.h", line=58
)


def c(
    function: str | None = None, module: str | None = PROGRAM, file: str | None = None, line: int | None = None
) -> Frame:
    return Frame(pc=1, module=module, offset=0x1139, function=function, file=file, line=line)


def python(function: str, file: str, line: int = 3) -> Frame:
    return Frame(pc=2, function=function, file=file, line=line, language="python")


OBJECT_H = c("Py_DECREF", SCIPY, "/opt/python/cp312/include/python3.12/object.h", 705)
EVALUATOR = c("_PyEval_EvalFrameDefault", PYTHON, "./Python/ceval.c", 3000)
SCRIPT = python("work", "/home/me/script.py", 12)

STACKS = {
    "own line before a library's": (
        (c("__strdup", LIBC, "./string/strdup.c", 42), c("copy", file="/src/names.c", line=7), START),
        "copy",
    ),
    "own line of a caller before own function without one": (
        (c("helper", LIBRARY), c("main", file="/src/main.c", line=7), START),
        "main",
    ),
    "own function when nothing has a line": ((c("make"), START), "make"),
    "module and offset of a stripped program before the C library's lines": ((c(), START, c("_start")), None),
    "an inlined template is not the program's own": (
        (
            c("std::__new_allocator<int>::allocate", file="/usr/include/c++/12/bits/new_allocator.h", line=137),
            c("Table::grow", file="/src/table.cc", line=30),
        ),
        "Table::grow",
    ),
    "a header of another compiler's": (
        (c("allocate", file="/opt/llvm/include/c++/v1/vector", line=9), c("grow", file="/src/table.h", line=3)),
        "grow",
    ),
    "a template without debugging information": (
        (
            c("void std::vector<app::Row, std::allocator<app::Row> >::_M_realloc_insert<app::Row>(app::Row&&)"),
            c("app::Table::add(app::Row)"),
        ),
        "app::Table::add(app::Row)",
    ),
    "a template's function that returns what is of the library": (
        (c("std::unique_ptr<int> app::make<int>(int)"), c("main")),
        "std::unique_ptr<int> app::make<int>(int)",
    ),
    "a line of the program's own that was put into a template's function": (
        (
            c("nanobind::detail::func_create<void>(int)::{lambda(void*)#1}::_FUN(void*)", file="/src/nb.cpp", line=13),
            c(
                "nanobind::detail::nb_func_vectorcall(_object*)",
                file=f"{PACKAGES}/nanobind/src/nb_func.cpp",
                line=1229,
            ),
            SCRIPT,
        ),
        "nanobind::detail::func_create<void>(int)::{lambda(void*)#1}::_FUN(void*)",
    ),
    "a template's function in its library's source or header": (
        (
            c("nanobind::detail::inst_dealloc(_object*)", file="/src/ext/nanobind/src/nb_type.cpp", line=476),
            c("Accumulator", file="/src/ext/nanobind/include/nanobind/nb_class.h", line=108),
            c("std::__once_callable()", file="../../libstdc++-v3/src/c++11/mutex.cc", line=7),
            SCRIPT,
        ),
        "work",
    ),
    "the program's own operator new": (
        (c("operator new(unsigned long)", file="/src/new.cc", line=4), c("make", file="/src/make.cc", line=8)),
        "make",
    ),
    "an operator of a class": (
        (c("operator new(unsigned long)", CXX), c("app::operator+(A, A)")),
        "app::operator+(A, A)",
    ),
    "a function in no namespace": (
        (c("std::string::_M_create(unsigned long&)", CXX), c("(anonymous namespace)::load(int)")),
        "(anonymous namespace)::load(int)",
    ),
    "Rust's own library": (
        (
            c("alloc::raw_vec::finish_grow", file="/rustc/90b3/library/alloc/src/raw_vec.rs", line=5),
            c("app::read", file="src/main.rs", line=8),
        ),
        "app::read",
    ),
    "a Python line before functions without a line": ((c("default_calloc", NUMPY), EVALUATOR, SCRIPT), "work"),
    "a Python line before a header of CPython": (
        (c("_Py_NewReference", PYTHON, "./Include/object.h", 9), SCRIPT),
        "work",
    ),
    "the Python line that own code called back": (
        (c("memcpy", "/v/lib/python3.12/site-packages/_cffi_backend.so"), SCRIPT, c("each", SCIPY, "/src/each.c", 9)),
        "work",
    ),
    "own line that a Python line calls before what called that": (
        (c("fill", SCIPY, "/src/fill.c", 9), SCRIPT, c("each", SCIPY, "/src/each.c", 9)),
        "fill",
    ),
    "own line before a package's Python line that it called": (
        (python("obl", "/v/lib/python3.11/site-packages/x.py"), c("each", SCIPY, "/src/each.c", 9), SCRIPT),
        "each",
    ),
    "the Python line that had Numba make an array": (
        (c("NRT_Allocate", f"{PACKAGES}/numba/core/runtime/_nrt_python.so", "numba/core/runtime/nrt.cpp", 528), SCRIPT),
        "work",
    ),
    "a package that is called nearly as Numba": (
        (c("fill", f"{PACKAGES}/mynumba/fill.so", "src/fill.c", 9), SCRIPT),
        "fill",
    ),
    "own line before a Python line": ((c("fill", SCIPY, "/src/fill.c", 9), SCRIPT), "fill"),
    "a header of CPython in an extension is not the extension's own": ((OBJECT_H, SCRIPT), "work"),
    "the user's Python line before that of a standard module": (
        (python("run", "/usr/lib/python3.11/threading.py"), SCRIPT),
        "work",
    ),
    "a standard module's Python line when there is no other": (
        (python("run", "/usr/lib/python3.11/threading.py"), EVALUATOR),
        "run",
    ),
    "the user's Python line before that of a package": (
        (python("obl", "/v/lib/python3.11/site-packages/scipy/special/_basic.py"), SCRIPT),
        "work",
    ),
    "a package's Python line before that of a standard module": (
        (
            python("run", "/usr/lib/python3.11/threading.py"),
            python("obl", "/v/lib/python3.11/site-packages/scipy/special/_basic.py"),
        ),
        "obl",
    ),
    "the extension that asked NumPy for memory": (
        (c("default_calloc", NUMPY), c("PyArray_Zeros", NUMPY), c("specfun_segv", SCIPY), EVALUATOR, START),
        "specfun_segv",
    ),
    "a stripped extension before NumPy": ((c("default_malloc", NUMPY), c(None, SCIPY), EVALUATOR), None),
    "NumPy's function before its wrapper and before CPython": (
        (c("default_calloc", NUMPY), c("PyArray_Zeros", NUMPY), EVALUATOR),
        "PyArray_Zeros",
    ),
    "an extension's function before its helpers": (
        (c("__Pyx_PyObject_Call", SCIPY), c("__pyx_pw_5scipy_1f", SCIPY), EVALUATOR),
        "__pyx_pw_5scipy_1f",
    ),
    "an extension before a library that its package brings": (
        (c("blas_memory_alloc", BLAS), c("f2py_rout_dgesv", SCIPY), EVALUATOR),
        "f2py_rout_dgesv",
    ),
    "CPython's own extension before the C library": ((c("sha3_update", HASHLIB), EVALUATOR, START), "sha3_update"),
    "CPython's own extension after the user's": (
        (c("py_new", HASHLIB), c("digest_all", LIBRARY), EVALUATOR),
        "digest_all",
    ),
    "what an interpreter does rather than how it allocates": (
        (
            c("PyMem_RawMalloc", PYTHON, "./Objects/obmalloc.c", 8),
            c("_PyObject_GC_New", PYTHON),
            c("list_append", PYTHON),
        ),
        "list_append",
    ),
    "an interpreter inside of a program": (
        (c("list_append", "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"), c("embed", PROGRAM), START),
        "embed",
    ),
    "a program below a system directory is a program": (
        (c("xmalloc", "/usr/lib/git-core/git"), c("__libc_start_main", LIBC)),
        "xmalloc",
    ),
    "a library of the system before code without a file": ((Frame(pc=0x7F00), c("g_malloc", LIBC)), "g_malloc"),
    "a library of the user's, wherever it was installed": (
        (c("deep", "/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0"), c("parse", "/usr/local/lib/libparse.so")),
        "parse",
    ),
    "code without a file before what starts a thread": (
        (Frame(pc=0x7F00), c("start_thread", LIBC), c("clone3", LIBC)),
        None,
    ),
}


@pytest.mark.parametrize(("stack", "function"), STACKS.values(), ids=STACKS)
def test_the_frame_that_is_told(stack: tuple[Frame, ...], function: str | None) -> None:
    frame = named(stack)

    assert frame is not None
    assert frame.function == function


def test_a_stripped_extension_is_told_by_its_place() -> None:
    frame = named((c("default_malloc", NUMPY), c(None, SCIPY), EVALUATOR, START))

    assert frame is not None
    assert (frame.module, frame.offset) == (SCIPY, 0x1139)


def test_of_no_frames_none_is_told() -> None:
    assert named(()) is None


def test_frames_of_the_interpreter_are_left_out_between_python_frames() -> None:
    inside = c("_PyEval_Vector", PYTHON, "Python/ceval.c", 1)
    stack = (inside, SCRIPT, inside, inside, c("fill", SCIPY), inside, SCRIPT, inside, inside, inside)

    shown = [row if isinstance(row, int) else row[0] for row in folded(stack)]

    assert shown == [0, 1, 2, 4, 5, 6, 3]


def test_stack_without_python_frames_is_shown_whole() -> None:
    inside = c("gc_collect_main", PYTHON, "Python/gc.c", 1)

    assert list(folded((inside, inside, START))) == [(0, inside), (1, inside), (2, START)]
