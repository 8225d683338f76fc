"""Lines of code that lies in no file, where its compiler wrote them into the object that it keeps for debuggers.

Numba does with NUMBA_DEBUGINFO=1 or `@njit(debug=True)`. The object may be forged, and pyelftools believes the counts
that it reads: so it reads in a process of its own, which may take so much time and memory and no more.

Source: "Line Number Information" in the DWARF standards, of versions 2 to 5.
"""

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
from elftools.elf.elffile import ELFFile

from heapwitness.symbols.apart import command, confine

LINES_LIMIT = 1 << 16
"""Bytes of an object's table of lines that is read."""

UNITS_LIMIT = 64
MEMORY_LIMIT = 512 << 20
"""Bytes of address space of the process that reads it."""

SECONDS = 5.0
"""For the lines of one object; and all of a run's take ten times that."""

_PATH_LIMIT = 1 << 12
_KNOWN_LIMIT = 1 << 10
_COMPRESSED = 1 << 11
_CODE = 4

MadeLine = tuple[str, int]
"""A source file, and the number of a line."""


class CompiledLines:
    """Remembers what was asked, and stops asking after what took too long."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], MadeLine | None] = {}
        self._left = 10 * SECONDS

    def of(self, made: bytes, asked: Iterable[int]) -> dict[int, MadeLine]:
        """The source file and line of addresses, as far as an object has them.

        Args:
            made: an ELF object whose sections have the addresses that they were moved to.
            asked: addresses in the process.
        """
        whole = hash(made)
        new = [pc for pc in asked if (whole, pc) not in self._known]
        if new and self._left > 0:
            started = time.monotonic()
            lines = _lines_apart(made, new)
            self._left -= time.monotonic() - started
            if len(self._known) > _KNOWN_LIMIT:
                self._known.clear()
            self._known.update({(whole, pc): lines.get(pc) for pc in new})
        return {pc: line for pc in asked if (line := self._known.get((whole, pc))) is not None}


def _lines_apart(made: bytes, asked: list[int]) -> dict[int, MadeLine]:
    with contextlib.suppress(OSError, subprocess.SubprocessError, msgspec.DecodeError, UnicodeError):
        done = subprocess.run(
            command("compiled_lines.answer()"),
            input=msgspec.msgpack.encode((made, asked)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
        )
        return msgspec.msgpack.decode(done.stdout, type=dict[int, MadeLine])
    return {}


def answer() -> None:
    """What is asked on stdin, on stdout, within limits."""
    confine(MEMORY_LIMIT)
    made, asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[bytes, list[int]])
    sys.stdout.buffer.write(msgspec.msgpack.encode(lines_in(made, asked)))


class _Object(ELFFile):
    """pyelftools reads tables of unwinding on its way to those of lines, and fails on how LLVM relocates them."""

    def get_section_by_name(self, name: str) -> Any:
        return None if name == ".eh_frame" else super().get_section_by_name(name)


def lines_in(made: bytes, asked: Iterable[int]) -> dict[int, MadeLine]:
    """The same as `CompiledLines.of`, in this process.

    Raises:
        Exception: on a damaged object pyelftools fails in many ways.
    """
    elf = _Object(io.BytesIO(made))
    table = elf.get_section_by_name(".debug_line")
    packed = any(one["sh_flags"] & _COMPRESSED for one in elf.iter_sections())
    start = _start(elf) if elf["e_type"] == "ET_REL" else 0
    if table is None or table["sh_size"] > LINES_LIMIT or packed or start is None:
        return {}
    found: dict[int, MadeLine] = {}
    for path, line, low, high in _rows(elf):
        for pc in asked:
            if line and low <= pc - start < high:
                found[pc] = path, line
    return found


def _start(elf: Any) -> int | None:
    """Where the one section is whose code the lines are of; None: they are of several."""
    moves, symbols = elf.get_section_by_name(".rela.debug_line"), elf.get_section_by_name(".symtab")
    if moves is None or symbols is None:
        return None
    of = {symbols.get_symbol(one["r_info_sym"])["st_shndx"] for one in moves.iter_relocations()}
    code = [section for one in of if isinstance(one, int) and (section := elf.get_section(one))["sh_flags"] & _CODE]
    return int(code[0]["sh_addr"]) if len(code) == 1 else None


def _rows(elf: Any) -> Iterator[tuple[str, int, int, int]]:
    """File, line, first address and the one behind the last, of each row."""
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=True, follow_links=False)
    for number, unit in enumerate(dwarf.iter_CUs()):
        program = dwarf.line_program_for_CU(unit) if number < UNITS_LIMIT else None
        if program is None:
            return
        home = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        states = [entry.state for entry in program.get_entries() if entry.state is not None]
        for row, after in pairwise(states):
            if not row.end_sequence:
                path = _path(program, row.file, home.value if home else b"")
                yield path, row.line, row.address, after.address


def _path(program: Any, number: int, home: bytes) -> str:
    header = program.header
    names, folders = header.get("file_entry", []), header.get("include_directory", [])
    # Before version 5, file 1 is the first, and folder 0 is the unit's own.
    first = 0 if header["version"] >= 5 else 1
    if not first <= number < len(names) + first:
        return ""
    name = names[number - first]
    folder = name.dir_index - first
    parts = (home, folders[folder] if 0 <= folder < len(folders) else b"", name.name)
    return os.path.join(*(part.decode("utf-8", "replace") for part in parts))[:_PATH_LIMIT]
