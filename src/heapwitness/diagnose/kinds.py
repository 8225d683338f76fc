"""What kind of bug made a damage, and which blocks are concerned: by where it begins and ends."""

from collections.abc import Sequence
from dataclasses import replace

from heapwitness.diagnose.blocks import Tenant, first_tenant, last_tenant
from heapwitness.diagnose.doubt import overflow, run_over, underflow, wild
from heapwitness.diagnose.evidence import Evidence
from heapwitness.diagnose.extent import Extent
from heapwitness.diagnose.pattern import reach_back
from heapwitness.diagnose.suspects import goes_on_from, near
from heapwitness.diagnose.verdict import DamageCase, Verdict, VerdictReading
from heapwitness.diagnose.where import (
    Part,
    continued_down,
    ending_at,
    ending_shortly_before,
    locate,
    reached_by,
    start_of,
    victim_of,
)
from heapwitness.heap import NodeArea, PoolNode
from heapwitness.layout.witness import State
from heapwitness.memory import Unreadable

_SAMPLE = 64
_BACK = 1 << 20
_CHANCE = 2


def judge(
    pool: NodeArea, nodes: Sequence[PoolNode], evidence: Evidence, extent: Extent, earlier: Verdict | None = None
) -> Verdict:
    """The kind of one damage.

    Args:
        nodes: those that the evidence was gathered from.
        earlier: the verdict on the damage that leads up to this one over bytes which nothing vouches for.
    """
    node, part = locate(pool, nodes, extent.start)
    case = DamageCase(
        pool=pool,
        nodes=nodes,
        evidence=evidence,
        extent=extent,
        victim=victim_of(pool, nodes, extent),
        earlier=earlier,
    )
    if node is not None and part in ("links", "payload") and not node.lost:
        return _into_released(case, node)
    before, skipped = _before(pool, nodes, node, part, extent)
    over = before is not None and skipped is not None
    if before is not None and over and goes_on_from(pool, before, extent):
        case = replace(case, extent=extent._replace(start=before.end(pool)))
    began_inside: Tenant | None = None
    ends_at, reached = ending_at(pool, nodes, extent), reached_by(pool, nodes, extent)
    if before is not None and over and ends_at is not None and (inside := _begun_inside(pool, before, extent)):
        case = replace(case, extent=extent._replace(start=before.end(pool) - inside))
        over, began_inside = False, before
    # One or two bytes are the same by chance; where a header is lost or more is damaged behind, its end is a guess.
    lost = ends_at is not None and ends_at.lost and node is not None and ends_at.offset not in (node.offset, node.next)
    guess = lost or extent.leads_on
    if before is not None and over and not (ends_at is not None and skipped and not (guess and skipped <= _CHANCE)):
        return overflow(case, before, ends_at or (reached if skipped else None), skipped or 0)
    under = ends_at or reached
    at_run = node is not None and part == "header" and pool.follows_others(node.offset)
    if node is not None and at_run and extent.start - (node.offset << pool.log2) <= _CHANCE:
        return run_over(case, node.offset, under)
    if under is not None:
        return underflow(case, under, began_inside)
    return wild(case, () if part in ("control", "copy") else near(pool, nodes, extent), part)


def _into_released(case: DamageCase, node: PoolNode) -> Verdict:
    """Damage that begins in a released block, by a write into that; or before the start of a block behind it, when it
    ends exactly there."""
    pool, nodes, extent = case.pool, case.nodes, case.extent
    released = first_tenant(pool, node.offset, node.header)
    start = start_of(pool, node.offset)
    under = ending_at(pool, nodes, extent) or ending_shortly_before(pool, nodes, extent)
    after_free = VerdictReading(kind="use-after-free-write", culprit=released, origin=start)
    if under is None or under.offset == node.offset or extent.start == start:
        # In the smallest node links and slack share bytes; that it was released is told from what is left of the links.
        in_slack = node.header.state is State.USED and extent.start >= released.end(pool)
        return Verdict(
            kind="use-after-free-write",
            culprit=released,
            origin=start,
            extent=extent,
            victim=case.victim,
            details=_use_after_free(node),
            readings=(after_free, VerdictReading.overflow(pool, released)) if in_slack else (),
        )
    reading = VerdictReading.underflow(pool, Tenant(under.offset, under.header))
    return Verdict(
        kind="heap-buffer-underflow",
        culprit=reading.culprit,
        origin=reading.origin,
        extent=extent,
        victim=case.victim,
        suspect=released,
        details=(
            f"It begins in the block at {pool.payload(released.offset):#x}, which was released: a write into that one "
            "which ran on would look the same.",
        ),
        readings=(reading, after_free),
    )


def _before(
    pool: NodeArea, nodes: Sequence[PoolNode], node: PoolNode | None, part: Part, extent: Extent
) -> tuple[Tenant | None, int | None]:
    """The block that ends before the damage, and how many bytes behind its end were left as they were;
    None when the damage does not touch it."""
    if node is None:
        return None, None
    if part == "slack":
        tenant = Tenant(node.offset, node.header)
        skipped = extent.start - tenant.end(pool)
        return tenant, 0 if continued_down(pool, extent, skipped) else skipped
    position = nodes.index(node)
    if part != "header" or position == 0:
        return None, None
    previous = nodes[position - 1]
    if previous.lost or previous.header.quarantined or pool.is_bound(previous.offset):
        return None, None
    tenant = last_tenant(pool, previous.offset, previous.header)
    distance = extent.start - (node.offset << pool.log2)
    if distance and not (continued_down(pool, extent, distance) or goes_on_from(pool, tenant, extent)):
        return tenant, None
    # A freed block's slack is not watched any more.
    return tenant, pool.slack(*tenant) if tenant.header.state is State.USED else 0


def _begun_inside(pool: NodeArea, before: Tenant, extent: Extent) -> int:
    """How many bytes at the end of a block the damage behind it covers as well, when those are the lesser part of it: a
    fill that begins so late in a block and ends where another begins comes from that one. What covers more of it begins
    behind a head or a first member, and comes from the block itself."""
    payload = before.end(pool) - start_of(pool, before.offset)
    if before.end(pool) != extent.start:
        return 0
    try:
        data = pool.peek(extent.start, min(extent.certain - extent.start, _SAMPLE))
        sample = pool.peek(extent.start - min(payload, _BACK), min(payload, _BACK))
    except Unreadable:
        return 0
    covered = reach_back(sample, data)
    return covered if 2 * covered < payload else 0


def _use_after_free(node: PoolNode) -> tuple[str, ...]:
    if node.header.state is State.USED:
        return ("The block had been released by another thread than the one that owns it.",)
    return ()
