"""A firmware's ELF file: what its addresses are called, and what its tasks are.

Return addresses become functions (by the symbol table) and source lines (by the debug information).
Names of tasks are in the kernel's array of task control blocks, which the dump itself has to hold.
"""

import bisect
import functools
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import elf_bounds
from heapwitness.memory import Memory, Unreadable
from heapwitness.report.model import Frame

_ARM = "EM_ARM"
_TASKS = "g_taskCBArray"
_NAME_LENGTH = 64
_DEEPEST = 8


class _Function(NamedTuple):
    start: int
    stop: int
    name: str


class _Row(NamedTuple):
    """From `address` on the code belongs to a source line; no line at the end of a sequence."""

    address: int
    file: str
    line: int | None


class Firmware:
    """An ELF file that stays open; close it, or use it in a `with`.

    Raises:
        HeapwitnessError: the file cannot be read or is no ELF file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise HeapwitnessError(
                f"{path} cannot be read ({error.strerror}): give the firmware's ELF file."
            ) from error
        try:
            elf_bounds.check(self._file, path)
            self._elf = ELFFile(self._file)
            self._symbols = self._symbol_table()
        except HeapwitnessError:
            self._file.close()
            raise
        except Exception as error:  # on damaged files pyelftools fails in many ways
            self._file.close()
            raise HeapwitnessError(f"{path} is no ELF file that can be read: give the linked firmware.") from error
        self._functions = sorted(one for one in self._symbols if isinstance(one, _Function))
        self._starts = [one.start for one in self._functions]
        self._rows: dict[int, tuple[list[int], list[_Row]]] = {}
        self.frame = functools.lru_cache(maxsize=65536)(self._frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _frame(self, pc: int) -> Frame:
        """What a return address is: the call before it, with function and line as far as they are known."""
        # In Thumb code the lowest bit of a return address is set.
        at = (pc & ~1 if self._elf["e_machine"] == _ARM else pc) - 1
        number = bisect.bisect_right(self._starts, at) - 1
        function = self._functions[number] if number >= 0 else None
        if function is None or (function.stop > function.start and at >= function.stop):
            return Frame(pc=pc)
        try:
            row = self._row(at)
        except Exception:  # damaged debug information makes pyelftools fail in many ways
            row = None
        return Frame(
            pc=pc,
            module=str(self.path),
            offset=at + 1,
            function=function.name,
            file=row.file if row is not None else None,
            line=row.line if row is not None else None,
        )

    # --- symbols -------------------------------------------------------------------------------------------------

    def _symbol_table(self) -> list[_Function]:
        table: Any = self._elf.get_section_by_name(".symtab")
        if table is None:
            return []
        thumb = 1 if self._elf["e_machine"] == _ARM else 0
        found: list[_Function] = []
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF":
                start = symbol["st_value"] & ~thumb
                found.append(_Function(start, start + symbol["st_size"], symbol.name))
        return found

    def _address_of(self, name: str) -> int | None:
        table: Any = self._elf.get_section_by_name(".symtab")
        symbols = table.get_symbol_by_name(name) if table is not None else None
        return int(symbols[0]["st_value"]) if symbols else None

    # --- lines ---------------------------------------------------------------------------------------------------

    def _row(self, address: int) -> _Row | None:
        if not self._elf.has_dwarf_info():
            return None
        unit = self._unit(address)
        if unit is None:
            return None
        if unit.cu_offset not in self._rows:
            rows = sorted(self._line_rows(unit))
            self._rows[unit.cu_offset] = [row.address for row in rows], rows
        starts, rows = self._rows[unit.cu_offset]
        number = bisect.bisect_right(starts, address) - 1
        return rows[number] if number >= 0 and rows[number].line is not None else None

    def _unit(self, address: int) -> Any:
        ranges = self._dwarf.get_aranges()
        offset = ranges.cu_offset_at_addr(address) if ranges is not None else None
        if offset is not None:
            return self._dwarf.get_CU_at(offset)
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE().attributes
            low, high = top.get("DW_AT_low_pc"), top.get("DW_AT_high_pc")
            if low is None or high is None:
                continue
            stop = high.value if high.form == "DW_FORM_addr" else low.value + high.value
            if low.value <= address < stop:
                return unit
        return None

    def _line_rows(self, unit: Any) -> list[_Row]:
        program = self._dwarf.line_program_for_CU(unit)
        if program is None:
            return []
        version = program.header["version"]
        rows: list[_Row] = []
        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                name = _file_name(program.header, state.file, version)
                rows.append(_Row(state.address, name, None if state.end_sequence else state.line))
        return rows

    @functools.cached_property
    def _dwarf(self) -> Any:
        return self._elf.get_dwarf_info()

    # --- tasks ---------------------------------------------------------------------------------------------------

    def task_names(self, memory: Memory, limit: int) -> dict[int, str]:
        """Names of tasks by number, as far as the dump has the kernel's task control blocks; {} when it has not.

        Args:
            memory: the dump, by the target's addresses.
            limit: how many tasks the kernel can have.
        """
        try:
            return self._task_names(memory, limit)
        except Exception:  # damaged debug information makes pyelftools fail in many ways
            return {}

    def _task_names(self, memory: Memory, limit: int) -> dict[int, str]:
        place = self._address_of(_TASKS)
        block = self._task_block()
        if place is None or block is None:
            return {}
        size, members, is_pointer = block
        pointer = self._elf.elfclass // 8
        name, number = members["taskName"], members["taskId"]
        start = int.from_bytes(memory.read(place, pointer), "little") if is_pointer else place
        found: dict[int, str] = {}
        for index in range(limit):
            try:
                at = start + index * size
                task = int.from_bytes(memory.read(at + number[0], number[1]), "little")
                field = memory.read(at + name[0], name[1])
                if name[2]:
                    field = _string(memory, int.from_bytes(field, "little"))
            except Unreadable:
                continue
            text = field.split(b"\0")[0].decode("utf-8", "replace")
            # Blocks that no task has used yet are zero, their number included.
            if text and task == index:
                found[task] = text
        return found

    def _task_block(self) -> tuple[int, dict[str, tuple[int, int, bool]], bool] | None:
        """Size of a task control block, its members (offset, size, whether a pointer), and whether the array is one."""
        for unit in self._dwarf.iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_variable" and _attribute(die, "DW_AT_name") == _TASKS.encode():
                    array = _resolved(die)
                    block = _resolved(array)
                    members = dict(_members(block))
                    if {"taskName", "taskId"} <= members.keys():
                        return _attribute(block, "DW_AT_byte_size"), members, array.tag == "DW_TAG_pointer_type"
        return None


def _members(block: DIE) -> list[tuple[str, tuple[int, int, bool]]]:
    found: list[tuple[str, tuple[int, int, bool]]] = []
    for die in block.iter_children():
        if die.tag != "DW_TAG_member" or _attribute(die, "DW_AT_name") is None:
            continue
        target = _resolved(die)
        is_pointer = target.tag == "DW_TAG_pointer_type"
        if is_pointer:
            size = int(target.cu["address_size"])
        elif target.tag == "DW_TAG_array_type":
            size = _NAME_LENGTH
            for child in target.iter_children():
                bound = _attribute(child, "DW_AT_upper_bound")
                size = bound + 1 if isinstance(bound, int) else size
        else:
            size = _attribute(target, "DW_AT_byte_size") or 0
        name = _attribute(die, "DW_AT_name").decode("utf-8", "replace")
        found.append((name, (_attribute(die, "DW_AT_data_member_location") or 0, size, is_pointer)))
    return found


def _resolved(die: DIE) -> DIE:
    """What a DIE's type is, behind names and qualifiers."""
    for _ in range(_DEEPEST):
        if "DW_AT_type" not in die.attributes:
            return die
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag not in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"):
            return die
    return die


def _attribute(die: DIE, name: str) -> Any:
    attribute = die.attributes.get(name)
    return None if attribute is None else attribute.value


def _file_name(header: Any, number: int, version: int) -> str:
    # Before DWARF 5 files are counted from 1.
    entries = header["file_entry"]
    index = number if version >= 5 else number - 1
    if not 0 <= index < len(entries):
        return "?"
    entry = entries[index]
    name = str(entry.name.decode("utf-8", "replace"))
    directories = header["include_directory"]
    directory = entry.dir_index if version >= 5 else entry.dir_index - 1
    if name.startswith("/") or not 0 <= directory < len(directories):
        return name
    return f"{directories[directory].decode('utf-8', 'replace')}/{name}"


def _string(memory: Memory, address: int) -> bytes:
    """A string behind a pointer, as far as it can be read."""
    out = b""
    while len(out) < _NAME_LENGTH and b"\0" not in out:
        try:
            out += memory.read(address + len(out), 1)
        except Unreadable:
            break
    return out
