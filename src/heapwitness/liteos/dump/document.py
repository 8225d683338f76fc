"""A dump's findings as the report that is written as JSON, with what LiteOS has beyond every report."""

from heapwitness.findings.model import Report, Summary
from heapwitness.liteos.dump.examine import ExaminedDump
from heapwitness.liteos.dump.heap_map import heap_map
from heapwitness.liteos.dump.usage import PoolUse


class LiteosReport(Report, frozen=True, kw_only=True):
    """A report of a dump: `pools` tells who uses each."""

    pools: tuple[PoolUse, ...] = ()


def document(examined: ExaminedDump, *, mapped: bool = False) -> LiteosReport:
    """The report of an examined dump; `mapped` with a map of its heap."""
    uses = tuple(pool.use for pool in examined.pools)
    return LiteosReport(
        source=str(examined.options.image),
        findings=examined.findings,
        summary=Summary(
            nodes=sum(use.status.used_nodes + use.status.free_nodes for use in uses),
            findings=len(examined.findings),
            backup_bytes=sum(use.backup_bytes for use in uses),
        ),
        warnings=examined.warnings,
        pools=uses,
        maps=(heap_map(examined),) if mapped else (),
    )
