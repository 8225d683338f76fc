"""A firmware that is built here, and a dump of a device that runs it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from heapwitness.liteos import Config, Pool
from support import liteos

SOURCE = liteos.SAMPLE / "firmware.c"
CONFIG = Config(width=64, debug=True, task_stat=True, head_backup=True, recordinfo=True, leakcheck=True)
OPTIONS = ("MEM_HEAD_BACKUP", "MEM_TASK_STAT", "MEM_RECORDINFO", "MEM_LEAKCHECK")
TASKS_AT = 0x30000000
NAMES = ("idle", "network", "shell")


@dataclass(frozen=True)
class Device:
    """A firmware, an Intel HEX dump with a damaged pool and the tasks, and the block that overran."""

    elf: Path
    dump: Path
    culprit: int


def build(folder: Path, *flags: str) -> Path:
    """The firmware, linked with debug information."""
    elf = folder / "firmware.elf"
    command = ["gcc", "-m64", "-g", "-O0", "-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-Wl,-e,0"]
    command += ["-fcf-protection=none", "-Wl,--build-id=none", *(f"-DLOSCFG_{name}" for name in OPTIONS), *flags]
    subprocess.run([*command, str(SOURCE), "-o", str(elf)], check=True)
    return elf


def call_after(elf: Path, function: str) -> int:
    """The return address of the first call in a function."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", str(elf)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line for line in text.splitlines() if ":\t" in line]
    number = next(number for number, line in enumerate(lines) if "\tcall" in line)
    return int(lines[number + 1].split(":")[0], 16)


def symbol(elf: Path, name: str) -> int:
    """A symbol's address."""
    lines = subprocess.run(["nm", str(elf)], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.split()[-1] == name)


def device(folder: Path) -> Device:
    """Build the firmware and dump a device on which a block of task `network` overran the next one."""
    elf = build(folder)
    registers = call_after(elf, "new_packet"), call_after(elf, "network_task"), 0
    buffer = bytearray(16384)
    pool = Pool.init(buffer, liteos.POOL_ADDRESS, CONFIG, link_registers=lambda: registers, task=0)
    pool.task = 1
    culprit, victim = pool.alloc(128), pool.alloc(64)
    assert culprit is not None and victim is not None
    end = culprit + 128 - liteos.POOL_ADDRESS
    buffer[end : end + 12] = b"GET /index.h"
    memory = [(liteos.POOL_ADDRESS, bytes(buffer)), (TASKS_AT, _tasks())]
    memory.append((symbol(elf, "g_taskCBArray"), TASKS_AT.to_bytes(8, "little")))
    dump = folder / "dump.hex"
    dump.write_text(intel_hex(sorted(memory)))
    return Device(elf, dump, culprit)


def _tasks() -> bytes:
    out = b""
    for number, name in enumerate(NAMES):
        out += bytes(12) + number.to_bytes(4, "little") + name.encode().ljust(32, b"\0")
    return out


def intel_hex(memory: list[tuple[int, bytes]]) -> str:
    """Bytes by address as Intel HEX."""
    lines: list[str] = []
    for base, data in memory:
        for at in range(0, len(data), 16):
            if at % 65536 == 0 or (base + at) % 65536 < 16:
                lines.append(_line(0, 4, (base + at >> 16).to_bytes(2, "big")))
            lines.append(_line(base + at & 0xFFFF, 0, data[at : at + 16]))
    return "".join(f"{line}\n" for line in (*lines, ":00000001FF"))


def _line(address: int, kind: int, data: bytes) -> str:
    raw = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return f":{(raw + bytes([-sum(raw) & 0xFF])).hex().upper()}"
