"""What there is to say of a finding between its sentence and its bytes, label by label, for whatever shows it."""

from collections.abc import Iterator
from typing import NamedTuple

from heapwitness.findings.model import Array, Block, Crash, Detected, Finding
from heapwitness.findings.stacks import sites
from heapwitness.findings.words import count
from heapwitness.report import store, text

_WHEN = {"exit": "at exit", "check": "by a check", "trap": "by a trap", "crash": "by the crash"}
_COPIES = {"backup": "backup of the next header", "links": "links of a free block", "control": "control block"}


class Fact(NamedTuple):
    """A label, its lines, and whether these are sentences, which may be wrapped."""

    label: str
    lines: tuple[str, ...]
    wrap: bool = False


def facts(finding: Finding) -> Iterator[Fact]:
    """The facts of a finding, in the order in which they are read."""
    if finding.store is not None:
        done = "read" if finding.access == "read" else "stored"
        yield Fact(done, tuple(store.lines(finding.store, finding.culprit)))
    yield Fact("noticed", (_noticed(finding),))
    if by := thread(finding.detected):
        yield Fact("thread", (by,))
    if finding.pointer is not None:
        leads_to = f"  {text.leads_to(finding.place)}" if finding.place is not None else ""
        yield Fact("pointer", (f"{finding.pointer:#x}{leads_to}",), wrap=True)
    yield from _blocks(finding)
    if finding.damage is not None:
        yield Fact("damaged", (_damaged(finding),), wrap=True)
    if finding.element is not None:
        yield Fact("element", (_element(finding),), wrap=True)
    yield Fact("repaired", (_repaired(finding),), wrap=True)
    if finding.count > 1:
        yield Fact("seen", (f"{finding.count:,} times",))
    if finding.detail:
        yield Fact("note", (text.harmless(finding.detail),), wrap=True)
    if finding.culprit is not None and finding.culprit.before:
        yield Fact("before", (text.harmless(_before(finding.culprit)),), wrap=True)


def thread(detected: Detected | Crash) -> str:
    """A thread and its process; "" where neither is known."""
    words = [str(detected.thread)] if detected.thread else []
    if detected.thread_name:
        words.append(f'"{text.clean(detected.thread_name)}"')
    if detected.pid:
        words.append(f"of process {detected.pid}" if words else f"process {detected.pid}")
    return " ".join(words)


_FINALIZERS = ("Py_FinalizeEx", "_Py_Finalize", "Py_EndInterpreter", "finalize_modules")


def _noticed(finding: Finding) -> str:
    detected = finding.detected
    when = _WHEN.get(detected.when)
    if when is not None:
        return when
    ending = any(frame.function in _FINALIZERS for frame in detected.stack)
    if ending and not any(frame.language == "python" for frame in detected.stack):
        return f"in {detected.when}, as Python ended"
    return f"in {detected.when}{text.by(detected.stack, ', called')}"


def _blocks(finding: Finding) -> Iterator[Fact]:
    shown: list[int] = []
    for label, block in (
        ("block", finding.culprit),
        ("victim", finding.victim),
        ("read from" if finding.kind == "invalid-free" else "nearest", finding.suspect),
        *(("or", reading.culprit) for reading in finding.readings),
        ("previous", finding.previous),
    ):
        if block is not None and block.address not in shown:
            shown.append(block.address)
            yield Fact(label, tuple(_block(block)))


def _block(block: Block) -> Iterator[str]:
    if block.state == "end":
        yield f"{block.address:#x}  the end of the heap"
        return
    if block.state == "quarantined":
        yield f"{block.address:#x}  {count(block.size, 'byte')}, not known: its header is lost"
        return
    state: str = "released" if block.state in ("free", "cached") else block.state
    if block.state == "used" and block.freed is not None:
        state = "released, not taken back yet"
    task = f", task {text.clean(block.task)}" if block.task else ""
    yield f"{block.address:#x}  {count(block.size, 'byte')}, {state}{task}"
    if block.array is not None:
        yield _array(block.array)
    for act, site in sites(block):
        if site.stack:
            yield f"{act}{text.by(site.stack)}"


def _before(block: Block) -> str:
    meant = "it" if len(block.before) == 1 else "one of them"
    return f"{text.formers(block.before)} lay there; {meant} may be what is still used"


def _array(array: Array) -> str:
    apart = f", strides {tuple(array.strides)}" if array.shape else ""
    return f"data of an array: {text.clean(array.dtype)}, shape {text.shape(array)}{apart}"


def _element(finding: Finding) -> str:
    index = ", ".join(map(str, finding.element or ()))
    return f"it would be [{index}] of the array, counted on from its elements"


def _damaged(finding: Finding) -> str:
    damage = finding.damage
    if damage is None:
        return ""
    copies = ", ".join(_COPIES.get(copy, copy) for copy in damage.copies)
    least = "" if damage.exact else "at least "
    return f"{damage.address:#x}  {least}{count(damage.length, 'byte')}: {copies}"


def _repaired(finding: Finding) -> str:
    if finding.repaired:
        from_ = finding.header.restored_from if finding.header is not None else None
        return {"backup": "yes, the header from its backup", "header": "yes, the backup from the header"}.get(
            from_ or "", "yes"
        )
    if finding.kind == "mismatched-free":
        return "nothing to repair: the block was released all the same"
    if finding.kind in ("double-free", "invalid-free"):
        return "nothing to repair: the release was not done"
    if finding.kind == "use-after-free-read" or finding.access == "read":
        return "nothing to repair: nothing was written"
    if finding.store is not None and finding.store.instruction and finding.damage is None:
        return "nothing to repair: it went to where no other block lies"
    return "no"
