"""A heap's map for a page: figures in words and boxes, and the data that the picture is drawn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from heapwitness.findings.model import Finding, Frame, HeapMap, MapPool, MapSite, Report
from heapwitness.findings.words import count
from heapwitness.report import text
from heapwitness.report.frames import named

SITES_SHOWN = 12
OWNERS_SHOWN = 20
JUMPS_LIMIT = 50
BYTES_LIMIT = 4096
"""Bytes around damage whose values the picture knows, of all findings together."""

_WIDE = 100.0
_LEAST_WIDE = 0.2
_ROW = 22
_DEEPEST = 16
_TAKEN = {
    "finding": "The heap when something was found",
    "check": "The heap when it was checked",
    "exit": "The heap at the end",
    "crash": "The heap when the process crashed",
    "dump": "The heap in the dump",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a figure: two shares of a hundred, and two numbers in words."""

    name: str
    share: float
    rest: float
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the flame graph; `x` and `width` in hundredths of all, `y` in pixels."""

    name: str
    title: str
    x: float
    y: int
    width: float
    colour: int


@dataclass(frozen=True, slots=True)
class MapView:
    """What a page says and draws of one map."""

    number: int
    title: str
    sentence: str
    notes: tuple[str, ...]
    colours: tuple[tuple[str, str], ...]
    jumps: tuple[tuple[int, str], ...]
    totals: tuple[tuple[str, str], ...]
    owners: tuple[Bar, ...]
    sizes: tuple[Bar, ...]
    flame: tuple[Box, ...]
    flame_height: int
    sites: tuple[Bar, ...]
    sites_left: str
    data: dict[str, Any]


def map_view(number: int, taken: HeapMap, report: Report) -> MapView:
    """The view of a map; what a report found in its pools is marked there."""
    flame = tuple(_flame(taken.sites))
    places = tuple(_places(taken, report.findings))
    colours = [("state", "state"), ("site", "allocation site")] + [("owner", "task")] * bool(taken.owners)
    left = len(taken.sites) - SITES_SHOWN
    return MapView(
        number=number,
        title=_TAKEN[taken.taken] + (f" (process {taken.pid})" if taken.pid else ""),
        sentence=_sentence(taken),
        notes=tuple(text.harmless(one) for one in taken.notes),
        colours=tuple(colours),
        jumps=tuple((index, f"{one['kind']}, {one['address']}") for index, one in enumerate(places[:JUMPS_LIMIT])),
        totals=tuple(_totals(taken)),
        owners=tuple(_owners(taken)),
        sizes=tuple(_sizes(taken)),
        flame=flame,
        flame_height=max((box.y for box in flame), default=0) + _ROW,
        sites=tuple(_sites(taken)),
        sites_left=f"{left:,} more sites are in the JSON." if left > 0 else "",
        data=_data(taken, places, report.findings),
    )


def _sentence(taken: HeapMap) -> str:
    pools = count(len(taken.pools), "pool")
    return (
        f"{count(taken.live_blocks, 'live block')} with {text.amount(taken.live)}, headers included, "
        f"in {pools} of {text.amount(sum(pool.size for pool in taken.pools))}."
    )


def fragmentation(taken: HeapMap) -> float:
    """The share of free memory that lies outside of the largest free node, 0 to 1."""
    return 1 - taken.largest_free / taken.free if taken.free else 0.0


def _totals(taken: HeapMap) -> Iterator[tuple[str, str]]:
    yield "live", f"{text.amount(taken.live)} in {count(taken.live_blocks, 'block')}"
    yield "free", f"{text.amount(taken.free)} in {count(taken.free_blocks, 'block')}"
    if taken.cached_blocks:
        yield "cached", f"{text.amount(taken.cached)} in {count(taken.cached_blocks, 'released block')}"
    if taken.lost_blocks:
        yield "headers lost", f"{text.amount(taken.lost)} in {count(taken.lost_blocks, 'stretch')}"
    yield "largest free block", text.amount(taken.largest_free)
    yield "fragmentation", f"{fragmentation(taken):.0%} of free memory lies outside of the largest free block"


def _owners(taken: HeapMap) -> Iterator[Bar]:
    most = max((one.total for one in taken.owners), default=0) or 1
    for one in taken.owners[:OWNERS_SHOWN]:
        share = _share(one.total, most)
        yield Bar(text.clean(one.name), share, 0, f"{one.blocks:,}", f"{one.total:,}")


def _sizes(taken: HeapMap) -> Iterator[Bar]:
    most = max((one.live + one.free for one in taken.sizes), default=0) or 1
    for one in taken.sizes:
        name = f"{text.amount(one.size_from)} to {text.amount(one.size_to)}" if one.size_to > 1 else "0"
        yield Bar(name, _share(one.live, most), _share(one.free, most), f"{one.live:,}", f"{one.free:,}")


def _sites(taken: HeapMap) -> Iterator[Bar]:
    most = max((one.total for one in taken.sites), default=0) or 1
    for one in sorted(taken.sites, key=lambda site: -site.total)[:SITES_SHOWN]:
        if one.total:
            name = text.place(one.stack) or "not known"
            yield Bar(name, _share(one.total, most), 0, f"{one.blocks:,}", f"{one.total:,}")


def _share(part: int, most: int) -> float:
    return round(100 * part / most, 2)


@dataclass(slots=True)
class _Call:
    """A function in the tree of stacks: bytes allocated under it, and what it called."""

    total: int = 0
    blocks: int = 0
    calls: "dict[str, _Call]" = field(default_factory=dict)


def _flame(sites: Sequence[MapSite]) -> Iterator[Box]:
    root = _Call()
    for site in sites:
        at = root
        at.total += site.total
        for frame in list(reversed(site.stack))[:_DEEPEST]:
            where = text.line(frame)
            name = f"{text.function(frame)}{f' at {where}' if where else ''}"
            at = at.calls.setdefault(name, _Call())
            at.total += site.total
            at.blocks += site.blocks
    if root.total:
        yield from _boxes(root, 0.0, _WIDE / root.total, 0)


def _boxes(call: _Call, x: float, scale: float, depth: int) -> Iterator[Box]:
    for name, one in sorted(call.calls.items(), key=lambda pair: (-pair[1].total, pair[0])):
        width = one.total * scale
        if width >= _LEAST_WIDE:
            title = f"{name}: {text.amount(one.total)} in {count(one.blocks, 'block')}"
            colour = sum(name.encode("utf-8", "replace")) % 6 + 1
            yield Box(name, title, round(x, 2), depth * _ROW, round(width, 2), colour)
            yield from _boxes(one, x, scale, depth + 1)
        x += width


def _places(taken: HeapMap, findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Where in the map's pools findings lie, which are repaired later; places are numbers that a script can hold."""
    if taken.taken in ("exit", "check"):
        return
    for number, finding in enumerate(findings, 1):
        if taken.pid and finding.detected.pid not in (0, taken.pid):
            continue
        address, length = _extent(finding)
        for index, pool in enumerate(taken.pools):
            if address is not None and pool.address <= address < pool.address + pool.size:
                yield {
                    "kind": finding.kind,
                    "pool": index,
                    "at": address - pool.address,
                    "length": length,
                    "address": f"{address:#x}",
                    "finding": number,
                }


def _extent(finding: Finding) -> tuple[int | None, int]:
    if finding.damage is not None:
        return finding.damage.address, finding.damage.length
    block = finding.culprit or finding.victim
    if finding.pointer is not None and block is None:
        return finding.pointer, 1
    return (None, 0) if block is None else (block.address, max(1, block.size))


def _data(taken: HeapMap, places: Sequence[dict[str, Any]], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "pools": [_pool(pool) for pool in taken.pools],
        "sites": [[_line(frame) for frame in _shown(site.stack)] for site in taken.sites],
        "names": [text.place(site.stack) for site in taken.sites],
        "owners": [text.clean(one.name) for one in taken.owners],
        "places": list(places),
        "bytes": list(_bytes(taken, findings)),
    }


def _pool(pool: MapPool) -> dict[str, Any]:
    bins = pool.bins
    return {
        "address": f"{pool.address:#x}",
        "size": pool.size,
        "nodes": pool.nodes,
        "parts": [[part.name, part.offset, part.size] for part in pool.parts],
        "width": bins.width,
        "live": bins.live,
        "free": bins.free,
        "cached": bins.cached,
        "lost": bins.lost,
        "blocks": bins.blocks,
        "sites": bins.sites,
        "owners": bins.owners,
        "stretches": [
            {
                "at": one.address - pool.address,
                "sizes": one.sizes,
                "states": one.states,
                "requested": one.requested,
                "sites": one.sites,
                "owners": one.owners,
            }
            for one in pool.stretches
        ],
    }


def _shown(stack: Sequence[Frame]) -> Sequence[Frame]:
    """The frames of a stack from the one that says most on; what is in front of it is glue."""
    best = named(stack)
    start = next((number for number, frame in enumerate(stack) if frame is best), 0)
    return stack[start : start + _DEEPEST]


def _line(frame: Frame) -> str:
    where = text.line(frame)
    return f"{text.function(frame)}{f'  {where}' if where else ''}"


def _bytes(taken: HeapMap, findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Bytes that findings show, by place in a pool."""
    left = BYTES_LIMIT
    for finding in findings:
        for stretch in finding.damage.picture if finding.damage is not None else ():
            length = len(stretch.actual) // 2
            for index, pool in enumerate(taken.pools):
                if pool.address <= stretch.address < pool.address + pool.size and length <= left:
                    left -= length
                    yield {
                        "pool": index,
                        "at": stretch.address - pool.address,
                        "actual": stretch.actual,
                        "expected": stretch.expected,
                    }
