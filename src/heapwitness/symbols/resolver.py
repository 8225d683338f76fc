"""Stacks of bare addresses to stacks of named frames, for one process after the other.

The resolver keeps what it knows of files (build ids, symbols) across processes, because a program that
forks has the same files loaded many times. What a process has mapped is given with each question.
"""

import bisect
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import msgspec

from heapwitness.findings.model import Crash, Finding, Frame, HeapMap, Place, When
from heapwitness.findings.stacks import Act, crash_with_stacks, is_exact, with_stacks
from heapwitness.symbols.debuginfo import DebugInfo, Location
from heapwitness.symbols.demangle import plain
from heapwitness.symbols.elf import ElfFile, printable, read_elf
from heapwitness.symbols.maps import Mapping, parse_maps

ENGINE = "libheapwitness_preload.so"
FILES_LIMIT = 256
FRAMES_LIMIT = 256


class Resolver:
    """Names for addresses; see the module's text.

    Args:
        until: for a record, its time (seconds since 1970): a file that was changed later is not the one
            that was mapped. None for live processes, whose mappings say when a file was replaced.
    """

    def __init__(self, until: float | None = None) -> None:
        self._until = until
        self._files: OrderedDict[tuple[str, int], ElfFile | None] = OrderedDict()
        self._infos: OrderedDict[tuple[str, int], DebugInfo] = OrderedDict()

    def finding(self, finding: Finding, maps: str) -> Finding:
        """A finding with every stack in it named.

        Args:
            finding: as diagnosed, its frames have a pc and nothing else.
            maps: text of /proc/PID/maps of the process in which it was found.
        """
        space = _Space(self, parse_maps(maps))
        when = finding.detected.when
        named = with_stacks(finding, lambda act, stack: space.stack_of(act, stack, when))
        place = named.place
        if place is not None and named.pointer is not None and place.kind != "stack":
            place = space.place(named.pointer) or place
        return msgspec.structs.replace(named, place=place)

    def crash(self, crash: Crash, maps: str) -> Crash:
        """A crash with every stack in it named; as `finding`."""
        space = _Space(self, parse_maps(maps))
        return crash_with_stacks(crash, lambda act, stack: space.stack_of(act, stack, "crash"))

    def heap_map(self, taken: HeapMap, maps: str) -> HeapMap:
        """A heap's map with the stacks of its sites named; as `finding`."""
        space = _Space(self, parse_maps(maps))
        sites = tuple(msgspec.structs.replace(one, stack=space.stack(one.stack)) for one in taken.sites)
        return msgspec.structs.replace(taken, sites=sites)

    def stack(self, frames: Sequence[Frame], maps: str) -> tuple[Frame, ...]:
        """One stack of return addresses, named."""
        return _Space(self, parse_maps(maps)).stack(frames)

    def file(self, mapping: Mapping) -> ElfFile | None:
        """The file behind a mapping, if it is still the one that was mapped."""
        key = (mapping.path, mapping.inode)
        if key not in self._files:
            self._files[key] = self._read(mapping)
            if len(self._files) > FILES_LIMIT:
                self._files.popitem(last=False)
        return self._files[key]

    def locations(self, mapping: Mapping, elf: ElfFile, address: int) -> tuple[Location, ...]:
        """What a file's address is, by the file's symbols."""
        return self._info(mapping, elf).locations(address)

    def symbol(self, mapping: Mapping, elf: ElfFile, address: int) -> tuple[str, int] | None:
        """The symbol that a file's address lies in, and how many bytes into it."""
        return self._info(mapping, elf).symbol(address)

    def _info(self, mapping: Mapping, elf: ElfFile) -> DebugInfo:
        key = (mapping.path, mapping.inode)
        if key not in self._infos:
            self._infos[key] = DebugInfo(elf)
            if len(self._infos) > FILES_LIMIT:
                self._infos.popitem(last=False)
        return self._infos[key]

    def _read(self, mapping: Mapping) -> ElfFile | None:
        """The file that was mapped, None when that of this name is another one by now."""
        for path in mapping.names():
            found = read_elf(path, mapping.identity, self._until)
            if found is not None:
                return found
        return None


class _Space:
    """The address space of one process at one moment."""

    def __init__(self, resolver: Resolver, mappings: tuple[Mapping, ...]) -> None:
        self._resolver = resolver
        self._mappings = mappings
        self._starts = [mapping.start for mapping in mappings]

    def stack_of(self, act: Act, frames: Sequence[Frame], when: When) -> tuple[Frame, ...]:
        """Name the stack of an act; `when` the finding was made."""
        return self.stack(frames, exact=is_exact(act, when), called=act == "accessed")

    def stack(self, frames: Sequence[Frame], *, exact: bool = False, called: bool = False) -> tuple[Frame, ...]:
        """Name a stack's frames; the engine's own are dropped from its top.

        `exact`: the innermost pc is the instruction itself and not a return address. `called`: the function of the
        engine stays that the program called, which stands for the one of libc.
        """
        named: list[Frame] = []
        engine: Frame | None = None
        for number, frame in enumerate(frames[:FRAMES_LIMIT]):
            resolved = self._frames(frame, exact and number == 0)
            if not named and resolved[0].module and os.path.basename(resolved[0].module) == ENGINE:
                engine = resolved[-1]
                continue
            if called and engine is not None and not named and engine.function:
                named.append(engine)
            named.extend(resolved)
        return tuple(named[:FRAMES_LIMIT])

    def _frames(self, frame: Frame, exact: bool) -> list[Frame]:
        if frame.function is not None and frame.language == "c":
            return [msgspec.structs.replace(frame, function=plain(frame.function))]
        at = frame.pc if exact else frame.pc - 1
        mapping = self._mapping(at)
        if mapping is None:
            return [frame]
        elf = self._resolver.file(mapping)
        shift = elf.shift(mapping) if elf else mapping.start - mapping.offset
        known = msgspec.structs.replace(
            frame,
            module=printable(mapping.path),
            build_id=elf.build_id if elf else None,
            offset=frame.pc - shift if frame.pc >= shift else None,
        )
        locations = self._resolver.locations(mapping, elf, at - shift) if elf and at >= shift else ()
        return [
            msgspec.structs.replace(
                known,
                function=one.function,
                file=one.file,
                line=one.line,
                column=one.column,
                inlined=one.inlined,
            )
            for one in locations
        ] or [known]

    def place(self, pointer: int) -> Place | None:
        """The module whose code or data a pointer leads to, and what it is there; None for no module's.

        A variable without a value in the file lies in a mapping without a name: a module's extent is told by the
        segments of its file, from where its code is mapped.
        """
        for mapping in self._mappings:
            elf = self._resolver.file(mapping) if mapping.executable else None
            if elf is None:
                continue
            at = pointer - elf.shift(mapping)
            segment = next((one for one in elf.segments if one.address <= at < one.address + one.length), None)
            if segment is None:
                continue
            kind: Literal["code", "data", "read-only data"] = "data" if segment.writable else "read-only data"
            symbol, offset = self._resolver.symbol(mapping, elf, at) or (None, None)
            return Place(
                kind="code" if segment.executable else kind,
                module=printable(mapping.path),
                symbol=symbol,
                offset=offset,
            )
        return None

    def _mapping(self, address: int) -> Mapping | None:
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0 or address >= self._mappings[position].end:
            return None
        return self._mappings[position]
