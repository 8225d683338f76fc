"""What the fuzzers begin with, as they hardly come past the first header else: pools that programs used, healthy and
damaged, and a few files of each format."""

import random
import struct
import subprocess
import tempfile
from pathlib import Path

from heapwitness.pool import Pool

SIZE = 4096
_SECRET = (1, 2, 3, 4)
_ANSWERS = 10
"""Bytes at an input's end that inputs.py takes for the event."""


def write(target: str, directory: Path) -> None:
    """Some files into a directory, of what a target of inputs.py or files.py reads; none for events and records."""
    texts = {"elf": _elves, "links": _links, "maps": _maps, "configs": _configs, "images": _images}
    if target == "pools":
        _pools(directory)
    elif target == "runs":
        _runs(directory)
    elif target in texts:
        for number, data in enumerate(texts[target]()):
            (directory / str(number)).write_bytes(data)


def _elves() -> list[bytes]:
    """Libraries without and with a debug link, and an object, from the class byte on."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        source, file = Path(name, "a.c"), Path(name, "a.so")
        source.write_text("int f(int x) { return x + 1; }\nint g(int x) { return f(x) * 2; }\n")
        for options in ("-shared -fPIC -nostdlib -s", "-shared -fPIC -nostdlib -g -gz", "-c", "-c -m32"):
            command = ["gcc", "-O1", "-Wl,-z,noseparate-code", *options.split(), "-o", str(file), str(source)]
            if subprocess.run(command, capture_output=True).returncode == 0:
                found.append(file.read_bytes())
        subprocess.run(["objcopy", "--strip-debug", f"--add-gnu-debuglink={source}", file], capture_output=True)
        found.append(file.read_bytes())
    return [bytes((raw[4] - 1, raw[5] - 1)) + raw[6:] for raw in found]


def _links() -> list[bytes]:
    return [
        name.ljust(len(name) + 4 - len(name) % 4, b"\0") + b"\1\2\3\4" for name in (b"file", b"../file", b"a.debug")
    ]


def _maps() -> list[bytes]:
    lines = (
        "7f0000000000-7f0000002000 r-xp 00001000 fe:01 1234       /usr/lib/libc.so.6",
        "7f0000003000-7f0000004000 r-xp 00000000 00:2d 18446744073709551615 /tmp/a\\012b (deleted)",
        "7f0000005000-7f0000006000 rw-p 00000000 00:00 0 ",
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
    )
    return [one.encode() + b"\n" for one in (*lines, "\n".join(lines))]


def _configs() -> list[bytes]:
    return [
        b'#\n# Automatically generated\n#\nLOSCFG_MEM_DEBUG=y\n# LOSCFG_B is not set\nLOSCFG_C="a \\" b"\n',
        b"LOSCFG_A=0x10\r\n# LOSCFG_A is not set\r\n\fLOSCFG_DEBUG_VERSION=n",
        b"alloc 1 24\nfree 1\nrealloc 2 1 0x30\nwrite 2 +4 8\n",
        b'0 Swt_Task\n1 IdleCore000\n0x2 "a task"\n',
    ]


def _images() -> list[bytes]:
    return [
        b":0400000001020304F2\n:00000001FF\n",
        b":020000042000DA\n:0400000001020304F2\n:00000001FF\n",
        b"S107000001020304EE\nS9030000FC\n",
        b"S30D20000000010203040506070806\n",
        b"20000000: 01020304 05060708  ........\n20000010: 01020304\n",
        b"0x20000000 : 0x01020304 0x05060708\n",
        b"\x1f\x8b\x08\0" + bytes(6) + b"\x4b\x04\0",
        struct.pack("<4sBBBB8xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 4, 40, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        + struct.pack("<8I", 1, 84, 0x20000000, 0x20000000, 16, 16, 6, 4)
        + bytes(range(16)),
    ]


def _pools(directory: Path) -> None:
    for number in range(24):
        choose = random.Random(number)
        log2 = 3 + number % 2
        pool = Pool(bytearray(SIZE + 16), granule_log2=log2, size=SIZE, secret=_SECRET)
        nodes: list[int] = []
        for _ in range(choose.randrange(5, 40)):
            node = pool.allocate(choose.randrange(1, 200))
            nodes += [] if node is None else [node]
        for node in choose.sample(nodes, len(nodes) // 2):
            pool.release(node) if choose.random() < 0.5 else pool.cache(node, poison=choose.random() < 0.5)
        data = bytearray(pool.memory[pool.start : pool.start + SIZE])
        if number % 3:
            at = (choose.choice(nodes) << log2) + choose.randrange(48)
            data[at : at + 20] = choose.randbytes(min(20, SIZE - at))
        # The granule is the last byte's; the rest names a node and a reason.
        tail = bytes([*choose.randbytes(_ANSWERS - 1), number % 2])
        (directory / str(number)).write_bytes(bytes(data) + tail)


def _runs(directory: Path) -> None:
    """What forged_runs.py makes of each is a run with blocks and with changes, as any bytes are."""
    for number in range(24):
        choose = random.Random(number)
        (directory / str(number)).write_bytes(choose.randbytes(choose.randrange(200, 1500)))
