"""A firmware's ELF file: what its addresses are called, and what its tasks are.

Return addresses become functions (by the symbol table) and source lines (by the debug information).
Names of tasks are in the kernel's array of task control blocks, which the dump itself has to hold.
"""

import bisect
import functools
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Frame
from heapwitness.liteos.firmware import elf_bounds
from heapwitness.liteos.firmware.debuginfo import FirmwareDebugInfo, SourceLine
from heapwitness.liteos.firmware.dies import dwarf_of, name_of, number_of, size_of, type_of
from heapwitness.liteos.firmware.patience import Patience, TooLong
from heapwitness.memory import Memory, Unreadable
from heapwitness.named import reading

_ARM = "EM_ARM"
_TASKS = "g_taskCBArray"
_NAME_LENGTH = 64
# So many labels without a size inside of a function are looked past.
_LABELS = 64
# The bit of taskStatus that says that a control block belongs to no task.
_UNUSED = 1

_LOCK = "g_memSpin"


class _Function(NamedTuple):
    start: int
    stop: int
    name: str


class _Member(NamedTuple):
    offset: int
    size: int
    is_pointer: bool


class _TaskBlock(NamedTuple):
    """A task control block: its size, its members, and whether the array is behind a pointer."""

    size: int
    members: Mapping[str, _Member]
    is_pointer: bool


class Task(NamedTuple):
    """A task by its control block; one that has ended keeps its name until its number is used again.

    `stack` is the address of the lowest word of its stack, None where that is not told.
    """

    number: int
    name: str
    exists: bool
    stack: int | None = None


class FirmwareFile:
    """An ELF file that stays open; close it, or use it in a `with`.

    Raises:
        HeapwitnessError: the file cannot be read or is no ELF file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = reading(self.path)
        except OSError as error:
            raise HeapwitnessError(
                f"{path} cannot be read ({error.strerror}): give the firmware's ELF file."
            ) from error
        try:
            elf_bounds.check(self._file, path)
            self._elf = ELFFile(self._file)
            # In Thumb code the lowest bit of a function's and a return address is set.
            self._thumb = 1 if self._elf["e_machine"] == _ARM else 0
            self._patience = Patience()
            self._symbols = self._patience.spend(self._symbol_table)
        except TooLong as error:
            self._file.close()
            raise HeapwitnessError(f"{path} takes too long to read: give the linked firmware.") from error
        except HeapwitnessError:
            self._file.close()
            raise
        except Exception as error:  # on damaged files pyelftools fails in many ways
            self._file.close()
            raise HeapwitnessError(f"{path} is no ELF file that can be read: give the linked firmware.") from error
        self._functions = sorted(one for one in self._symbols if isinstance(one, _Function))
        self._starts = [one.start for one in self._functions]
        self._warnings: dict[str, None] = {}
        self.stack = functools.lru_cache(maxsize=65536)(self._stack)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read, a sentence each."""
        return tuple(self._warnings)

    def _stack(self, pc: int) -> tuple[Frame, ...]:
        at = pc & ~self._thumb
        # What is executed next may belong to another line, or, behind a call that never returns, to another function.
        call = at - 1
        function = self._function(call)
        if not self._functions:
            self._warn("has no symbol table with functions, so calls are named by the debug information only")
        elif function is None:
            return (Frame(pc=pc),)
        spots = self._spots(call) or (() if function is None else (SourceLine("", None, None),))
        # The linker's names are the ones that a kernel's own messages have.
        if function is not None:
            spots = (*spots[:-1], spots[-1]._replace(function=function.name))
        return tuple(
            Frame(
                pc=pc,
                module=str(self.path),
                offset=at,
                function=spot.function or None,
                file=spot.file,
                line=spot.line,
                inlined=spot is not spots[-1],
            )
            for spot in spots
        ) or (Frame(pc=pc),)

    def _spots(self, address: int) -> tuple[SourceLine, ...]:
        try:
            if self._debug is None:
                self._warn("has no debug information, so calls are shown without lines")
                return ()
            return self._patience.spend(functools.partial(self._debug.spots, address))
        except TooLong:
            self._warn("has debug information that takes too long to read, so some calls are shown without lines")
            return ()
        except Exception:  # damaged debug information makes pyelftools fail in many ways
            self._warn("has debug information that cannot be read, so calls are shown without lines")
            return ()

    @functools.cached_property
    def _debug(self) -> FirmwareDebugInfo | None:
        return None if self._dwarf is None else FirmwareDebugInfo(self._dwarf)

    @functools.cached_property
    def _dwarf(self) -> Any:
        return dwarf_of(self._elf)

    def _warn(self, what: str) -> None:
        """Say once what could not be read."""
        self._warnings[f"{self.path} {what}."] = None

    # --- symbols -------------------------------------------------------------------------------------------------

    def _symbol_table(self) -> list[_Function]:
        table: Any = self._elf.get_section_by_name(".symtab")
        if table is None:
            return []
        found: list[_Function] = []
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF":
                start = symbol["st_value"] & ~self._thumb
                found.append(_Function(start, start + symbol["st_size"], symbol.name))
        return found

    def _address_of(self, name: str) -> int | None:
        """The address of a variable."""
        table: Any = self._elf.get_section_by_name(".symtab")
        symbols = table.get_symbol_by_name(name) if table is not None else None
        return int(symbols[0]["st_value"]) if symbols else None

    def _function(self, address: int) -> _Function | None:
        """The function that an address lies in; one whose size is not told ends where the next one begins."""
        number = bisect.bisect_right(self._starts, address) - 1
        for one in reversed(self._functions[max(number - _LABELS, 0) : number + 1]):
            if one.start <= address < one.stop:
                return one
        nearest = self._functions[number] if number >= 0 else None
        return nearest if nearest is not None and nearest.start == nearest.stop else None

    def lock_held(self, memory: Memory) -> bool | None:
        """Whether the heap's lock was held; None where the firmware or the dump has none."""
        place = self._address_of(_LOCK)
        try:
            return None if place is None else any(memory.read(place, self._elf.elfclass // 8))
        except Unreadable:
            return None

    # --- tasks ---------------------------------------------------------------------------------------------------

    def tasks(self, memory: Memory, limit: int) -> dict[int, Task]:
        """Tasks by number, as far as the dump has the kernel's task control blocks; {} when it has not.

        Args:
            memory: the dump, by the target's addresses.
            limit: how many tasks the kernel can have.
        """
        place = self._address_of(_TASKS)
        if place is None:
            self._warn(f"has no symbol {_TASKS}, so tasks are shown by their numbers")
            return {}
        try:
            block = self._patience.spend(self._task_block)
        except TooLong:
            self._warn("has debug information that takes too long to read, so tasks are shown by numbers")
            return {}
        except Exception:  # damaged debug information makes pyelftools fail in many ways
            self._warn("has debug information that cannot be read, so tasks are shown by numbers")
            return {}
        if block is None:
            self._warn(f"does not describe {_TASKS}, so tasks are shown by their numbers")
            return {}
        return self._read_tasks(memory, limit, place, block)

    def _read_tasks(self, memory: Memory, limit: int, place: int, block: _TaskBlock) -> dict[int, Task]:
        pointer = self._elf.elfclass // 8
        found: dict[int, Task] = {}
        try:
            start = int.from_bytes(memory.read(place, pointer), "little") if block.is_pointer else place
        except Unreadable:
            return {}
        for index in range(limit):
            task = _read_task(memory, start + index * block.size, block.members)
            # Blocks that no task has used yet are zero, their number included.
            if task is not None and task.number == index and (task.name or not task.exists):
                found[index] = task
        return found

    def _task_block(self) -> _TaskBlock | None:
        """What the kernel's array of task control blocks is made of."""
        if self._dwarf is None:
            return None
        for unit in self._dwarf.iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_variable" and name_of(die) == _TASKS:
                    array = type_of(die)
                    block = type_of(array)
                    members = dict(_members(block))
                    if {"taskName", "taskId"} <= members.keys():
                        is_pointer = array.tag == "DW_TAG_pointer_type"
                        return _TaskBlock(number_of(block, "DW_AT_byte_size"), members, is_pointer)
        return None


def _read_task(memory: Memory, at: int, members: Mapping[str, _Member]) -> Task | None:
    name, number, status = members["taskName"], members["taskId"], members.get("taskStatus")
    top = members.get("topOfStack")
    try:
        task = int.from_bytes(memory.read(at + number.offset, number.size), "little")
        field = memory.read(at + name.offset, min(name.size, _NAME_LENGTH))
        state = 0 if status is None else int.from_bytes(memory.read(at + status.offset, status.size), "little")
        low = 0 if top is None else int.from_bytes(memory.read(at + top.offset, top.size), "little")
    except Unreadable:
        return None
    if name.is_pointer:
        field = _string(memory, int.from_bytes(field, "little"))
    text = field.split(b"\0")[0].decode("utf-8", "replace")
    return Task(task, text, exists=not state & _UNUSED, stack=low or None)


def _members(block: DIE) -> Iterator[tuple[str, _Member]]:
    for die in block.iter_children():
        if die.tag == "DW_TAG_member" and name_of(die):
            target = type_of(die)
            place = number_of(die, "DW_AT_data_member_location")
            yield name_of(die), _Member(place, size_of(target), target.tag == "DW_TAG_pointer_type")


def _string(memory: Memory, address: int) -> bytes:
    """A string behind a pointer, as far as it can be read."""
    out = b""
    while len(out) < _NAME_LENGTH and b"\0" not in out:
        try:
            out += memory.read(address + len(out), 1)
        except Unreadable:
            break
    return out
