"""Names and lines of code that lies in no file: what a compiler that works at run time tells debuggers.

Such a compiler (LLVM in Numba and PostgreSQL, PHP's) may keep a list of what it made: each a whole ELF object in the
process's memory. The list begins in a variable whose name is agreed upon; the compiler's file says where that is.

Source: "JIT Compilation Interface" of GDB's manual. All of it may be forged: it is bounded, and costs names only.
"""

import io
import struct
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from heapwitness.findings.model import Crash, Finding, Frame, When
from heapwitness.findings.stacks import Act, Frames, StackChange, crash_with_stacks, is_exact, with_stacks
from heapwitness.memory.protocol import Memory, Unreadable, read_up_to
from heapwitness.regular import open_regular, within
from heapwitness.symbols.elf import FILE_LIMIT, printable, read_elf
from heapwitness.symbols.headers import Headers
from heapwitness.symbols.maps import Mapping, parse_maps

if TYPE_CHECKING:
    from heapwitness.symbols.compiled_lines import CompiledLines, MadeLine

DESCRIPTOR = b"__jit_debug_descriptor"
LINES = b".debug_line"

OBJECTS_LIMIT = 1 << 14
OBJECT_LIMIT = 4 << 20
"""Bytes of an object that are read."""

SECONDS = 1.0
"""Time for the names of one event, and for looking into one file."""

_TABLES_LIMIT = 128 << 20
_FILES_LIMIT = 4096
_HEAD = struct.Struct("<I12xQ")
_VERSION = 1
_ENTRY = struct.Struct("<Q8xQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOLS, _EXPORTED = 2, 11
_KIND = struct.Struct("<16xH")
_RELOCATABLE = 1
_FUNCTION = 2
_NAME_LIMIT = 1 << 10

_Document = TypeVar("_Document", Finding, Crash, Frames)


class Made(NamedTuple):
    """What is told of an address: the function that it is in, and its source, where that is known."""

    function: str
    file: str | None = None
    line: int | None = None


class CompiledCode:
    """Knows of each file where that variable is; for one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], int | None] = {}
        self._maps = ""
        self._mappings: tuple[Mapping, ...] = ()
        self._made: list[Mapping] = []
        self._lines: CompiledLines | None = None

    def finding(self, finding: Finding, maps: str, memory: Memory) -> Finding:
        """The finding with a linker's name of a function for each frame whose code lies in no file, where the process
        tells it.

        Args:
            finding: as diagnosed, its frames have a pc and nothing else.
            maps: text of /proc/PID/maps, of code at least.
            memory: the process's.
        """
        return self._named(finding, finding.detected.when, with_stacks, maps, memory)

    def crash(self, crash: Crash, maps: str, memory: Memory) -> Crash:
        """The same of a crash."""
        return self._named(crash, "crash", crash_with_stacks, maps, memory)

    def access(self, stack: Frames, maps: str, memory: Memory) -> Frames:
        """The same of the stack of an access."""
        return self._named(stack, "trap", lambda one, change: change("accessed", one), maps, memory)

    def _named(
        self,
        document: _Document,
        when: When,
        change_all: Callable[[_Document, StackChange], _Document],
        maps: str,
        memory: Memory,
    ) -> _Document:
        if maps != self._maps:
            self._maps, self._mappings = maps, parse_maps(maps, unnamed=True)
            self._made = [one for one in self._mappings if one.executable and not _is_of_file(one)]
        made = self._made
        asked: set[int] = set()

        def ask(act: Act, stack: Frames) -> Frames:
            pcs = (pc for _, pc in _nameless(stack, exact=is_exact(act, when)))
            asked.update(pc for pc in pcs if any(one.start <= pc < one.end for one in made))
            return stack

        if made:
            change_all(document, ask)
        names = self._names(asked, memory) if asked else {}
        if not names:
            return document
        return change_all(document, lambda act, stack: _with_names(stack, names, exact=is_exact(act, when)))

    def _names(self, asked: set[int], memory: Memory) -> dict[int, Made]:
        """The functions that these addresses are in, as far as that is told."""
        until = time.monotonic() + SECONDS
        left = set(asked)
        found: dict[int, Made] = {}
        for mapping in self._mappings:
            if not left or time.monotonic() > until:
                break
            descriptor = self._descriptor(mapping) if mapping.executable and _is_of_file(mapping) else None
            if descriptor is None:
                continue
            for made in _objects(memory, descriptor, until):
                functions = dict(functions_in(made, left))
                lines = self._lines_of(made, functions) if functions and LINES in made else {}
                found.update({pc: Made(name, *lines.get(pc, ())) for pc, name in functions.items()})
                left -= found.keys()
                if not left:
                    break
        return found

    def _lines_of(self, made: bytes, asked: Collection[int]) -> "dict[int, MadeLine]":
        if self._lines is None:
            from heapwitness.symbols.compiled_lines import CompiledLines

            self._lines = CompiledLines()
        return {pc: (printable(file), line) for pc, (file, line) in self._lines.of(made, asked).items() if file}

    def _descriptor(self, mapping: Mapping) -> int | None:
        """Where the variable of a file is, in the process; None where the file has none."""
        key = (mapping.path, mapping.inode, mapping.offset)
        if key not in self._known and len(self._known) < _FILES_LIMIT:
            try:
                self._known[key] = within(SECONDS, lambda: _variable(mapping))
            except (OSError, ValueError, struct.error):
                self._known[key] = None
        value = self._known.get(key)
        return None if value is None else mapping.start + value


def _is_of_file(mapping: Mapping) -> bool:
    return mapping.path.startswith("/") and not mapping.path.startswith("/memfd:")


def _nameless(stack: Frames, exact: bool) -> Iterator[tuple[int, int]]:
    """The numbers of C frames without a name, and addresses of their calls."""
    for number, frame in enumerate(stack):
        if frame.language == "c" and frame.function is None:
            yield number, frame.pc if exact and number == 0 else frame.pc - 1


def _with_names(stack: Frames, names: dict[int, Made], exact: bool) -> Frames:
    frames: list[Frame] = list(stack)
    for number, pc in _nameless(stack, exact):
        if pc in names:
            frames[number] = msgspec.structs.replace(frames[number], **names[pc]._asdict())
    return tuple(frames)


def _variable(mapping: Mapping) -> int | None:
    """The address of the variable in the file that is mapped, from the mapping's start on."""
    for path in mapping.names():
        elf = read_elf(path, mapping.identity)
        if elf is not None:
            with open(open_regular(path, FILE_LIMIT, mapping.identity), "rb") as stream:
                value = variable_of(Headers(stream))
            return None if value is None else value + elf.shift(mapping) - mapping.start
    return None


def variable_of(headers: Headers) -> int | None:
    """The value of the variable in a file's tables of symbols."""
    sections = list(headers.sections()) if headers.wide and headers.little else []
    left = _TABLES_LIMIT
    for section in sections:
        if section.kind not in (_SYMBOLS, _EXPORTED) or section.link >= len(sections):
            continue
        names = sections[section.link]
        left -= section.size + names.size
        if left < 0:
            break
        at = headers.bytes_at(names.offset, names.size).find(b"\0" + DESCRIPTOR + b"\0") + 1
        for name, _, _, index, value, _ in _symbols(headers.bytes_at(section.offset, section.size)) if at else ():
            if name == at and index:
                return value
    return None


def _symbols(table: bytes) -> Iterator[tuple[int, ...]]:
    return _SYMBOL.iter_unpack(table[: len(table) // _SYMBOL.size * _SYMBOL.size])


def _objects(memory: Memory, descriptor: int, until: float) -> Iterator[bytes]:
    """The objects of a list, the newest first."""
    try:
        version, entry = _HEAD.unpack(memory.read(descriptor, _HEAD.size))
        for _ in range(OBJECTS_LIMIT if version == _VERSION else 0):
            if not entry or time.monotonic() > until:
                return
            entry, address, size = _ENTRY.unpack(memory.read(entry, _ENTRY.size))
            yield read_up_to(memory, address, min(size, OBJECT_LIMIT))
    except Unreadable:
        return


def functions_in(made: bytes, asked: set[int]) -> Iterator[tuple[int, str]]:
    """Which of the addresses are in functions of an object, and their names."""
    try:
        headers = Headers(io.BytesIO(made))
        sections = list(headers.sections())
    except (ValueError, struct.error):
        return
    relocatable = _KIND.unpack_from(made)[0] == _RELOCATABLE
    near = {
        number: section
        for number, section in enumerate(sections)
        if any(section.address <= pc < section.address + section.size for pc in asked)
    }
    table = next((one for one in sections if one.kind == _SYMBOLS and one.link < len(sections)), None)
    if not near or table is None or not headers.wide or not headers.little:
        return
    names = sections[table.link].offset
    for name, info, _, index, value, size in _symbols(headers.bytes_at(table.offset, min(table.size, len(made)))):
        if info & 15 == _FUNCTION and index in near:
            start = value + near[index].address if relocatable else value
            for pc in asked:
                if start <= pc < start + size and (text := _text(made, names + name)):
                    yield pc, text


def _text(made: bytes, at: int) -> str:
    """A function's name, as its compiler gives it to linkers."""
    return printable(made[at : at + _NAME_LIMIT].split(b"\0", 1)[0].decode("utf-8", "replace"))
