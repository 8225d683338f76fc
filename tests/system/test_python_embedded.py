"""Programs that load a libpython later: blocks have the Python lines that allocated them."""

import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

EMBEDS = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    (void)argc;
    for (int turn = 0; turn < 2; turn++) {
        void *library = dlopen(argv[1], RTLD_NOW | (strcmp(argv[2], "local") ? RTLD_GLOBAL : RTLD_LOCAL));
        if (!library)
            return 3;
        void (*begin)(int) = (void (*)(int))dlsym(library, "Py_InitializeEx");
        int (*run)(const char *) = (int (*)(const char *))dlsym(library, "PyRun_SimpleString");
        int (*end)(void) = (int (*)(void))dlsym(library, "Py_FinalizeEx");
        if (turn == 0) {
            begin(0);
            run(argv[3]);
            end();
        }
        dlclose(library);
        for (int i = 0; i < 1000; i++)
            free(malloc((size_t)i));
    }
    puts("done");
    return 0;
}
"""


def _library(python: Path) -> tuple[str, str]:
    """Where this interpreter's library is, and its home; it is no test where Python was built without one."""
    asks = "import sys, sysconfig; print(*map(sysconfig.get_config_var, ['LIBDIR', 'INSTSONAME']), sys.base_prefix)"
    folder, name, home = subprocess.run([python, "-c", asks], capture_output=True, text=True, check=True).stdout.split()
    if not (Path(folder) / name).is_file() or not name.startswith("libpython3"):
        pytest.skip("this interpreter has no library of its own")
    return str(Path(folder) / name), home


def _with_home(home: str) -> tuple[str, ...]:
    """For the program alone: heapwitness runs in another Python."""
    return "env", "-u", "PYTHONPATH", f"PYTHONHOME={home}"


@each_python
def test_lines_are_known_of_an_interpreter_that_the_program_loads(python: Path) -> None:
    library, home = _library(python)
    script = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "def make():\n"
        "    return libc.malloc(24)\n"
        "ctypes.memset(make() + 24, 1, 3)\n"
    )

    result = heapwitness_run(*_with_home(home), compiled(EMBEDS), library, "global", script)

    assert (result.status, result.stdout) == (FOUND, "done\n")
    (finding,) = result.findings
    lines = [one for one in finding["culprit"]["allocated"]["stack"] if one["language"] == "python"]
    assert [(one["function"], one["line"]) for one in lines][:1] == [("make", 5)]


@each_python
@pytest.mark.parametrize("stacks", ["fast", "full"])
def test_program_that_closes_the_library_that_it_loaded_is_clean(python: Path, stacks: str) -> None:
    library, home = _library(python)
    script = "kept = [str(number) for number in range(1000)]"

    result = heapwitness_run(
        *_with_home(home), compiled(EMBEDS), library, "local", script, options=("--stacks", stacks)
    )

    assert (result.status, result.stdout) == (0, "done\n")
    assert not result.findings
