"""One file's symbols and debugging information, asked by the file's own addresses.

drgn does the reading. A program object a file, kept for as long as the session lasts, serves every
process that has the file loaded, wherever it was loaded. Nothing is ever downloaded.
"""

import functools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heapwitness.findings.cython import is_cython, is_generator, scope_name, with_own_name
from heapwitness.symbols.cython import source_place
from heapwitness.symbols.demangle import demangle
from heapwitness.symbols.elf import ElfFile, ExportedNames, printable
from heapwitness.symbols.separate import debug_files, is_readable, supplementary_files

if TYPE_CHECKING:
    import drgn

_INLINED_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Location:
    """What one address is: function, and source position where known; `inlined` into the next one."""

    function: str | None
    file: str | None
    line: int | None
    column: int | None
    inlined: bool


class DebugInfo:
    """Symbols of one file. Opening costs milliseconds; looking up is cached."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        self._program = _open(elf)
        self.locations = functools.lru_cache(maxsize=8192)(self._locations)

    @functools.cached_property
    def _exported(self) -> ExportedNames:
        return ExportedNames(self.elf)

    def _locations(self, address: int) -> tuple[Location, ...]:
        """What the byte at a file's address belongs to, innermost inlined function first; () for nothing."""
        found = self._from_debug_info(address) if self._program is not None else ()
        if found:
            return found
        exported = self._exported.find(address)
        return (Location(demangle(exported[0]), None, None, None, False),) if exported else ()

    def symbol(self, address: int) -> tuple[str, int] | None:
        """The function or variable that a file's address lies in, and how many bytes into it; None for none."""
        if self._program is not None:
            try:
                symbol = self._program.symbol(address)
                return demangle(printable(symbol.name)), address - symbol.address
            except Exception:  # LookupError, or what broken files make drgn raise
                pass
        exported = self._exported.find(address)
        return (demangle(exported[0]), exported[1]) if exported else None

    def _from_debug_info(self, address: int) -> tuple[Location, ...]:
        assert self._program is not None
        try:
            # The trace looks each address up as a return address, one byte before it.
            frames = self._program.stack_trace_from_pcs([address + 1])
            found = [self._location(frames[number]) for number in range(min(len(frames), _INLINED_LIMIT))]
        except Exception:  # broken debugging information makes drgn raise several kinds
            return ()
        return tuple(found) if any(one.function or one.file for one in found) else ()

    @staticmethod
    def _location(frame: "drgn.StackFrame") -> Location:
        plain = name = printable(frame.function_name) if frame.function_name else None
        if not frame.is_inline:
            try:
                # The linker's name has the scope and the arguments, the function's own name has not.
                linker_name = printable(frame.symbol().name)
                # What a compiler makes of a part of a function, as for OpenMP, has no other.
                plain = plain or linker_name
                name = demangle(linker_name) if name is None or linker_name.startswith("_Z") else name
            except LookupError:
                pass
        try:
            source = frame.source()
        except LookupError:
            return Location(name, None, None, None, frame.is_inline)
        file = printable(source.filename) if source.filename else None
        if plain and file and source.line and is_cython(plain):
            place = _of_cython(plain, file, source.line, frame.is_inline)
            own = _generator(frame) if is_generator(plain) else None
            return replace(place, function=with_own_name(place.function or plain, own)) if own else place
        return Location(name, file, source.line or None, source.column or None, frame.is_inline)


def _generator(frame: "drgn.StackFrame") -> str | None:
    """What a generator or coroutine is called in the source: Cython numbers their bodies, and names what holds their
    variables after them."""
    try:
        scope = frame["__pyx_cur_scope"].type_.type.tag
    except (LookupError, AttributeError, TypeError):
        return None
    return scope_name(printable(scope)) if scope else None


def _of_cython(name: str, file: str, line: int, inlined: bool) -> Location:
    """A place in C that Cython wrote, as one of the source: columns are of the C file."""
    place = source_place(file, line) if file.endswith((".c", ".cpp", ".cc", ".cxx")) else None
    return Location(demangle(name), *(place or (file, line)), None, inlined)


def _open(elf: ElfFile) -> "drgn.Program | None":
    try:
        import drgn

        file = elf.open()
        if not is_readable(file):
            os.close(file)
            return None
        program = drgn.Program(drgn.host_platform)
        # drgn looks for nothing by itself: what a file names may be a pipe, a device, or anything.
        program.set_enabled_debug_info_finders([])
        module = program.extra_module(elf.path, create=True)
        first, last = elf.segments[0], elf.segments[-1]
        # With the file's own addresses as its range the module is loaded without a shift.
        module.address_range = (first.address, last.address + last.length)
        module.try_file(elf.path, fd=file, force=True)
        if module.loaded_file_bias not in (0, None):
            return None
        _find_debug_info(module, elf)
    except ImportError:
        return None
    except Exception as error:  # drgn raises several kinds on broken files; no symbols is an answer
        if type(error).__name__ != "MissingDebugInfoError":
            return None
    return program


def _find_debug_info(module: "drgn.Module", elf: ElfFile) -> None:
    import drgn

    wanted = drgn.ModuleFileStatus.WANT_SUPPLEMENTARY
    for path, file, sure in debug_files(elf):
        if module.wants_debug_file() and module.debug_file_status is not wanted:
            module.try_file(path, fd=file, force=sure)
        else:
            os.close(file)
    if module.debug_file_status is wanted:
        asked = module.wanted_supplementary_debug_file()
        for path, file in supplementary_files(asked.path, asked.supplementary_path, asked.checksum):
            if module.debug_file_status is wanted:
                module.try_file(path, fd=file)
            else:
                os.close(file)
