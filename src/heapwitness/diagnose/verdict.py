"""What is asked of one damage, and what the answer is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from heapwitness.diagnose.blocks import Tenant
from heapwitness.diagnose.evidence import Evidence
from heapwitness.diagnose.extent import Extent
from heapwitness.diagnose.where import start_of
from heapwitness.findings.model import Kind
from heapwitness.heap import NodeArea, PoolNode


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReading:
    """One thing that damage may be: the block whose fault it is then, None for something else's, and the byte of the
    pool from which its offset counts."""

    kind: Kind
    culprit: Tenant | None = None
    origin: int | None = None

    @classmethod
    def overflow(cls, pool: NodeArea, tenant: Tenant) -> Self:
        """A write past a block's end."""
        return cls(kind="heap-buffer-overflow", culprit=tenant, origin=tenant.end(pool))

    @classmethod
    def underflow(cls, pool: NodeArea, tenant: Tenant) -> Self:
        """A write before a block's start."""
        return cls(kind="heap-buffer-underflow", culprit=tenant, origin=start_of(pool, tenant.offset))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A damage's kind. `origin` is the byte of the pool that its offset counts from, None for none.

    `extent` is the damage without what turned out to be a block's own bytes. `victim` is the node whose
    header was hit in one of its two copies. `readings` are all things that the damage may be, the most likely first,
    and none where there is no doubt.
    """

    kind: Kind
    extent: Extent
    culprit: Tenant | None = None
    origin: int | None = None
    victim: PoolNode | None = None
    suspect: Tenant | None = None
    details: tuple[str, ...] = ()
    readings: tuple[VerdictReading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageCase:
    """One damage in the nodes around it, with the evidence that was gathered from them. `victim` as in Verdict.

    `earlier` is the verdict on the damage that leads up to this one over bytes which nothing vouches for.
    """

    pool: NodeArea
    nodes: Sequence[PoolNode]
    evidence: Evidence
    extent: Extent
    victim: PoolNode | None
    earlier: Verdict | None = None
