"""What was done to a heap, and how the report on it is held against that.

Shared by all levels: the core in this process, the engine in a forked one, and `heapwitness run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from heapwitness.findings.model import Block, Finding, Kind

Mode = Literal["check", "operations"]
Extent = Literal["exact", "bounded", "alike", "wrong", ""]
Repair = Literal["yes", "no", "lost", ""]

NEAR = 16
"""A block that ends so close before damage which does not touch it is named as the nearest one."""

LONGEST_MAKER = 64
"""A function that allocates is shorter than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One damage or wrong release, by addresses.

    Attributes:
        row: of the table.
        kinds: those that are right for it. More than one where the bytes cannot tell them apart.
        block, size: whose fault it is; 0 for a wild write, and a size of 0 where it is not known any more.
        start, stop: first byte that changed, and behind the last one; equal for a wrong release.
        wrote: where the write itself began and ended.
        seen: as `start` and `stop`, of the bytes that something vouches for.
        alike: kinds by which a write of another block would look the same; then no culprit is asked for.
        linear: no byte in between was left out.
        measured: its extent can be compared: it was one write.
        maker: address of the function that allocated the block, 0 where that is not asked for.
        terminated: the last byte is a NUL, which is not told from zeros behind it.
    """

    row: str
    kinds: frozenset[Kind]
    block: int = 0
    size: int = 0
    start: int = 0
    stop: int = 0
    wrote: tuple[int, int] = (0, 0)
    seen: tuple[int, int] = (0, 0)
    linear: bool = True
    terminated: bool = False
    measured: bool = True
    maker: int = 0
    alike: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one run.

    Attributes:
        when: of the detection; "" for none.
        told: the kinds of all findings on it.
        culprit: the block was named; None where none is asked for.
        extent: "bounded": said to be at least so long, and it is; "alike": longer by bytes that hold what the write
            would have put there, or without a NUL before zeros; "" where it was not looked at.
        repair: "lost": both copies of a header were destroyed, so that there was nothing to restore it from.
        finished: the program went on to its end as if nothing had happened.
        remark: what is wrong, for a reader.
    """

    truth: Truth
    mode: Mode
    when: str
    told: tuple[Kind, ...]
    right: bool
    culprit: bool | None
    extent: Extent
    repair: Repair
    finished: bool
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The findings of one damage, judged."""

    right: bool
    culprit: bool | None
    extent: Extent
    remarks: tuple[str, ...] = field(default=())


def judge(truth: Truth, findings: Sequence[Finding], *, extents: bool = True) -> Judgement:
    """Hold findings against the truth: one of them must be right.

    Args:
        extents: the bytes are as the damage left them, so that the reported extent can be judged.
    """
    if not findings:
        return Judgement(False, None if not truth.block else False, "", ("nothing was found",))
    best = max(findings, key=lambda one: (_is_right(truth, one), _names(truth, one), one.damage is not None))
    right = _is_right(truth, best)
    remarks = [] if right else [f"told as {', '.join(one.kind for one in findings)}"]
    if right and len(findings) > 1:
        remarks.append(f"told as {len(findings)} findings")
    culprit: bool | None = None
    other = best.kind in truth.alike
    if truth.block and not (other and right):
        culprit = _names(truth, best)
        if not culprit:
            remarks.append(f"culprit {_block(best)} instead of {truth.block:#x}, {truth.size} bytes")
    extent: Extent = ""
    same = [one.damage for one in findings if one.damage is not None and one.kind == best.kind]
    if extents and truth.measured and truth.stop > truth.start and same and right and not (truth.block and other):
        here, there = min(one.address for one in same), max(one.address + one.length for one in same)
        # Whether the end is told as the end is said by the one that ends last.
        exact = max(same, key=lambda one: one.address + one.length).exact
        extent = _extent(truth, here, there, exact)
        if extent == "wrong":
            told, *true = (
                f"{start - truth.start:+}..{stop - truth.start:+}"
                for start, stop in ((here, there), (truth.start, truth.stop), truth.wrote, truth.seen)
            )
            remarks.append(
                f"extent {'' if exact else 'at least '}{told} instead of {true[0]}, written {true[1]}, seen {true[2]}"
            )
    return Judgement(right, culprit, extent, tuple(remarks))


def _is_right(truth: Truth, finding: Finding) -> bool:
    """Whether it is told as a right kind; where the finding says that it may be several things, as one of those."""
    return finding.kind in truth.kinds or any(one.kind in truth.kinds for one in finding.readings)


def _names(truth: Truth, finding: Finding) -> bool:
    """Whether the culprit is named; of damage that is no overflow from a block's end on, as one that it may be."""
    named = [finding.culprit]
    if finding.kind == "header-overwrite":
        named.append(finding.suspect)
    if not (truth.linear and "heap-buffer-overflow" in truth.kinds - truth.alike):
        named += [one.culprit for one in finding.readings]
    return any(
        one is not None
        and one.address == truth.block
        and (not truth.size or one.size == truth.size)
        and (not truth.maker or _made_by(one, truth.maker))
        for one in named
    )


def _made_by(block: Block, maker: int) -> bool:
    """Whether a function is in the stack of the block's allocation."""
    stack = block.allocated.stack if block.allocated is not None else ()
    return any(maker < frame.pc <= maker + LONGEST_MAKER for frame in stack)


def _block(finding: Finding) -> str:
    one = finding.culprit or finding.suspect
    return "none" if one is None else f"{one.address:#x}, {one.size} bytes"


def _extent(truth: Truth, start: int, stop: int, exact: bool) -> Extent:
    """Bytes written with the value that they had may be counted or not; of what left bytes out, only those that are
    watched can be known."""
    first, last = (truth.start, truth.stop) if truth.linear else truth.seen
    if not truth.wrote[0] <= start <= first:
        return "wrong"
    if last <= stop <= max(truth.wrote[1], truth.stop):
        return "exact" if exact else "bounded"
    if truth.terminated and exact and stop == last - 1:
        return "alike"
    if stop > last:
        return "alike" if exact else "wrong"
    return "wrong" if exact else "bounded"
