"""The core compiles for machines without an operating system, runs clean under the sanitizers, and
links into other projects."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SOURCES = sorted((NATIVE / "core").glob("*.c"))
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE / 'core'}"]
FREESTANDING = ["-ffreestanding", "-nostdlib", "-fno-pic"]
# What GCC may ask of any target without being told: docs of -ffreestanding, and libgcc.
COMPILER_OWN = re.compile(r"mem(cpy|move|set|cmp)|__\w+")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def undefined(directory: Path, compiler: str, *options: str) -> list[str]:
    """Symbols that the whole core, compiled with these options, leaves to others."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    linked = directory / "core.o"
    run(compiler, *STRICT, *FREESTANDING, *options, *SOURCES, "-Wl,-r", "-o", linked)
    nm = compiler.replace("gcc", "nm")
    return run(nm, "-u", linked).replace("U ", "").split()


@pytest.mark.parametrize("options", ["-m64 -O0", "-m64 -O3", "-m64 -Os", "-m32 -O0", "-m32 -O2"])
def test_the_core_needs_nothing_on_x86(tmp_path: Path, options: str) -> None:
    assert undefined(tmp_path, "gcc", "-no-pie", *options.split()) == []


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m33"])
def test_the_core_needs_nothing_on_cortex_m(tmp_path: Path, cpu: str) -> None:
    assert undefined(tmp_path, "arm-none-eabi-gcc", "-mthumb", f"-mcpu={cpu}", "-O2") == []


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m3"])
def test_the_core_needs_only_what_the_compiler_brings_when_it_is_small(tmp_path: Path, cpu: str) -> None:
    names = undefined(tmp_path, "arm-none-eabi-gcc", "-mthumb", f"-mcpu={cpu}", "-Os")
    assert [name for name in names if not COMPILER_OWN.fullmatch(name)] == []


def test_the_core_has_no_writable_globals(tmp_path: Path) -> None:
    undefined(tmp_path, "gcc", "-no-pie", "-O2")
    data = [line for line in run("nm", tmp_path / "core.o").splitlines() if re.search(r" [bBdDC] ", line)]
    assert data == []


@pytest.mark.parametrize("kind", ["-m64", "-m32", "-DHW_FIXED_GRANULE_LOG2=4"])
def test_random_operations_and_damage_are_clean_under_the_sanitizers(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "stress"
    # Short stretches: so that small pools, too, are walked in several at once.
    sanitize = [
        kind,
        "-DHW_STRETCH=64",
        "-DHW_STRETCH_OF_PART=64",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    probe = tmp_path / "probe.c"
    probe.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
    if subprocess.run(["gcc", *sanitize, probe, "-o", program], capture_output=True).returncode:
        pytest.skip("needs gcc's sanitizers, and libc, for " + kind)
    run("gcc", *STRICT, *sanitize, "-O3", "-g", *SOURCES, NATIVE / "tests/core/stress.c", "-o", program)
    run(program, 20240611, 800)
    of_runs = [source for source in SOURCES if source.name.startswith("run")]
    run("gcc", *STRICT, *sanitize, "-O1", "-g", *of_runs, NATIVE / "tests/core/runs.c", "-o", program)
    run(program, 20240611, 1500)


def test_another_project_takes_the_core_with_add_subdirectory(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(firmware C)\n"
        f"add_subdirectory({NATIVE} heapwitness)\n"
        "add_executable(firmware main.c)\ntarget_link_libraries(firmware PRIVATE heapwitness::core)\n"
    )
    (tmp_path / "main.c").write_text(
        '#include "heapwitness/core.h"\n'
        "static _Alignas(16) unsigned char room[4096];\n"
        "int main(void)\n{\n"
        "    const uint32_t secret[4] = {1, 2, 3, 4};\n"
        "    hw_fault fault;\n"
        "    hw_pool *pool = hw_pool_init(room, sizeof room, 3, secret);\n"
        "    return !(pool && hw_allocate(pool, 100, 8, HW_MALLOC, 0, &fault));\n}\n"
    )
    run(cmake, "-S", tmp_path, "-B", tmp_path / "build", "-DCMAKE_BUILD_TYPE=Debug")
    run(cmake, "--build", tmp_path / "build")
    run(tmp_path / "build/firmware")
    assert not list((tmp_path / "build").rglob("*.so"))
