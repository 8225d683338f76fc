"""Findings from the damage at one place of a pool."""

from itertools import islice

import msgspec

from heapwitness.diagnose.blocks import ORIGINS, STATES, Sites, Tenant, block_of, first_tenant
from heapwitness.diagnose.evidence import Evidence, gather
from heapwitness.diagnose.extent import Extent, extents
from heapwitness.diagnose.kinds import judge
from heapwitness.diagnose.picture import damage_of
from heapwitness.diagnose.verdict import Verdict, VerdictReading
from heapwitness.findings import model
from heapwitness.findings.model import Block, Detected, Finding, Header, HeaderFields
from heapwitness.heap import Fault, NodeArea, PoolNode, WalkedPool, WalkedRuns
from heapwitness.heap.index import shape
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.reasons import kind_of
from heapwitness.layout.witness import State
from heapwitness.memory import Unreadable

NODES_LIMIT = 4096
"""So many nodes of one place are looked at."""

PASSED_LIMIT = 200_000
"""So many nodes are passed on the way to a place that cannot be begun at."""

FINDINGS_LIMIT = 64

_APART = (
    "A write hit what the heap keeps about blocks of one size, apart from them: "
    "where they are, and which of them are free."
)
_APART_SIZE = "A write hit what the heap keeps about the size of a block, apart from it."


def damages(pool: NodeArea, sites: Sites, fault: Fault, detected: Detected) -> tuple[Finding, ...]:
    """What a fault comes to: mostly one finding, more where several writes met in one place.

    A fault whose damage is gone when it is looked at is a finding without an extent.
    """
    try:
        found = (
            _of_control(pool, sites, detected)
            if fault.reason is Reason.CONTROL
            else _around(pool, sites, fault, detected)
        )
    except Unreadable as error:
        return (_unseen(pool, sites, fault, detected, f"The damaged place could not be read: {error}"),)
    if found:
        return found
    if fault.reason is Reason.SLACK and _is_size_lost(pool, fault.node):
        return (Finding(kind="header-overwrite", detected=detected, detail=_APART_SIZE),)
    return (_unseen(pool, sites, fault, detected, "The damaged bytes were as they should be when they were read."),)


def _is_size_lost(pool: NodeArea, node: int) -> bool:
    return pool.standing(node) and not pool.is_slack_known(node, pool.own(node))


def _around(pool: NodeArea, sites: Sites, fault: Fault, detected: Detected) -> tuple[Finding, ...]:
    low, high = (fault.low, fault.high) if fault.reason is Reason.DAMAGE else (fault.node, fault.node)
    if fault.reason is not Reason.DAMAGE and pool.is_bound(fault.node):
        low = pool.node_before(fault.node)
    nodes = _nodes(pool, low, high)
    if not nodes:
        return ()
    waiting = fault.node if fault.reason is Reason.LINKS and nodes[0].header.state is State.USED else 0
    evidence = gather(pool, nodes, waiting=waiting)
    first, last = _bounds(pool, fault, nodes)
    mine = (extent for extent in extents(evidence) if extent.start < last and extent.stop > first)
    found: list[Finding] = []
    verdict: Verdict | None = None
    for extent in islice(mine, FINDINGS_LIMIT):
        verdict = judge(pool, nodes, evidence, extent, verdict if extent.adjoins else None)
        found.append(_finding(pool, sites, nodes, evidence, verdict, detected))
    return tuple(found)


def _bounds(pool: NodeArea, fault: Fault, nodes: list[PoolNode]) -> tuple[int, int]:
    """The bytes of the pool in which a fault's damage must lie in part."""
    start = nodes[0].offset << pool.log2
    if fault.reason is Reason.DAMAGE:
        behind = pool.start(max(fault.high, nodes[0].offset))
        # The damage lies behind the payload of a window's first node, or at the first node of all.
        return (pool.first_byte if fault.low == pool.end else start + pool.overhead), behind
    mine = next((node for node in nodes if node.offset == fault.node), nodes[0])
    return pool.start(mine.offset), mine.next << pool.log2


def _nodes(pool: NodeArea, low: int, high: int) -> list[PoolNode]:
    """The nodes from `low` to two good ones behind `high`: one that may be shown, and one that vouches for it."""
    start = pool.begin_before(low)
    found: list[PoolNode] = []
    intact = 0
    try:
        for passed, node in enumerate(pool.walk(start, high)):
            if start is None and low != pool.end and node.next <= low:
                if passed > PASSED_LIMIT:
                    break
                continue
            found.append(node)
            intact = intact + 1 if node.offset > high and node.intact else 0
            if len(found) > NODES_LIMIT or intact == 2:
                break
    except Unreadable:
        # A record holds little more than the damaged place.
        if not found:
            raise
    return found


def _of_control(pool: NodeArea, sites: Sites, detected: Detected) -> tuple[Finding, ...]:
    if isinstance(pool, WalkedRuns):
        return (Finding(kind="header-overwrite", detected=detected, detail=_APART),)
    return _control(pool, sites, detected) if isinstance(pool, WalkedPool) else ()


def _control(pool: WalkedPool, sites: Sites, detected: Detected) -> tuple[Finding, ...]:
    """The damage in the control block and its copy."""
    found: list[Finding] = []
    head = _nodes(pool, pool.end, pool.first)
    whole = shape(pool)
    evidence = gather(pool, head, whole) if head and whole else Evidence(pool)
    if not head or whole is None:
        evidence.add(0, pool.trusted.pack(), "control", 0)
        evidence.finish()
    for extent in islice(extents(evidence), FINDINGS_LIMIT):
        if extent.start < witness.CONTROL:
            found.append(_finding(pool, sites, head, evidence, judge(pool, head, evidence, extent), detected))
    end = pool.own(pool.end)
    last = pool.end - end.prev_size if pool.stands(pool.end, end) else pool.end
    tail = _nodes(pool, last, pool.end) if pool.standing(last) else []
    evidence = gather(pool, tail)
    copy = pool.length - witness.WITNESSED
    for extent in islice(extents(evidence), FINDINGS_LIMIT):
        if extent.stop > copy:
            found.append(_finding(pool, sites, tail, evidence, judge(pool, tail, evidence, extent), detected))
    return tuple(found)


def _finding(
    pool: NodeArea, sites: Sites, nodes: list[PoolNode], evidence: Evidence, verdict: Verdict, detected: Detected
) -> Finding:
    extent = verdict.extent
    details = list(verdict.details)
    if not extent.exact:
        details.append("The damage may go on behind the bytes that something vouches for.")
    victim = verdict.victim
    return Finding(
        kind=verdict.kind,
        detected=detected,
        culprit=_block(pool, sites, verdict.culprit),
        victim=_block(pool, sites, _tenant(evidence, victim)),
        previous=_previous(pool, sites, nodes, victim),
        suspect=_block(pool, sites, verdict.suspect),
        damage=damage_of(evidence, extent, verdict.origin, verdict.culprit, verdict.kind),
        header=header_of(pool, victim) if victim is not None else None,
        detail=" ".join(details),
        certain=not verdict.readings,
        readings=tuple(_reading(pool, sites, extent, one) for one in verdict.readings),
    )


def _reading(pool: NodeArea, sites: Sites, extent: Extent, reading: VerdictReading) -> model.Reading:
    return model.Reading(
        kind=reading.kind,
        culprit=_block(pool, sites, reading.culprit),
        offset=None if reading.origin is None else extent.start - reading.origin,
    )


def _block(pool: NodeArea, sites: Sites, tenant: Tenant | None) -> Block | None:
    return None if tenant is None else block_of(pool, sites, tenant)


def _tenant(evidence: Evidence, node: PoolNode | None) -> Tenant | None:
    if node is None:
        return None
    return Tenant(node.offset, evidence.recovered.get(node.offset, node.header))


def _previous(pool: NodeArea, sites: Sites, nodes: list[PoolNode], victim: PoolNode | None) -> Block | None:
    if victim is None:
        return None
    if pool.is_bound(victim.keeper):
        return None
    keeper = next((node for node in nodes if node.offset == victim.keeper), None)
    if keeper is not None:
        return block_of(pool, sites, Tenant(keeper.offset, keeper.header))
    if not pool.standing(victim.keeper):
        return None
    return block_of(pool, sites, Tenant(victim.keeper, pool.own(victim.keeper)))


def header_of(pool: NodeArea, node: PoolNode) -> Header:
    """Both copies of a node's header, field by field."""
    return Header(stored=_fields(pool, node.offset, node.own), backup=_fields(pool, node.offset, node.kept))


def _fields(pool: NodeArea, node: int, header: witness.NodeHeader) -> HeaderFields:
    return {
        "size": header.size,
        "prev_size": header.prev_size,
        "slack": pool.slack(node, header),
        "state": STATES[header.state],
        "origin": ORIGINS[header.origin],
        "site": header.site,
        "check": header.check,
        "valid": pool.stands(node, header),
    }


def _unseen(pool: NodeArea, sites: Sites, fault: Fault, detected: Detected, detail: str) -> Finding:
    """A finding of which only the engine's word is left."""
    kind = kind_of(fault.reason)
    culprit: Block | None = None
    if kind != "header-overwrite" and pool.standing(fault.node) and not pool.is_bound(fault.node):
        culprit = block_of(pool, sites, first_tenant(pool, fault.node, pool.own(fault.node)))
    return Finding(kind=kind, detected=detected, culprit=culprit, detail=detail)


def with_restored(header: Header | None) -> Header | None:
    """A header whose damaged copy was restored from the other, where one of them was valid."""
    if header is None:
        return None
    stored = header.stored is not None and header.stored.get("valid") is True
    backup = header.backup is not None and header.backup.get("valid") is True
    if not stored and not backup:
        return header
    return msgspec.structs.replace(header, restored_from="header" if stored else "backup")
