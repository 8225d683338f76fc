"""Source lines of a firmware's code by its debug information, and which functions are inlined there.

A unit's code may be in many stretches (a section a function), and what the linker threw away keeps
stretches that begin at address 0, where real code may lie as well: of several that hold an address the
one that begins last counts.
"""

import bisect
from collections.abc import Iterator
from typing import Any, NamedTuple

from elftools.dwarf.die import DIE

from heapwitness.liteos.firmware.dies import DEEPEST, name_of, number_of, ranges_of

_CODE = ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine")
_SCOPES = ("DW_TAG_lexical_block", "DW_TAG_namespace", "DW_TAG_class_type", "DW_TAG_structure_type", *_CODE)


class SourceLine(NamedTuple):
    """A place in a source: the function that is written there ("" for not known), file, and line."""

    function: str
    file: str | None
    line: int | None


class _Sequence(NamedTuple):
    """Rows of a line table that follow each other: from an address on the code belongs to a file's line."""

    start: int
    stop: int
    addresses: list[int]
    places: list[tuple[int, int]]


class _Stretch(NamedTuple):
    """Code from `start` to `stop` and whose it is."""

    start: int
    stop: int
    owner: Any


class FirmwareDebugInfo:
    """The debug information of one ELF file. Damaged one makes pyelftools raise errors of many kinds."""

    def __init__(self, dwarf: Any) -> None:
        self._dwarf = dwarf
        self._ranges = dwarf.range_lists()
        self._units: tuple[list[_Stretch], list[Any]] | None = None
        self._sequences: dict[int, list[_Sequence]] = {}
        self._functions: dict[int, list[_Stretch]] = {}

    def spots(self, address: int) -> tuple[SourceLine, ...]:
        """Where the code at an address was written, innermost first: inlined functions, then the one they are in.

        Empty where nothing is known of it.
        """
        for unit in self._units_at(address):
            row = self._row(unit, address)
            functions = self._functions_at(unit, address)
            if row is None and not functions:
                continue
            place = self._place(unit, *row) if row is not None else (None, None)
            spots: list[SourceLine] = []
            for die in functions:
                spots.append(SourceLine(name_of(die), *place))
                place = self._called_at(unit, die)
            return tuple(spots) or (SourceLine("", *place),)
        return ()

    # --- units ---------------------------------------------------------------------------------------------------

    def _units_at(self, address: int) -> Iterator[Any]:
        """Units that may hold an address, the likeliest first."""
        if self._units is None:
            self._units = self._all_units()
        stretches, elsewhere = self._units
        for one in _covering(stretches, address):
            yield one.owner
        yield from elsewhere

    def _all_units(self) -> tuple[list[_Stretch], list[Any]]:
        """The stretches of code of all units, and the units that do not say where theirs is."""
        stretches: list[_Stretch] = []
        silent: list[Any] = []
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE()
            if top.tag not in ("DW_TAG_compile_unit", "DW_TAG_skeleton_unit"):
                continue
            code = [_Stretch(low, high, unit) for low, high in ranges_of(top, self._ranges)]
            stretches += code
            if not code and "DW_AT_stmt_list" in top.attributes:
                silent.append(unit)
        return stretches, silent

    # --- lines ---------------------------------------------------------------------------------------------------

    def _row(self, unit: Any, address: int) -> tuple[int, int] | None:
        """Number of the file and line of an address; None where no row has it."""
        if unit.cu_offset not in self._sequences:
            self._sequences[unit.cu_offset] = list(self._read_sequences(unit))
        sequence: _Sequence
        for sequence in _covering(self._sequences[unit.cu_offset], address):
            number = bisect.bisect_right(sequence.addresses, address) - 1
            # Of the rows at one address the last one that has a line.
            for at in range(number, -1, -1):
                if sequence.addresses[at] != sequence.addresses[number]:
                    break
                file, line = sequence.places[at]
                if line:
                    return file, line
        return None

    def _read_sequences(self, unit: Any) -> Iterator[_Sequence]:
        program = self._dwarf.line_program_for_CU(unit)
        rows: list[tuple[int, int, int]] = []
        for entry in program.get_entries() if program is not None else ():
            state = entry.state
            if state is None:
                continue
            if not state.end_sequence:
                rows.append((state.address, state.file, state.line))
                continue
            # Rows of one address stay in their order.
            rows.sort(key=lambda row: row[0])
            if rows and rows[0][0] < state.address:
                addresses = [address for address, _, _ in rows]
                yield _Sequence(rows[0][0], state.address, addresses, [(file, line) for _, file, line in rows])
            rows = []

    def _place(self, unit: Any, file: int, line: int) -> tuple[str | None, int | None]:
        """A file's name and a line, of which 0 is none."""
        program = self._dwarf.line_program_for_CU(unit)
        if program is None or not line:
            return None, None
        return _file_name(program.header, file), line

    # --- functions -----------------------------------------------------------------------------------------------

    def _functions_at(self, unit: Any, address: int) -> list[DIE]:
        """The function at an address, after those that are inlined there, innermost first."""
        if unit.cu_offset not in self._functions:
            self._functions[unit.cu_offset] = list(self._code_in(unit.get_top_DIE(), "DW_TAG_subprogram", 0))
        found: list[DIE] = []
        function = next(_covering(self._functions[unit.cu_offset], address), None)
        while function is not None and len(found) < DEEPEST:
            found.insert(0, function.owner)
            inside = list(self._code_in(function.owner, "DW_TAG_inlined_subroutine", 0))
            function = next(_covering(inside, address), None)
        return found

    def _code_in(self, scope: DIE, tag: str, depth: int) -> Iterator[_Stretch]:
        """The code of entries of a kind in a scope, not of those inside of others with code."""
        for die in scope.iter_children():
            if die.tag == tag:
                for low, high in ranges_of(die, self._ranges):
                    yield _Stretch(low, high, die)
            elif die.tag in _SCOPES and die.tag not in _CODE and depth < DEEPEST:
                yield from self._code_in(die, tag, depth + 1)

    def _called_at(self, unit: Any, die: DIE) -> tuple[str | None, int | None]:
        return self._place(unit, number_of(die, "DW_AT_call_file"), number_of(die, "DW_AT_call_line"))


def _covering(stretches: list[Any], address: int) -> Iterator[Any]:
    """The stretches that hold an address; the one that begins last first."""
    found = [one for one in stretches if one.start <= address < one.stop]
    return iter(sorted(found, key=lambda one: -one.start))


def _file_name(header: Any, number: int) -> str:
    # Before DWARF 5 files are counted from 1, and directory 0 is where the compiler ran.
    counted = 0 if header["version"] >= 5 else 1
    entries = header["file_entry"]
    index = number - counted
    if not 0 <= index < len(entries):
        return "?"
    entry = entries[index]
    name = str(entry.name.decode("utf-8", "replace"))
    directories = header["include_directory"]
    directory = entry.dir_index - counted
    if name.startswith("/") or not 0 <= directory < len(directories):
        return name
    return f"{directories[directory].decode('utf-8', 'replace')}/{name}"
