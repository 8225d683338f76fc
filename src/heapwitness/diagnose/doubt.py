"""Verdicts on damage outside of released blocks, and how sure they are of the culprit."""

from dataclasses import replace

from heapwitness.diagnose.blocks import Tenant
from heapwitness.diagnose.extent import Extent
from heapwitness.diagnose.suspects import (
    WORD,
    began_behind,
    beginning_behind,
    ending_before,
    filled_behind,
    goes_on_in,
    is_all_that_was_left_out,
    is_continued_by,
    is_continued_from,
    is_filled_alike,
    is_single_value,
    look_different,
    looks_damaged,
    may_have_begun_before,
    near,
)
from heapwitness.diagnose.verdict import DamageCase, Verdict, VerdictReading
from heapwitness.diagnose.where import Part, last_of, start_of
from heapwitness.findings.words import be, count
from heapwitness.heap import NodeArea, PoolNode
from heapwitness.layout.witness import State

_WILD = VerdictReading(kind="header-overwrite")

_Doubt = tuple[list[VerdictReading], str]
"""What else a damage may be, and a sentence that says so; "" for no doubt."""


def overflow(case: DamageCase, before: Tenant, into: PoolNode | None, skipped: int) -> Verdict:
    """Damage that touches the end of a block.

    Args:
        into: the live block that it leads up to or into, where that may be its own underflow.
        skipped: how many bytes behind the block's end are as they were.
    """
    pool = case.pool
    filled = filled_behind(pool, case.nodes, case.extent) if case.extent.parts == 1 and not skipped else None
    if filled is not None and case.earlier is None and began_behind(pool, before, filled, case.extent):
        return underflow(case, _node_of(case, filled), None)
    others, doubt = _doubts_of_overflow(case, before, into, skipped)
    if filled is not None and not others:
        others = [VerdictReading.underflow(pool, filled)]
        doubt = (
            f"What was written fills the block at {pool.payload(filled.offset):#x} as well, and ends with it: "
            "a write before the start of that block would look the same."
        )
    details: list[str] = []
    if before.header.state is not State.USED:
        details.append("The block was released after it had been overrun, or was overrun after its release.")
    if skipped:
        details.append(f"{count(skipped, 'byte')} right behind the block {be(skipped)} as before.")
    reading = VerdictReading.overflow(pool, before)
    return Verdict(
        kind="heap-buffer-overflow",
        culprit=before,
        origin=reading.origin,
        extent=_promised(case),
        victim=case.victim,
        suspect=beginning_behind(pool, case.nodes, case.extent.stop) if case.extent.parts > 1 else None,
        details=(*details, doubt) if doubt else tuple(details),
        readings=(reading, *others) if others else (),
    )


def _node_of(case: DamageCase, tenant: Tenant) -> PoolNode:
    return next(one for one in case.nodes if one.offset == tenant.offset)


def _doubts_of_overflow(case: DamageCase, before: Tenant, into: PoolNode | None, skipped: int) -> _Doubt:
    """An overflow is in doubt where it is several damages in a row without a pattern, goes on from earlier damage,
    leads up to another block's start, or left bytes out close to another block."""
    pool, extent = case.pool, case.extent
    behind = beginning_behind(pool, case.nodes, extent.stop)
    if extent.parts > 1:
        return [_WILD, *([VerdictReading.underflow(pool, behind)] if behind else [])], (
            "It lies around several headers, and no pattern runs through the bytes between them: "
            "it may be one write past the end of that block, or many by an index or a pointer of something else."
        )
    if case.earlier is not None:
        return _run_on(case, case.earlier, before)
    led_up_to = Tenant(into.offset, into.header) if into is not None else behind if extent.leads_on else None
    if led_up_to is not None and not _is_surely_from(pool, before, case):
        return [VerdictReading.underflow(pool, led_up_to)], (
            f"The damage also ends where the block at {pool.payload(led_up_to.offset):#x} begins: "
            "a write before the start of that block would look the same."
        )
    if skipped and behind is not None and VerdictReading.underflow(pool, behind) in near(pool, case.nodes, extent):
        return [VerdictReading.underflow(pool, behind)], _before_start(case, behind)
    return [], ""


def _run_on(case: DamageCase, earlier: Verdict, before: Tenant) -> _Doubt:
    """What damage at the end of a block may be when damage led up to that block already."""
    if look_different(case.pool, earlier.extent, case.extent):
        return [], ""
    other = earlier.culprit
    overrun = earlier.kind == "heap-buffer-overflow" and other is not None and other.offset != before.offset
    reading = VerdictReading.overflow(case.pool, other) if overrun and other is not None else _WILD
    return [reading], (
        "The headers before that block were overwritten as well: a write that ran on through it would look the same."
    )


def _is_surely_from(pool: NodeArea, before: Tenant, case: DamageCase) -> bool:
    """Whether damage between two blocks goes on with what the first holds, and the second holds something else, or
    damage leads up to the second one's end as well; or with what fills the first from its start on."""
    extent = case.extent
    if is_filled_alike(pool, before, extent):
        return True
    return is_continued_from(pool, before, extent) and (extent.leads_on or not is_continued_by(pool, extent))


def underflow(case: DamageCase, under: PoolNode, began_inside: Tenant | None) -> Verdict:
    """Damage that leads up to the start of a block; a single value there is a wild write as likely.

    Args:
        began_inside: the block before, where what was written began inside of that.
    """
    pool = case.pool
    reading = VerdictReading.underflow(pool, Tenant(under.offset, under.header))
    start = start_of(pool, under.offset)
    if case.extent.certain <= start:
        # What a block's own payload holds is no damage, whoever wrote it.
        case = replace(case, extent=case.extent._replace(stop=start, exact=True))
    before = began_inside or ending_before(pool, case.nodes, case.extent.start)
    is_left_out = (
        before is not None and not began_inside and is_all_that_was_left_out(case.evidence, case.extent, before)
    )
    goes_on = before is not None and goes_on_in(pool, case.extent, before)
    if is_left_out and is_single_value(pool, case.extent) and not goes_on:
        readings = near(pool, case.nodes, case.extent)
        if len(readings) > 1:
            return wild(case, readings, "header")
    others: list[VerdictReading] = []
    doubt = ""
    if before is not None and (
        began_inside or is_left_out or may_have_begun_before(case.evidence, case.extent, before)
    ):
        others = [VerdictReading.overflow(pool, before)]
        doubt = _began_inside_of(case, before) if began_inside else _past_end(case, before)
    elif case.earlier is not None or case.extent.leads_on:
        others = [_WILD]
        side = "before" if case.earlier is not None else "behind"
        doubt = f"The headers {side} it were overwritten as well: a longer write would look the same."
    elif under.lost or case.extent.parts > 1:
        others = [_WILD]
        doubt = _seen_only_by_damage(under)
    elif before is None and _is_behind_lost(case):
        others = [VerdictReading(kind="heap-buffer-overflow")]
        doubt = "A block whose header is lost ends where it begins: a write past that one's end would look the same."
    return Verdict(
        kind="heap-buffer-underflow",
        culprit=reading.culprit,
        origin=reading.origin,
        extent=case.extent,
        victim=case.victim,
        suspect=others[0].culprit if others else None,
        details=(doubt,) if doubt else (),
        readings=(reading, *others) if others else (),
    )


def _seen_only_by_damage(under: PoolNode) -> str:
    """Why damage that leads up to a block need not be that block's."""
    if under.lost:
        return "The header of that block is lost as well: it may be a wild write that ended there."
    return (
        "It lies around several headers, and no pattern runs through the bytes between them: it may be one write "
        "before the start of that block, or many by an index or a pointer of something else."
    )


def _is_behind_lost(case: DamageCase) -> bool:
    """Whether damage begins at a node's first byte, and the node before is lost."""
    lost = [one for one in case.nodes if one.lost]
    lasts = [last_of(case.nodes, one) for one in lost]
    starts = {one.next for one in lost} | {one.offset for one in lasts if one is not None}
    return any(start << case.pool.log2 == case.extent.start for start in starts)


def wild(case: DamageCase, readings: tuple[VerdictReading, ...], part: Part) -> Verdict:
    """Damage that touches no block's edge, or is taken for such.

    Args:
        readings: as writes out of the blocks near by, the most likely first.
        part: where it begins.
    """
    details: tuple[str, ...] = ("It touches no block's edge: a wild write.",)
    if part == "control":
        details = ("A write hit the pool's control block, which lies before its first block.",)
    elif part == "copy":
        details = ("A write hit the copy of the pool's control block, which lies behind its last block.",)
    elif readings:
        details = (*(_may_be(case, one) for one in readings), "It may be a wild write as well.")
    return Verdict(
        kind="header-overwrite",
        extent=case.extent,
        victim=case.victim,
        suspect=readings[0].culprit if readings else None,
        details=details,
        readings=(*readings, _WILD) if readings else (),
    )


def run_over(case: DamageCase, sentinel: int, under: PoolNode | None) -> Verdict:
    """Damage that begins with a run of blocks: what ran over the end of the last block of the run before went on there,
    and what is damaged in that one may have been put right since.

    Args:
        sentinel: the node that the run begins with.
        under: the live block that the damage leads up to or into.
    """
    pool, extent = case.pool, case.extent
    last = pool.last_before(sentinel)
    before = Tenant(last.offset, last.header) if last is not None else None
    over = VerdictReading.overflow(pool, before) if before is not None else VerdictReading(kind="heap-buffer-overflow")
    doubt = (
        f"It begins where blocks of another stretch do: a write past the end of {_whose(pool, before)} "
        "may have gone on there."
    )
    if under is not None:
        other = VerdictReading.underflow(pool, Tenant(under.offset, under.header))
        readings: tuple[VerdictReading, ...] = (over, other) if before is not None else (other, over)
    elif before is not None:
        readings = (over, *near(pool, case.nodes, extent), _WILD)
    else:
        verdict = wild(case, near(pool, case.nodes, extent), "header")
        return replace(verdict, details=(*verdict.details, doubt), readings=(*(verdict.readings or (_WILD,)), over))
    return Verdict(
        kind=readings[0].kind,
        culprit=readings[0].culprit,
        origin=readings[0].origin,
        extent=extent,
        victim=case.victim,
        suspect=readings[1].culprit,
        details=(doubt,),
        readings=readings,
    )


def _whose(pool: NodeArea, before: Tenant | None) -> str:
    if before is None:
        return "a block that ends before"
    return f"the block at {pool.payload(before.offset):#x}, which ends right before,"


def _promised(case: DamageCase) -> Extent:
    """An extent that is no more than the least: of a header that is lost the last bytes need not be damaged."""
    extent = case.extent
    run = case.evidence.run_at(extent.stop - 1)
    is_guessed = not extent.exact and run is not None and run.state == "lost" and not looks_damaged(case.pool, extent)
    return extent._replace(stop=extent.certain) if is_guessed else extent


def _may_be(case: DamageCase, reading: VerdictReading) -> str:
    assert reading.culprit is not None
    how = _past_end if reading.kind == "heap-buffer-overflow" else _before_start
    return how(case, reading.culprit)


def _past_end(case: DamageCase, tenant: Tenant) -> str:
    past = case.extent.start - tenant.end(case.pool)
    where = f"{count(past, 'byte')} past" if past else "right past"
    return (
        f"It begins {where} the end of the block at {case.pool.payload(tenant.offset):#x}: "
        f"it may have been written by an index{_index(case, tenant)} that is too large for that block."
    )


def _before_start(case: DamageCase, tenant: Tenant) -> str:
    ahead = start_of(case.pool, tenant.offset) - case.extent.stop
    where = f"{count(ahead, 'byte')} before" if ahead else "right before"
    return (
        f"It ends {where} the start of the block at {case.pool.payload(tenant.offset):#x}: "
        f"it may have been written by an index{_index(case, tenant)} that is negative."
    )


def _began_inside_of(case: DamageCase, tenant: Tenant) -> str:
    return (
        f"It began inside of the block at {case.pool.payload(tenant.offset):#x}, whose own bytes look the same: "
        "a write past the end of that block would, too."
    )


def _index(case: DamageCase, tenant: Tenant) -> str:
    """The index of the single word that was hit, counted from a block's start: " (10 in elements of 8 bytes)"."""
    word = case.extent.start // WORD * WORD
    if case.extent.stop > word + WORD:
        return ""
    return f" ({(word - start_of(case.pool, tenant.offset)) // WORD} in elements of {WORD} bytes)"
