"""No false word about families where a library brings a C++ runtime of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest
from run_support import heapwitness_command, needs_engine

LIBRARY = """
#include <new>
extern "C" __attribute__((visibility("default"))) void *make_it() { return ::operator new(100); }
extern "C" __attribute__((visibility("default"))) void drop_it(void *p) { ::operator delete(p); }
"""

PROGRAM = """
#include <cstdio>
#include <new>
#include <unistd.h>
extern "C" void *make_it();
extern "C" void drop_it(void *);
int main(int count, char **words) {
    if (count > 1)
        unlink(words[1]);
    ::operator delete(make_it());
    drop_it(::operator new(50));
    std::puts("done");
}
"""

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def build(folder: Path, *options: str) -> Path:
    (folder / "own.cc").write_text(LIBRARY)
    (folder / "main.cc").write_text(PROGRAM)
    shared = ["g++", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "own.cc", "-o", "libown.so", *options]
    subprocess.run(shared, cwd=folder, check=True)
    subprocess.run(
        ["g++", "-O1", "main.cc", "-o", "main", "-L.", "-lown", "-Wl,-rpath,$ORIGIN"], cwd=folder, check=True
    )
    return folder / "main"


@needs_engine
@needs_gxx
@pytest.mark.parametrize(
    "options", [(), ("-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,-s")], ids=["shared", "own"]
)
def test_objects_handed_between_two_cxx_runtimes_are_no_mismatch(tmp_path: Path, options: tuple[str, ...]) -> None:
    program = build(tmp_path, *options)

    done = heapwitness_command("run", "--", program)

    assert done.stdout == "done\n"
    assert done.returncode == 0, done.stderr


@needs_engine
@needs_gxx
def test_a_runtime_whose_file_is_gone_is_looked_for_where_it_is_mapped(tmp_path: Path) -> None:
    program = build(tmp_path, "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,-s")

    done = heapwitness_command("run", "--", program, tmp_path / "libown.so")

    assert not (tmp_path / "libown.so").exists()
    assert done.stdout == "done\n"
    assert done.returncode == 0, done.stderr
