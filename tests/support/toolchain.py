"""The firmware of `kernel.c`, built by the compilers that are here, and where its calls return to."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support import liteos

SOURCE = liteos.SAMPLE / "kernel.c"
OPTIONS = ("MEM_HEAD_BACKUP", "MEM_TASK_STAT", "MEM_RECORDINFO", "MEM_LEAKCHECK")
_FLAGS = [
    "-O2",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pie",
    "-fno-asynchronous-unwind-tables",
]
_LINK = ["-nostdlib", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,-e,reset", "-Wl,-Ttext=0", "-Wl,--build-id=none"]


@dataclass(frozen=True)
class Toolchain:
    """How code for a target is compiled, linked and taken apart."""

    compiler: tuple[str, ...]
    linker: tuple[str, ...]
    objdump: str
    width: int

    @property
    def is_here(self) -> bool:
        """Whether all of its programs are installed."""
        return all(map(shutil.which, (self.compiler[0], self.linker[0], self.objdump)))


_ARM, _ARM64 = ("arm-none-eabi-gcc", "-mcpu=cortex-a9"), ("aarch64-linux-gnu-gcc",)
TOOLCHAINS = {
    "host": Toolchain(("gcc", "-m64"), ("gcc",), "objdump", 64),
    "arm": Toolchain((*_ARM, "-marm"), _ARM, "arm-none-eabi-objdump", 32),
    "thumb": Toolchain((*_ARM, "-mthumb"), _ARM, "arm-none-eabi-objdump", 32),
    "aarch64": Toolchain(_ARM64, _ARM64, "aarch64-linux-gnu-objdump", 64),
    "clang": Toolchain(("clang", "--target=x86_64-linux-gnu"), ("gcc",), "objdump", 64),
    "clang-thumb": Toolchain(
        ("clang", "--target=armv7a-none-eabi", "-mthumb", "-mfloat-abi=soft"), _ARM, "arm-none-eabi-objdump", 32
    ),
    "clang-aarch64": Toolchain(("clang", "--target=aarch64-linux-gnu"), _ARM64, "aarch64-linux-gnu-objdump", 64),
}


def build(toolchain: Toolchain, folder: Path, *flags: str) -> Path:
    """The firmware, with the debug information that the flags ask for."""
    unit, elf = folder / "kernel.o", folder / "kernel.elf"
    include = () if "gcc" in toolchain.compiler[0] else ("-isystem", str(_headers(folder)))
    defines = [f"-DLOSCFG_{name}" for name in OPTIONS]
    _run([*toolchain.compiler, *_FLAGS, *include, *defines, *flags, "-c", str(SOURCE), "-o", str(unit)])
    _run([*toolchain.linker, *_LINK, *(("-s",) if "-s" in flags else ()), str(unit), "-o", str(elf)])
    return elf


def _headers(folder: Path) -> Path:
    """clang has no C library for bare targets; this is what the source needs of one."""
    place = folder / "include"
    place.mkdir(exist_ok=True)
    types = [
        f"typedef {base} int{bits}_t; typedef unsigned {base} uint{bits}_t;"
        for base, bits in (("short", 16), ("int", 32))
    ]
    (place / "stdint.h").write_text("\n".join((*types, "typedef __UINTPTR_TYPE__ uintptr_t;")) + "\n")
    return place


def returns(toolchain: Toolchain, elf: Path, function: str, callee: str) -> int:
    """Where the first call of `callee` in a function returns to, as a link register holds it."""
    text = _run([toolchain.objdump, "-d", "--no-show-raw-insn", str(elf)])
    body = text.split(f"<{function}>:\n")[1]
    lines = [line for line in body.splitlines() if ":\t" in line]
    number = next(
        number for number, line in enumerate(lines) if f"<{callee}>" in line and ("\tcall" in line or "\tbl" in line)
    )
    at = int(lines[number].split(":")[0], 16)
    size = 5 if toolchain.objdump == "objdump" else 4
    thumb = any("thumb" in flag for flag in toolchain.compiler)
    return at + size + thumb


def line_of(mark: str) -> int:
    """The line of the source that has a comment."""
    lines = SOURCE.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if f"/* {mark} */" in line)


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
