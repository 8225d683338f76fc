"""A dump's findings and use on a terminal: the findings first, as every report shows them, then the numbers.

Colour marks only damage; nothing is wrapped but sentences.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heapwitness.findings.model import HeaderFields
from heapwitness.findings.words import count
from heapwitness.liteos.diagnose.finding import CopyPair, LiteosFinding
from heapwitness.liteos.dump.examine import ExaminedDump, ExaminedPool
from heapwitness.liteos.dump.mend import MendedPool
from heapwitness.liteos.dump.usage import CallSite, PoolUse
from heapwitness.liteos.layout.copies import HEXADECIMAL
from heapwitness.report import terminal, text

if TYPE_CHECKING:
    from rich.console import Console

_DAMAGE = "bold red"
_SITES = 10


def render(examined: ExaminedDump, console: "Console", *, short: bool = False) -> None:
    """Show everything that is known of a dump; of a `short` one a line for each finding, and no numbers."""
    for finding in examined.findings:
        if short:
            terminal.short(finding, console)
        else:
            render_finding(finding, console)
    for pool in () if short else examined.pools:
        _pool(pool, console)
    for warning in examined.warnings:
        plain(console, f"warning: {text.clean(warning)}")
    plain(console, f"heapwitness: {summed_up(examined)}")


def render_finding(finding: LiteosFinding, console: "Console") -> None:
    """Show one finding: as every finding is shown, and then each damaged header in both copies."""
    terminal.render(msgspec.structs.replace(finding, header=None), console)
    for pair in finding.pairs:
        _pair(pair, console, repaired=finding.repaired)
    if finding.pairs:
        plain(console, "")


def render_mended(examined: ExaminedDump, mended: Sequence[MendedPool], output: Path, console: "Console") -> None:
    """Show what a repair changed and what it could not restore."""
    for warning in examined.warnings:
        plain(console, f"warning: {text.clean(warning)}")
    for pool in mended:
        changes = pool.restoration.changes
        size = sum(len(change.new) for change in changes)
        plain(console, f"pool {pool.address:#x}  {count(size, 'byte')} changed")
        for change in changes:
            old, new = change.old.hex(" "), change.new.hex(" ")
            plain(console, f"  {change.address:#x}  {old} -> {new}")
            plain(console, f"    {text.clean(change.why)}")
        for sentence in pool.restoration.unrestored:
            plain(console, f"  not restored: {text.clean(sentence)}")
        for finding in pool.left:
            plain(console, f"  left: {finding.kind}: {text.headline(finding)}")
        if pool.passes is not None:
            plain(console, f"  the kernel's integrity check {'passes' if pool.passes else 'fails'}")
    changed = sum(len(change.new) for pool in mended for change in pool.restoration.changes)
    container = f"{examined.image.format}{', gzip' if examined.image.compressed else ''}"
    left = sum(len(pool.left) for pool in mended)
    plain(
        console,
        f"heapwitness: {count(changed, 'byte')} changed, {count(left, 'finding')} left; "
        f"written to {text.clean(str(output))} ({container})",
    )


def summed_up(examined: ExaminedDump) -> str:
    """The last line."""
    findings = examined.findings
    pools = count(len(examined.pools), "pool")
    nodes = count(sum(len(pool.evidence.walk.nodes) for pool in examined.pools), "node")
    return f"{count(len(findings), 'finding')} in {pools} with {nodes}"


def _pair(pair: CopyPair, console: "Console", *, repaired: bool) -> None:
    stored, backup = pair.header.stored or {}, pair.header.backup or {}
    names = [name for name in dict.fromkeys((*stored, *backup)) if name != "valid"]
    held = "" if pair.held_by is None else f", its backup in the node at {pair.held_by:#x}"
    plain(console, f"  header of the node at {pair.node:#x}{held}")
    columns = (("stored", stored), ("backup", backup), ("should be", pair.trusted or {}))
    width = max((len(name) for name in names), default=0)
    cells = [[title, *(_field(name, fields) for name in names)] for title, fields in columns]
    cells = [column for column, (_, fields) in zip(cells, columns, strict=True) if fields]
    widths = [max(len(cell) for cell in column) for column in cells]
    for row, name in enumerate(["", *names]):
        shown = [column[row].ljust(size) for column, size in zip(cells, widths, strict=True)]
        differs = row > 0 and name in stored and name in backup and stored[name] != backup[name]
        line = f"    {name.ljust(width)}  {'  '.join(shown).rstrip()}"
        plain(console, line, _DAMAGE if differs and name != "linkReg" else None)
    plain(console, f"    {_advice(pair, repaired=repaired)}")


def _field(name: str, fields: HeaderFields) -> str:
    value = fields.get(name)
    if value is None:
        return "-"
    return f"{value:#x}" if name in HEXADECIMAL and isinstance(value, int) else str(value)


def _advice(pair: CopyPair, *, repaired: bool) -> str:
    from_ = pair.header.restored_from
    if from_ is not None:
        what = "the header from its backup" if from_ == "backup" else "the backup from the header"
        return f"{'restored' if repaired else 'can be restored'}: {what}"
    if pair.header.stored == pair.header.backup and pair.trusted == pair.header.stored:
        return "both copies are as they should be"
    if pair.trusted is not None:
        return f"{'rebuilt' if repaired else 'can be rebuilt'} from the nodes around"
    return "cannot be restored"


def _pool(pool: ExaminedPool, console: "Console") -> None:
    use, walked = pool.use, pool.evidence.walk
    status = use.status
    free = status.free_nodes
    plain(console, f"pool {use.address:#x}  {use.size:,} bytes, {use.width}-bit, {_copies(pool)}")
    _entry(console, "nodes", f"{len(walked.nodes):,}: {status.used_nodes - 1:,} used, {free:,} free")
    _entry(console, "used", f"{status.total_used:,} bytes{_peak(status.usage_peak)}")
    _entry(
        console,
        "free",
        f"{status.total_free:,} bytes, the largest block {use.largest_free:,}; {use.fragmentation:.0%} fragmented",
    )
    if use.backup_bytes:
        _entry(console, "backups", f"{use.backup_bytes:,} bytes")
    _table(console, "tasks", _tasks(use), ">")
    for line in _uncounted(use):
        plain(console, f"    {line}")
    _table(console, "free sizes", _histogram(use), ">")
    _table(console, "live blocks by call", _sites(use.call_sites), "<")
    plain(console, "")


def _copies(pool: ExaminedPool) -> str:
    return "no head backup" if pool.evidence.view.layout.backup_offset is None else "head backup"


def _peak(peak: int | None) -> str:
    return "" if peak is None else f", {peak:,} at the peak"


def _tasks(use: PoolUse) -> Iterator[tuple[str, ...]]:
    if use.tasks:
        yield "task", "blocks", "bytes", "peak"
    for one in use.tasks:
        peak = "" if one.peak is None else f"{one.peak:,}"
        yield text.clean(one.name), f"{one.blocks:,}", f"{one.used:,}", peak


def _uncounted(use: PoolUse) -> Iterator[str]:
    """What it means that counters differ from the nodes, as they lawfully may."""
    short = [one for one in use.tasks if one.counted is not None and one.counted < one.used]
    if short:
        shown = ", ".join(
            f"{one.used - one.counted:,} of {text.clean(one.name)}" for one in short if one.counted is not None
        )
        yield f"of earlier tasks with the same number: {shown} bytes"
        yield "(the kernel clears a task's statistics when it ends; its blocks stay)"
    if use.uncounted:
        yield f"released uncounted, after their task had ended: {use.uncounted:,} bytes of the statistics' total"


def _histogram(use: PoolUse) -> Iterator[tuple[str, ...]]:
    if use.histogram:
        yield "from", "to", "nodes", "bytes"
    for one in use.histogram:
        yield f"{one.size_from:,}", f"{one.size_to - 1:,}", f"{one.nodes:,}", f"{one.total:,}"


def _sites(sites: Sequence[CallSite]) -> Iterator[tuple[str, ...]]:
    if sites:
        yield "bytes", "blocks", "allocated by"
    for one in sites[:_SITES]:
        calls = " < ".join(text.place([frame]) for frame in one.stack) or "not recorded"
        yield f"{one.total:,}", f"{one.blocks:,}", calls
    if len(sites) > _SITES:
        yield "...", "", f"{len(sites) - _SITES} more; --json has them"


def _table(console: "Console", title: str, rows: Iterator[tuple[str, ...]], align: str) -> None:
    cells = list(rows)
    if not cells:
        return
    plain(console, f"  {title}")
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        first, *rest = row
        start = first.ljust(widths[0]) if align == ">" else first.rjust(widths[0])
        shown = [f"{cell:{align}{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        plain(console, f"    {start}  {'  '.join(shown)}".rstrip())


def _entry(console: "Console", label: str, value: str) -> None:
    plain(console, f"  {label:<10}{value}")


def plain(console: "Console", line: str, style: str | None = None) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    from rich.text import Text

    console.print(Text(line, style=style or ""), soft_wrap=True, highlight=False, markup=False)
