"""Coverage-guided inputs (atheris) for everything of ours that reads a file or a text that somebody else made.

    python benchmarks/fuzz/files.py maps|elf|links|configs|images [libFuzzer options, as -max_total_time=60]

Only our own errors may come out of it, no input may take longer than two seconds of the processor's time, and
-rss_limit_mb bounds the memory.
"""

import contextlib
import io
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["heapwitness"]):
    from heapwitness.errors import HeapwitnessError
    from heapwitness.liteos.config.config import assignment, parse
    from heapwitness.liteos.config.dotconfig import merged
    from heapwitness.liteos.firmware import tasknames
    from heapwitness.liteos.image.load import parse as parse_image
    from heapwitness.liteos.simulate import trace
    from heapwitness.symbols.compiled import functions_in, variable_of
    from heapwitness.symbols.elf import ElfFile, ExportedNames, read_elf
    from heapwitness.symbols.headers import BadElf, Headers
    from heapwitness.symbols.maps import code_lines, parse_maps
    from heapwitness.symbols.separate import debug_files

SECONDS = 2.0
FILE = Path(tempfile.mkdtemp()) / "file"
LINE = b"1000-2000 r-xp 00000000 00:00 0 /"
CHOSEN = {"LOSCFG_MEM_DEBUG": "y", "LOSCFG_DEBUG_VERSION": "y"}


def maps(data: bytes) -> None:
    """The text of mappings, as it comes and behind a line that holds."""
    for raw in (data, LINE + data):
        text = code_lines(raw, 1 << 20)
        assert text.encode("utf-8", "surrogateescape") in raw or b"\n" in raw
        for mapping in parse_maps(text):
            assert mapping.start < mapping.end and all(name.startswith("/") for name in mapping.names())


def elf(data: bytes) -> None:
    """A file that begins as an ELF file does, with headers where the input says."""
    raw = b"\x7fELF" + bytes([1 + data[0] % 2, 1 + data[1] % 2]) + data[2:] if len(data) > 2 else data
    with contextlib.suppress(BadElf):
        headers = Headers(io.BytesIO(raw))
        assert sum(1 for _ in headers.sections()) <= 1 << 16
        headers.count_sections()
        headers.named(b".gnu_debuglink")
    FILE.write_bytes(raw)
    read_elf(str(FILE))
    names = ExportedNames(ElfFile(str(FILE), (), None))
    for address in (0, 16, 1 << 40):
        names.find(address)
    for at, name in functions_in(raw, {0, 16, 1 << 40}):
        assert at in (0, 16, 1 << 40) and name
    with contextlib.suppress(BadElf):
        variable_of(Headers(io.BytesIO(raw)))


def links(data: bytes) -> None:
    """A file whose debug link, and nothing else, is the input's."""
    link = data[:4096]
    names = b"\0.gnu_debuglink\0"
    start = 64 + 3 * 64
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 3, 2)
    sections = [(0, 0, 0, 0), (1, 1, start, len(link)), (0, 3, start + len(link), len(names))]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 1, 0) for name, kind, at, size in sections
    )
    FILE.write_bytes(header + table + link + names)
    for path, file, _ in debug_files(ElfFile(str(FILE), (), data[-20:].hex())):
        os.close(file)
        assert os.path.isfile(path)


def configs(data: bytes) -> None:
    """A .config in which symbols change; a file of names; a trace."""
    text = data.decode("utf-8", "surrogateescape")
    values = parse(text)
    after = merged(text, {**values, **CHOSEN})
    # Of a last line without an end the end is new.
    lines = [[line.rstrip("\r") for line in one.split("\n")] for one in (text, after)]
    others = [[line for line in one if line and assignment(line) is None] for one in lines]
    assert others[0] == others[1] or not text.strip()
    assert parse(after).items() >= CHOSEN.items()
    assert merged(after, {**parse(after), **CHOSEN}) == after
    FILE.write_bytes(data)
    with contextlib.suppress(HeapwitnessError):
        tasknames.load(FILE)
    trace.parse(data.decode("utf-8", "replace"))


def images(data: bytes) -> None:
    """A dump as lines of digits."""
    for start in (b"", b"S1030000FC\n", b":0000000000\n"):
        with contextlib.suppress(HeapwitnessError):
            image = parse_image(start + data, "dump")
            assert image.patched([]) == start + data or image.compressed


def main() -> None:
    target = {"maps": maps, "elf": elf, "links": links, "configs": configs, "images": images}[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        started = time.process_time()
        with contextlib.suppress(HeapwitnessError):
            target(data)
        assert time.process_time() - started < SECONDS, "an input takes too long"

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
