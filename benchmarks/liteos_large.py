"""How long `heapwitness inspect` takes for a large dump, and how much memory.

    python benchmarks/liteos_large.py [FOLDER]

Makes dumps of 256 MiB in the folder (else in one that is removed again): a pool of 16 MiB with 20,000 nodes
amid zero bytes, bytes at random, and bytes of this machine's programs, as an ELF core and as a raw image; and one
with a pool of nearly 256 MiB. Each is read with a configuration, guessed, and, where arm-none-eabi-gcc is installed,
with a firmware. A row has the least time of three runs in seconds, by the clock and by the processor, and
the most memory that was resident.
"""

import multiprocessing
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from heapwitness.liteos import Config, Pool

SIZE = 256 << 20
ADDRESS = 0x50000
RUNS = 3
CONFIG = Config(width=32, debug=True, head_backup=True, task_stat=True, mul_pool=True)
OPTIONS = ("MEM_HEAD_BACKUP", "MEM_TASK_STAT", "MEM_MUL_POOL")
SOURCE = Path(__file__).parent.parent / "tests/data/liteos/kernel.c"
PROGRAMS = (Path(sys.executable).resolve(), Path("/usr/lib/x86_64-linux-gnu/libc.so.6"), Path("/bin/bash"))


def pool(buffer: memoryview) -> None:
    """Fill a buffer with a pool that has been in use."""
    made = Pool.init(buffer, ADDRESS, CONFIG, faithful=True)
    chosen = random.Random(1)
    blocks: list[int | None] = []
    for number in range(30_000):
        blocks.append(made.alloc(chosen.choice((16, 40, 100, 500))))
        if number % 3 == 0:
            made.free(blocks.pop(chosen.randrange(len(blocks))))


def surroundings(kind: str) -> bytearray:
    """256 MiB of a kind of bytes."""
    if kind == "zero":
        return bytearray(SIZE)
    if kind == "random":
        chosen = random.Random(1)
        return bytearray(b"".join(chosen.randbytes(1 << 20) for _ in range(SIZE >> 20)))
    code = b"".join(path.read_bytes()[4096:] for path in PROGRAMS if path.is_file())
    return bytearray((code * (SIZE // len(code) + 1))[:SIZE])


def dumps(folder: Path) -> Iterator[Path]:
    """Write each dump and give its path."""
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 4, 40, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    header += struct.pack("<IIIIIIII", 1, 4096, 0, 0, SIZE, SIZE, 6, 4)
    for kind, size in (("zero", 16 << 20), ("random", 16 << 20), ("code", 16 << 20), ("whole", SIZE - ADDRESS)):
        for name, before in ((f"{kind}.core", header.ljust(4096, b"\0")), (f"{kind}.raw", b"")):
            path = folder / name
            # Memory of this process would count as a child's until that one has begun.
            writer = multiprocessing.Process(target=write, args=(path, before, kind, size))
            writer.start()
            writer.join()
            yield path
            path.unlink()


def write(path: Path, before: bytes, kind: str, size: int) -> None:
    """Write one dump: what stands before the memory in the file, and the memory with a pool of a size."""
    memory = surroundings("random" if kind == "whole" else kind)
    with memoryview(memory)[ADDRESS : ADDRESS + size] as part:
        pool(part)
    with path.open("wb") as file:
        file.write(before)
        file.write(memory)


def firmware(folder: Path) -> Path | None:
    """A firmware with the same heap, None without a compiler."""
    compiler = shutil.which("arm-none-eabi-gcc")
    if compiler is None:
        return None
    elf = folder / "kernel.elf"
    flags = ["-gdwarf-2", "-O2", "-mcpu=cortex-a9", "-ffreestanding", "-ffunction-sections", "-nostdlib"]
    defines = [f"-DLOSCFG_{name}" for name in OPTIONS]
    subprocess.run([compiler, *flags, *defines, "-Wl,-e,reset", str(SOURCE), "-o", str(elf)], check=True)
    return elf


def measure(arguments: list[str]) -> tuple[float, float, int]:
    """Seconds by the clock, seconds by the processor, and kB resident at most, of the best run of some."""
    best = (float("inf"), 0.0, 0)
    for _ in range(RUNS):
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "heapwitness", "inspect", *arguments], stdout=subprocess.DEVNULL
        )
        _, _, used = os.wait4(child.pid, 0)
        best = min(best, (time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss))
    return best


def main(folder: Path) -> None:
    """Measure every dump in every way."""
    config = folder / "kernel.config"
    config.write_text("".join(f"LOSCFG_{name}=y\n" for name in ("DEBUG_VERSION", "MEM_DEBUG", *OPTIONS)))
    ways = {"config": ["--config", str(config)], "guessed": []}
    elf = firmware(folder)
    if elf is not None:
        ways["firmware"] = ["--elf", str(elf)]
    print(f"{'dump':<12} {'told by':<9} {'clock':>7} {'processor':>10} {'resident':>9}")
    for path in dumps(folder):
        for way, options in ways.items():
            clock, processor, resident = measure([str(path), *options])
            print(f"{path.name:<12} {way:<9} {clock:5.2f} s {processor:8.2f} s {resident >> 10:5} MiB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
