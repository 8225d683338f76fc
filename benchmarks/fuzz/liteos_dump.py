"""Fuzzes the reader of LiteOS dumps: no input may crash it, hang it, or exhaust memory.

    python -m pip install atheris
    mkdir -p /tmp/corpus
    python benchmarks/fuzz/liteos_dump.py -max_len=8192 -timeout=10 -rss_limit_mb=1024 -max_total_time=120 /tmp/corpus

Arguments are libFuzzer's. The corpus starts with healthy and damaged pools of several layouts, which
are written to its folder when that is empty. The first two bytes of an input choose the layout and
what is done with the rest: a pool, an image in which pools are searched, or a file of any format. An
input that raises anything but a HeapwitnessError is a finding, and so is a repair that leaves the
pool less than whole.
"""

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["heapwitness.liteos", "heapwitness.diagnose.pattern"]):
    from heapwitness.errors import HeapwitnessError
    from heapwitness.liteos import Config, Layout, Pool
    from heapwitness.liteos.diagnose.diagnose import FINDINGS_LIMIT, diagnose
    from heapwitness.liteos.diagnose.plan import apply, plan
    from heapwitness.liteos.find.guess import guess
    from heapwitness.liteos.find.pools import find_pools
    from heapwitness.liteos.image import Segment
    from heapwitness.liteos.image.load import parse

ADDRESS = 0x20000000
CONFIGS = tuple(
    Config(width=width, debug=True, head_backup=backup, task_stat=stat, task_limit=3, leakcheck=leak, recordinfo=leak)
    for width in (32, 64)
    for backup, stat, leak in ((True, False, False), (True, True, True), (True, False, True), (False, False, False))
)
LIMIT = 1 << 20


def pool(config: Config, data: bytes) -> None:
    """Diagnose and repair bytes as a pool; what was repaired must be whole."""
    layout = Layout.of(config)
    found = diagnose(data, ADDRESS, layout)
    fixed = bytearray(data)
    restoration = plan(data, ADDRESS, layout)
    apply(fixed, ADDRESS, restoration)
    if len(found) == FINDINGS_LIMIT or restoration.unrestored:
        return
    left = diagnose(fixed, ADDRESS, layout)
    if left:
        raise RuntimeError(f"a repair left {left[0].kind}: {left[0].detail}")


def search(config: Config, data: bytes) -> None:
    """Search pools in bytes whose address is known, and in bytes whose address is not."""
    for placed in (True, False):
        find_pools(Segment(ADDRESS if placed else 0, memoryview(data)), Layout.of(config), placed=placed)
    with contextlib.suppress(HeapwitnessError):
        guess(data, ADDRESS)


def file(config: Config, data: bytes) -> None:
    """Read bytes as a file of any format, and write it again."""
    image = parse(data, "input", limit=LIMIT)
    image.patched([])


ACTIONS = (pool, search, file)


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    if len(data) < 2:
        return
    with contextlib.suppress(HeapwitnessError):
        ACTIONS[data[1] % len(ACTIONS)](CONFIGS[data[0] % len(CONFIGS)], data[2:])


def seed(folder: Path) -> None:
    """Write a first corpus: pools of every layout, healthy and damaged, for every action."""
    for number, config in enumerate(CONFIGS):
        buffer = bytearray(2048)
        made = Pool.init(buffer, ADDRESS, config, link_registers=lambda: (0x8000200, 0x8000300, 0x8000400))
        blocks = [made.alloc(24) or 0 for _ in range(4)]
        made.free(blocks[1])
        damaged = bytearray(buffer)
        at = blocks[2] - ADDRESS - 12
        damaged[at : at + 12] = b"overwritten!"
        for action in range(len(ACTIONS)):
            for name, data in (("healthy", buffer), ("damaged", damaged)):
                (folder / f"{number}-{action}-{name}").write_bytes(bytes([number, action]) + data)
    (folder / "hex").write_bytes(b"\0\2:0400000001020304F2\n:00000001FF\n")
    (folder / "srec").write_bytes(b"\0\2S107000001020304EE\nS9030000FC\n")


if __name__ == "__main__":
    folders = [Path(one) for one in sys.argv[1:] if not one.startswith("-")]
    if folders and folders[0].is_dir() and not any(folders[0].iterdir()):
        seed(folders[0])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
