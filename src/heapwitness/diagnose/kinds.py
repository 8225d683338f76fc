"""What kind of bug made a damage, and which blocks are concerned: by where it begins and ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from heapwitness.diagnose.blocks import Tenant, first_tenant, last_tenant
from heapwitness.diagnose.evidence import Evidence
from heapwitness.diagnose.extent import JOIN, Extent
from heapwitness.diagnose.pattern import is_continued, reach_back
from heapwitness.heap import Node, Pool
from heapwitness.layout import witness
from heapwitness.layout.witness import State
from heapwitness.memory import Unreadable
from heapwitness.report.model import Kind

_SAMPLE = 64
_BACK = 1 << 20
_CHANCE = 2
_NEAR = 16
"""A block that ends at most this many bytes before damage is worth a mention."""

Part = Literal["control", "backup", "header", "links", "payload", "slack", "copy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A damage's kind. `origin` is the byte of the pool that its offset counts from, None for none.

    `extent` is the damage without what turned out to be a block's own bytes. `victim` is the node whose
    header was hit in one of its two copies.
    """

    kind: Kind
    extent: Extent
    culprit: Tenant | None = None
    origin: int | None = None
    victim: Node | None = None
    suspect: Tenant | None = None
    details: tuple[str, ...] = ()


def judge(pool: Pool, nodes: Sequence[Node], evidence: Evidence, extent: Extent) -> Verdict:
    """The kind of one damage.

    Args:
        nodes: those that the evidence was gathered from.
    """
    node, part = locate(pool, nodes, extent.start)
    victim = _victim(pool, nodes, extent)
    if node is not None and part in ("links", "payload") and not node.lost:
        return _into_released(pool, nodes, extent, node, victim)
    before, skipped = _before(pool, nodes, node, part, extent)
    over = before is not None and skipped is not None
    suspect: Tenant | None = None
    ends_at, reached = _ending_at(pool, nodes, extent), _reached(pool, nodes, extent)
    if before is not None and over and ends_at is not None and (inside := _begun_inside(pool, before, extent)):
        extent = extent._replace(start=before.end(pool) - inside)
        over, suspect = False, before
    # One or two bytes are the same by chance; where a header is lost, that the damage ends with it is a guess.
    guess = ends_at is not None and ends_at.lost and node is not None and ends_at.offset not in (node.offset, node.next)
    if before is not None and over and not (ends_at is not None and skipped and not (guess and skipped <= _CHANCE)):
        return Verdict(
            kind="heap-buffer-overflow",
            culprit=before,
            origin=before.end(pool),
            extent=_promised(evidence, extent),
            victim=victim,
            details=_overflow(pool, before, ends_at, skipped or 0),
        )
    under = ends_at or reached
    if under is not None:
        start = (under.offset << pool.log2) + witness.OVERHEAD
        if extent.certain <= start:
            # What a block's own payload holds is no damage, whoever wrote it.
            extent = extent._replace(stop=start, exact=True)
        return Verdict(
            kind="heap-buffer-underflow",
            culprit=Tenant(under.offset, under.header),
            origin=start,
            extent=extent,
            victim=victim,
            suspect=suspect,
        )
    suspect = before if before is not None and not over and extent.start - before.end(pool) < _NEAR else None
    return Verdict(
        kind="header-overwrite",
        extent=extent,
        victim=victim,
        suspect=suspect,
        details=_wild(pool, part, suspect, extent),
    )


def _promised(evidence: Evidence, extent: Extent) -> Extent:
    """An extent that is no more than the least: of a header that is lost the last bytes need not be damaged."""
    run = evidence.run_at(extent.stop - 1)
    guessed = not extent.exact and run is not None and run.state == "lost"
    return extent._replace(stop=extent.certain) if guessed else extent


def _into_released(pool: Pool, nodes: Sequence[Node], extent: Extent, node: Node, victim: Node | None) -> Verdict:
    """Damage that begins in a released block, by a write into that; or before the start of a block behind it, when it
    ends exactly there."""
    released = first_tenant(pool, node.offset, node.header)
    start = (node.offset << pool.log2) + witness.OVERHEAD
    under = _ending_at(pool, nodes, extent) or _ending_before(pool, nodes, extent)
    if under is None or under.offset == node.offset or extent.start == start:
        return Verdict(
            kind="use-after-free-write",
            culprit=released,
            origin=start,
            extent=extent,
            victim=victim,
            details=_use_after_free(node),
        )
    return Verdict(
        kind="heap-buffer-underflow",
        culprit=Tenant(under.offset, under.header),
        origin=(under.offset << pool.log2) + witness.OVERHEAD,
        extent=extent,
        victim=victim,
        suspect=released,
        details=(
            f"It begins in the block at {pool.payload(released.offset):#x}, which was released: a write into that one "
            "which ran on would look the same.",
        ),
    )


def locate(pool: Pool, nodes: Sequence[Node], at: int) -> tuple[Node | None, Part]:
    """The node that byte `at` of the pool lies in, and which part of it."""
    if at < witness.CONTROL:
        return None, "control"
    node = next((one for one in nodes if one.offset << pool.log2 <= at < one.next << pool.log2), None)
    if node is None:
        return None, "copy" if at >= pool.length - witness.WITNESSED else "payload"
    within = at - (node.offset << pool.log2)
    if within < witness.OVERHEAD:
        return node, "header" if within < witness.HEADER else "backup"
    if node.offset == pool.end:
        return None, "copy"
    if node.lost or node.header.state is State.USED:
        slack = not node.lost and at >= (node.next << pool.log2) - node.header.slack
        pending = not slack and not node.lost and within < witness.OVERHEAD + witness.HEADER
        return (node, "slack") if slack else (node, "links" if pending else "payload")
    return node, "links" if within < witness.OVERHEAD + witness.HEADER else "payload"


def _before(
    pool: Pool, nodes: Sequence[Node], node: Node | None, part: Part, extent: Extent
) -> tuple[Tenant | None, int | None]:
    """The block that ends before the damage, and how many bytes behind its end were left as they were;
    None when the damage does not touch it."""
    if node is None:
        return None, None
    if part == "slack":
        tenant = Tenant(node.offset, node.header)
        skipped = extent.start - tenant.end(pool)
        return tenant, 0 if _continued_down(pool, extent, skipped) else skipped
    position = nodes.index(node)
    if part != "header" or position == 0:
        return None, None
    previous = nodes[position - 1]
    if previous.lost or previous.header.quarantined:
        return None, None
    tenant = last_tenant(pool, previous.offset, previous.header)
    distance = extent.start - (node.offset << pool.log2)
    if distance and not _continued_down(pool, extent, distance):
        return tenant, None
    # A freed block's slack is not watched any more.
    return tenant, tenant.header.slack if tenant.header.state is State.USED else 0


def _begun_inside(pool: Pool, before: Tenant, extent: Extent) -> int:
    """How many bytes at the end of a block the damage behind it covers as well, when it covers some of
    them: a fill that begins in the middle of a block and ends where another begins comes from that one."""
    payload = before.end(pool) - ((before.offset << pool.log2) + witness.OVERHEAD)
    if before.end(pool) != extent.start:
        return 0
    try:
        data = pool.peek(extent.start, min(extent.certain - extent.start, _SAMPLE))
        sample = pool.peek(extent.start - min(payload, _BACK), min(payload, _BACK))
    except Unreadable:
        return 0
    covered = reach_back(sample, data)
    return covered if covered < len(sample) else 0


def _continued_down(pool: Pool, extent: Extent, distance: int) -> bool:
    """Whether the `distance` bytes before the damage are what its pattern would have put there: then
    they were written with the value that they had."""
    if not 0 < distance <= JOIN:
        return distance == 0
    try:
        data = pool.peek(extent.start, min(extent.stop - extent.start, _SAMPLE))
        return is_continued(pool.peek(extent.start - distance, distance)[::-1], data[::-1])
    except Unreadable:
        return False


def _continued_up(pool: Pool, extent: Extent, distance: int) -> bool:
    """The same for the bytes behind the damage."""
    if not 0 < distance <= JOIN:
        return distance == 0
    try:
        start = max(extent.start, extent.certain - _SAMPLE)
        return is_continued(pool.peek(extent.certain, distance), pool.peek(start, extent.certain - start))
    except Unreadable:
        return False


def _ending_at(pool: Pool, nodes: Sequence[Node], extent: Extent) -> Node | None:
    """The node of a live block that begins where the damage ends."""
    for node in nodes:
        if node.offset == pool.end:
            break
        if (node.offset << pool.log2) + witness.OVERHEAD == extent.stop:
            return node if node.header.state is State.USED else None
    at = (extent.stop - witness.OVERHEAD) >> pool.log2
    if (at << pool.log2) + witness.OVERHEAD != extent.stop:
        return None
    lasts = (_last_of(nodes, node) for node in nodes if node.lost)
    return next((node for node in lasts if node is not None and node.offset == at), None)


def _ending_before(pool: Pool, nodes: Sequence[Node], extent: Extent) -> Node | None:
    """The node of a live block before which the damage ends but for bytes that were written with what they had."""
    for node in nodes:
        start = (node.offset << pool.log2) + witness.OVERHEAD
        if node.offset != pool.end and extent.certain < start <= extent.certain + JOIN:
            live = not node.lost and node.header.state is State.USED
            return node if live and _continued_up(pool, extent, start - extent.certain) else None
    return None


def _last_of(nodes: Sequence[Node], lost: Node) -> Node | None:
    """The last of several lost nodes: where it begins is known from the one behind it."""
    behind = next((node for node in nodes if node.offset == lost.next and node.own_holds), None)
    if behind is None:
        return None
    return lost._replace(offset=behind.keeper, header=lost.header._replace(size=behind.offset - behind.keeper))


def _reached(pool: Pool, nodes: Sequence[Node], extent: Extent) -> Node | None:
    """The node of the last live block into which the damage leads without a gap."""
    found: Node | None = None
    for node in nodes:
        last = _last_of(nodes, node) if node.lost else node
        if last is None or last.offset == pool.end:
            break
        start = (last.offset << pool.log2) + witness.OVERHEAD
        if start > extent.stop + JOIN:
            break
        if start > extent.start and (extent.certain >= start or _continued_up(pool, extent, start - extent.certain)):
            found = last if last.header.state is State.USED else None
    return found


def _victim(pool: Pool, nodes: Sequence[Node], extent: Extent) -> Node | None:
    """The first node whose own header was hit; else the first whose backup was."""
    backup: Node | None = None
    for position, node in enumerate(nodes):
        own = node.offset << pool.log2
        if own < extent.stop and own + witness.HEADER > extent.start and not node.own_holds:
            return node
        kept = own + witness.KEPT
        if backup is None and kept < extent.stop and kept + witness.HEADER > extent.start:
            following = nodes[position + 1 : position + 2]
            if node.offset == pool.end:
                following = [one for one in nodes if one.offset == pool.first]
            backup = next(iter(following), None)
    return backup


def _use_after_free(node: Node) -> tuple[str, ...]:
    if node.header.state is State.USED:
        return ("The block had been released by another thread than the one that owns it.",)
    return ()


def _overflow(pool: Pool, before: Tenant, under: Node | None, skipped: int) -> tuple[str, ...]:
    details: list[str] = []
    if before.header.state is not State.USED:
        details.append("The block was released after it had been overrun, or was overrun after its release.")
    if under is not None:
        details.append(
            f"The damage also ends where the block at {pool.payload(under.offset):#x} begins: "
            "a write before the start of that block would look the same."
        )
    if skipped:
        details.append(f"{_count(skipped, 'byte')} right behind the block {'is' if skipped == 1 else 'are'} as before.")
    return tuple(details)


def _wild(pool: Pool, part: Part, suspect: Tenant | None, extent: Extent) -> tuple[str, ...]:
    if part == "control":
        return ("A write hit the pool's control block, which lies before its first block.",)
    if part == "copy":
        return ("A write hit the copy of the pool's control block, which lies behind its last block.",)
    if suspect is None:
        return ("It touches no block's edge: a wild write.",)
    distance = extent.start - suspect.end(pool)
    return (
        f"It begins {_count(distance, 'byte')} past the end of the block at {pool.payload(suspect.offset):#x} "
        "without touching it: a wild write, or an overflow of that block that left bytes out.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
