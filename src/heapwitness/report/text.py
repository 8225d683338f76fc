"""Words for frames, sites, blocks and findings; whatever renders a report takes them from here.

Names of functions, files and threads come from the target. Nothing of them may reach a terminal as a
command: `clean` is applied to each.
"""

import os
from collections.abc import Sequence

from heapwitness.findings.model import (
    RELEASE_OF_DOMAIN,
    Array,
    Block,
    Damage,
    Finding,
    Former,
    Frame,
    Place,
    Site,
    Store,
)
from heapwitness.findings.words import count
from heapwitness.report.frames import named, qualified
from heapwitness.report.names import spoken
from heapwitness.report.plain import amount as amount
from heapwitness.report.plain import clean as clean
from heapwitness.report.plain import harmless as harmless

_RELEASE = {"malloc": "free", "aligned": "free", "new": "delete", "new[]": "delete[]"}


def function(frame: Frame) -> str:
    """What a frame's code is called: its function, or where in which file it lies."""
    if frame.function:
        return clean(spoken(frame.function))
    if frame.module and frame.offset is not None:
        return f"{clean(os.path.basename(frame.module))}+{frame.offset:#x}"
    return f"{frame.pc:#x}"


def line(frame: Frame, *, whole_path: bool = False) -> str:
    """Where a frame's code is written ("record.c:41"), "" when that is not known."""
    if not frame.file:
        return ""
    path = _shortened(frame.file) if whole_path else os.path.basename(frame.file)
    return f"{clean(path)}:{frame.line}" if frame.line is not None else clean(path)


def _shortened(path: str) -> str:
    try:
        here = os.getcwd() + os.sep
    except OSError:  # the directory was removed
        return path
    return path.removeprefix(here) if here != os.sep else path


def place(stack: Sequence[Frame]) -> str:
    """A stack in a few words: "new_record at record.c:41"; "" for an empty one."""
    frame = named(stack)
    if frame is None:
        return ""
    where = line(frame)
    return f"{function(frame)} at {where}" if where else function(frame)


def by(stack: Sequence[Frame] | None, verb: str = "") -> str:
    """What follows a noun: " allocated by new_record at record.c:41", or "" for an unknown stack."""
    where = place(stack) if stack else ""
    return f"{' ' if verb[:1].isalpha() else ''}{verb} by {where}" if where else ""


def _stack(site: Site | None) -> Sequence[Frame]:
    return site.stack if site is not None else ()


def shape(array: Array) -> str:
    """An array's shape as Python writes it: "(992,)"."""
    return str(tuple(array.shape))


def sized(block: Block) -> str:
    """ "a 24-byte block"."""
    if block.state == "quarantined":
        return "a block whose header is lost"
    if block.array is not None:
        dtype = clean(block.array.dtype)
        return f"{'an' if dtype.startswith(('int', 'obj', 'S')) else 'a'} {dtype} array of shape {shape(block.array)}"
    number = f"{block.size:,}"
    noun = f"{clean(block.type)} object" if block.type is not None else "block"
    spoken_with_vowel = number.startswith("8") or number.split(",")[0] in ("11", "18")
    return f"{'an' if spoken_with_vowel else 'a'} {number}-byte {noun}"


def formers(before: Sequence[Former]) -> str:
    """What lay in a block's place before it, as a noun: "an Account object allocated by make at main.py:7 that drop
    at main.py:9 released"."""
    return ", and before that ".join(map(_former, before))


def _former(one: Former) -> str:
    noun = f"{clean(one.type)} object" if one.type is not None else "block"
    article = "an" if noun[0] in "AEIOUaeiou" else "a"
    released = by(_stack(one.freed), "released")
    return f"{article} {noun}{by(_stack(one.allocated), 'allocated')}{f' and{released}' if released else ''}"


def headline(finding: Finding) -> str:
    """The finding in one sentence, without its kind."""
    return _HEADLINES[finding.kind](finding)


def _bytes(finding: Finding) -> str:
    damage = finding.damage
    if damage is None:
        return "bytes"
    if finding.store is not None and (length := _stored(finding, finding.store, damage)) is not None:
        return count(length, "byte")
    least = "" if damage.exact else "at least "
    return f"{least}{count(damage.length, 'byte')}"


def _stored(finding: Finding, store: Store, damage: Damage) -> int | None:
    """Bytes that one store wrote outside of the block, with those that were the same, if it did all of the damage."""
    if not store.size or store.times > 1:
        return None
    start = store.start if store.start is not None else store.address
    stop = start + store.size
    block = finding.culprit
    if block is not None and finding.kind == "heap-buffer-overflow":
        start = max(start, block.address + block.size)
    if block is not None and finding.kind == "heap-buffer-underflow":
        stop = min(stop, block.address)
    return stop - start if start <= damage.address and damage.address + damage.length <= stop else None


def _writer(finding: Finding) -> str:
    """Who wrote or read, where a trap caught it; else nothing is claimed."""
    if finding.store is None:
        return ""
    frame = named(finding.store.stack)
    verb = "read" if finding.access == "read" else "wrote"
    if frame is None:
        return ""
    who = f"{function(frame)}{_of_file(frame)}"
    first = finding.store.stack[0]
    if first.module or first.language == "python":
        return f"{who} {verb} "
    if first.file:
        return f"{clean(qualified(first.function or ''))}{_of_file(first)} {verb} "
    made = (
        f"{clean(qualified(first.function))}, compiled at run time"
        if first.function
        else f"code in no file ({first.pc:#x}), such as a compiler makes at run time"
    )
    return f"{made}{f', called by {who}' if frame is not first else ''}, {verb} "


def _of_file(frame: Frame) -> str:
    """In which file a function of Python, Cython or Numba is, " (signals.pyx)"; others are told by their stack."""
    name = os.path.basename(frame.file or "")
    of_python = frame.language == "python" or name.endswith((".py", ".pyx", ".pxd"))
    return f" ({clean(name)})" if name and of_python else ""


def _past(finding: Finding, direction: str) -> str:
    block, store = finding.culprit, finding.store
    may = "that may have been written " if _is_doubtful(finding) else ""
    if block is None:
        return f"{_writer(finding)}{_bytes(finding)} {may}{direction} a block"
    what = _bytes(finding)
    if finding.damage is None and store is not None:
        to = "at" if finding.access == "read" else "to"
        distance = _left_by(store, block)
        what = f"{to} {count(distance, 'byte')}" if distance else "right"
    return f"{_writer(finding)}{what} {may}{direction} {sized(block)}{by(_stack(block.allocated), 'allocated')}"


def _left_by(store: Store, block: Block) -> int:
    """How many bytes behind a block's end, or before its start, an access is, 0 for right behind the end.

    A trap is met where a page begins: an access that begins in front of that, in the block or its slack, left it there.
    """
    end = block.address + block.size
    if store.address < block.address:
        return block.address - store.address
    return max((store.address if store.start is None else store.start) - end, 0)


def _is_doubtful(finding: Finding) -> bool:
    """Whether the sentence must leave open what it was. A damage that begins at a block's very end is that block's;
    that a write before the block behind would look the same is left to the note."""
    if finding.certain or finding.store is not None:
        return False
    at_the_end = finding.damage is not None and finding.damage.offset == 0
    others = {one.kind for one in finding.readings[1:]}
    return not (finding.kind == "heap-buffer-overflow" and at_the_end and others == {"heap-buffer-underflow"})


def _overflow(finding: Finding) -> str:
    return _past(finding, "past the end of")


def _underflow(finding: Finding) -> str:
    return _past(finding, "before the start of")


def _after_free(finding: Finding) -> str:
    block, damage = finding.culprit, finding.damage
    verb = "" if _writer(finding) else "written "
    what = f"{_writer(finding)}{_bytes(finding)} {verb}"
    if damage is None and block is not None and finding.store is not None:
        offset = finding.store.address - block.address
        where = f"to offset {offset:,} of {sized(block)}"
        return f"{_writer(finding)}{where} after it was released{by(_stack(block.freed))}"
    if block is None:
        return f"{what}into a released block"
    at = f"at offset {damage.offset:,} of " if damage is not None and damage.offset is not None else "into "
    return f"{what}{at}{sized(block)} after it was released{by(_stack(block.freed))}"


def _after_free_read(finding: Finding) -> str:
    block = finding.culprit
    used = by(finding.detected.stack, ", used")
    if block is not None and finding.store is not None:
        offset = finding.store.address - block.address
        what = f"{_writer(finding)}at" if _writer(finding) else "a read at"
        return f"{what} offset {offset:,} of {sized(block)} after it was released{by(_stack(block.freed))}"
    if block is None:
        return f"a pointer was read from released or uninitialised memory{used}"
    if is_released(block):
        return f"a pointer was read from {sized(block)} after it was released{by(_stack(block.freed))}{used}"
    where = f"{sized(block)}{by(_stack(block.allocated), 'allocated')}"
    return f"a pointer was read from released or uninitialised memory of {where}{used}"


def is_released(block: Block) -> bool:
    """Whether the program has released a block."""
    return block.state in ("free", "cached") or block.freed is not None


def _header(finding: Finding) -> str:
    block, damage, near = finding.victim, finding.damage, finding.suspect
    if near is not None and damage is not None and finding.store is None:
        what = f"{_bytes(finding)} of heap control data overwritten, {_beside(finding, near)}"
        side = "past its end" if damage.address >= near.address + near.size else "before its start"
        may = "" if finding.certain else f", which may be a write {side}"
        return f"{what} {sized(near)}{by(_stack(near.allocated), 'allocated')}{may}"
    copies = damage.copies if damage is not None else ()
    what = "heap control data"
    if copies == ("header",):
        what = "the header"
    elif copies == ("backup",):
        what = "the backup of the header"
    elif copies == ("control",):
        what = "the heap's control block"
    wrote = _writer(finding) or "a wild write hit "
    if block is None or "control" in copies:
        return f"{wrote}{_bytes(finding)} of {what}"
    if block.state == "end":
        return f"{wrote}{_bytes(finding)} of {what} of the heap's end"
    return f"{wrote}{_bytes(finding)} of {what} of {sized(block)}{by(_stack(block.allocated), 'allocated')}"


def _beside(finding: Finding, near: Block) -> str:
    """How far damage is from a block that it does not touch, and on which side."""
    assert finding.damage is not None
    start, stop = finding.damage.address, finding.damage.address + finding.damage.length
    if start >= near.address + near.size:
        return f"{count(start - near.address - near.size, 'byte')} past the end of"
    ahead = count(near.address - stop, "byte") if near.address > stop else "right"
    return f"{ahead} before the start of"


def _double(finding: Finding) -> str:
    block = finding.culprit
    if block is None:
        return f"{finding.pointer or 0:#x} was released twice"
    first = by(_stack(block.freed))
    return f"{sized(block)} was released twice{f': first{first}' if first else ''}{_again(finding)}"


def _again(finding: Finding) -> str:
    where = place(finding.detected.stack)
    return f", again by {where}" if where else ""


def _invalid(finding: Finding) -> str:
    block, place = finding.culprit, finding.place
    where = f"{_with(finding)}{by(finding.detected.stack)}"
    if block is None and place is not None and place.kind != "unmapped":
        return f"{leads_to(place)} was released{where}"
    if block is None and finding.suspect is not None:
        return f"{finding.pointer or 0:#x}, which was read from {_stale(finding.suspect)}, was released{where}"
    if block is None:
        return f"{finding.pointer or 0:#x} was released{where}, which is no block"
    inside = (finding.pointer or block.address) - block.address
    if not 0 <= inside <= block.size:
        made = by(_stack(block.allocated), "allocated")
        return f"{finding.pointer or 0:#x}, the lower half of the address of {sized(block)}{made}, was released{where}"
    origin = " of new[]" if block.origin == "new[]" else ""
    return f"a pointer {count(inside, 'byte')} into {sized(block)}{origin} was released{where}"


def called_suspect(finding: Finding) -> str:
    """What a finding's `suspect` is called beside "the block"."""
    return "the block that it was read from" if finding.kind == "invalid-free" else "the nearest block"


def _stale(block: Block) -> str:
    if is_released(block):
        return f"{sized(block)} after the release of that{by(_stack(block.freed))}"
    return f"uninitialised memory of {sized(block)}{by(_stack(block.allocated), 'allocated')}"


def _with(finding: Finding) -> str:
    return f" with {finding.released_with}" if finding.released_with else ""


def leads_to(place: Place) -> str:
    """Where a wrong pointer leads, as a noun: 'memory on the stack of thread 12 "main"'."""
    return f"memory {_at(place)}" if place.kind != "unmapped" else "nothing is mapped there"


def _at(place: Place) -> str:
    module = clean(os.path.basename(place.module)) if place.module else ""
    symbol = clean(place.symbol) if place.symbol else ""
    match place.kind:
        case "stack":
            name = f' "{clean(place.thread_name)}"' if place.thread_name else ""
            return f"on the stack of thread {place.thread}{name}" if place.thread else "on the stack of the main thread"
        case "code":
            return f"in the code of {module}{f' ({symbol})' if symbol else ''}"
        case "data" | "read-only data" if symbol:
            into = f"{count(place.offset, 'byte')} into" if place.offset else "in"
            return f"{into} {symbol} ({place.kind} of {module})"
        case "file":
            return f"in a mapping of {module}"
        case "break" | "mapped":
            whose = f"{module or 'another allocator'}'s"
            if place.kind == "break":
                return f"that brk gave beside this heap ({whose}, or the program's own)"
            # The stack of a thread that runs just now, or that a record knows nothing of, looks the same.
            return f"that was mapped beside this heap ({whose}, a thread's stack, or the program's own)"
        case _:
            return f"in {place.kind} of {module}"


def _mismatched(finding: Finding) -> str:
    block = finding.culprit
    where = f"{_with(finding)}{by(finding.detected.stack)}"
    if block is None:
        return f"{finding.pointer or 0:#x} was released{where}, which is not of the family that allocated it"
    made: str = "malloc" if block.origin == "aligned" else block.origin
    needed = _RELEASE[block.origin]
    if block.domain is not None:
        made, needed = block.domain, RELEASE_OF_DOMAIN[block.domain]
    return f"{sized(block)} allocated with {made}{by(_stack(block.allocated))} was released{where}: {needed} is needed"


def _stack_overflow(finding: Finding) -> str:
    block = finding.culprit
    if block is None:
        return f"a task ran past the low end of its stack: {_bytes(finding)}"
    owner = f"task {clean(block.task)}" if block.task else "a task"
    return f"{owner} ran past the low end of its {block.size:,}-byte stack: {_bytes(finding)}"


_HEADLINES = {
    "heap-buffer-overflow": _overflow,
    "heap-buffer-underflow": _underflow,
    "header-overwrite": _header,
    "use-after-free-write": _after_free,
    "use-after-free-read": _after_free_read,
    "double-free": _double,
    "invalid-free": _invalid,
    "mismatched-free": _mismatched,
    "task-stack-overflow": _stack_overflow,
}
