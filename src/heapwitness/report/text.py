"""Words for frames, sites, blocks and findings; whatever renders a report takes them from here.

Names of functions, files and threads come from the target. Nothing of them may reach a terminal as a
command: `clean` is applied to each.
"""

import os
from collections.abc import Sequence

from heapwitness.report.model import Block, Finding, Frame, Site

_LONGEST = 300

_LIBRARIES = ("libc.so", "libc-", "ld-linux", "libstdc++", "libc++", "libpthread", "libpython", "python3")
_HEADERS = ("/usr/include/", "/usr/lib/gcc", "/rustc/")

_RELEASE = {"malloc": "free", "aligned": "free", "new": "delete", "new[]": "delete[]"}


def clean(text: str) -> str:
    """Text of the target's, on one line, without anything that a terminal would obey; cut when very long."""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return harmless(text)


def harmless(text: str) -> str:
    """The same without a cut, for sentences of our own that hold names."""
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 byte", "2,000 bytes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def amount(size: int) -> str:
    """A size in bytes for people: "96 bytes", "1.5 KiB"."""
    if size < 10_000:
        return count(size, "byte")
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min((size.bit_length() - 1) // 10, len(units))
    return f"{size / 1024**power:,.1f} {units[power - 1]}"


def named(stack: Sequence[Frame]) -> Frame | None:
    """The frame that says most to a reader: the innermost with a line in code of the program's own, else
    with any line, else with a name, else the first."""
    return (
        next((frame for frame in stack if frame.line is not None and frame.file and not _is_library(frame)), None)
        or next((frame for frame in stack if frame.line is not None and frame.file), None)
        or next((frame for frame in stack if frame.function and not _is_library(frame)), None)
        or next((frame for frame in stack if frame.function), None)
        or next(iter(stack), None)
    )


def _is_library(frame: Frame) -> bool:
    """Whether a frame is of the system's libraries or of templates that the compiler came with."""
    return os.path.basename(frame.module or "").startswith(_LIBRARIES) or (frame.file or "").startswith(_HEADERS)


def function(frame: Frame) -> str:
    """What a frame's code is called: its function, or where in which file it lies."""
    if frame.function:
        return clean(frame.function)
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


def sized(block: Block) -> str:
    """ "a 24-byte block"."""
    if block.state == "quarantined":
        return "a block whose header is lost"
    number = f"{block.size:,}"
    spoken_with_vowel = number.startswith("8") or number.split(",")[0] in ("11", "18")
    return f"{'an' if spoken_with_vowel else 'a'} {number}-byte block"


def headline(finding: Finding) -> str:
    """The finding in one sentence, without its kind."""
    return _HEADLINES[finding.kind](finding)


def _bytes(finding: Finding) -> str:
    damage = finding.damage
    if damage is None:
        return "bytes"
    least = "" if damage.exact else "at least "
    return f"{least}{count(damage.length, 'byte')}"


def _writer(finding: Finding) -> str:
    """Who wrote, where a trap caught the store; else nothing is claimed."""
    if finding.store is None:
        return ""
    frame = named(finding.store.stack)
    return f"{function(frame)} wrote " if frame is not None else ""


def _past(finding: Finding, direction: str) -> str:
    block, store = finding.culprit, finding.store
    if block is None:
        return f"{_writer(finding)}{_bytes(finding)} {direction} a block"
    what = _bytes(finding)
    if finding.damage is None and store is not None:
        past = store.address - block.address
        distance = past - block.size if past >= 0 else -past
        what = f"to {count(distance, 'byte')}" if distance else "right"
    return f"{_writer(finding)}{what} {direction} {sized(block)}{by(_stack(block.allocated), 'allocated')}"


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
        past = count(damage.address - near.address - near.size, "byte")
        end = f"{past} past the end of {sized(near)}{by(_stack(near.allocated), 'allocated')}"
        return f"{_bytes(finding)} of heap control data overwritten, {end}"
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
    block = finding.culprit
    where = by(finding.detected.stack)
    if block is None:
        return f"{finding.pointer or 0:#x} was released{where}, which is no block"
    inside = (finding.pointer or block.address) - block.address
    return f"a pointer {count(inside, 'byte')} into {sized(block)} was released{where}"


def _mismatched(finding: Finding) -> str:
    block = finding.culprit
    where = by(finding.detected.stack)
    if block is None:
        return f"{finding.pointer or 0:#x} was released{where} by another family than allocated it"
    right = _RELEASE[block.origin]
    return f"{sized(block)}{by(_stack(block.allocated), 'allocated')} was released{where}, but not by {right}"


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
