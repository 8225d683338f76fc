"""Which allocation sites to trap so that the store behind a finding is caught, and whether it was."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from heapwitness import named
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Block, Finding, Kind, Site
from heapwitness.findings.sites import (
    FRAMES_LIMIT,
    PLACES,
    SITES_LIMIT,
    How,
    SiteName,
    TrappedSite,
    name_of,
    parse_trap,
)

_HUNTED: frozenset[Kind] = frozenset(
    (
        *("heap-buffer-overflow", "heap-buffer-underflow", "header-overwrite"),
        *("use-after-free-write", "use-after-free-read"),
    )
)
_TEXT_LIMIT = 1 << 20
_AS_IT_WAS, _INNER = 2, 2
_OTHER: dict[How, How] = {"end": "tight", "tight": "end", "start": "end"}
_COMMENT = re.compile(r"(^|\s)#")
_CONTROL = 32
"""Bytes of header and backup before each payload; of a small block it is half of that."""
_SLACK_SHARE = 8
"""Slack of a small block is this part of its size at most, or less than 16 bytes."""
_WATCHED_LIMIT = 64
_NEIGHBOURS = 4
_LEAST_ALIGNMENT, _MOST_ALIGNMENT = 8, 16


def is_hunted(finding: Finding) -> bool:
    """Whether a finding has a store (or a read) that is not known yet."""
    return finding.kind in _HUNTED and finding.store is None


def traps_for(findings: Sequence[Finding], attempt: int = 0) -> tuple[TrappedSite, ...]:
    """The traps that should catch the stores of findings, the likeliest first.

    Args:
        findings: with symbols resolved.
        attempt: how many runs with these traps came before; one after the other traps at other sides.
    """
    # What a run with traps found, and did not catch, tells more than what came before; and the likeliest block of each
    # finding more than the others, which may be the likeliest of another one.
    likeliest: list[tuple[SiteName, How]] = []
    others: list[tuple[SiteName, How]] = []
    for candidates in map(list, map(_candidates, reversed(findings))):
        likeliest += candidates[:1]
        others += candidates[1:]
    found: dict[SiteName, list[How]] = {}
    for site, how in (*likeliest, *others):
        known = found.setdefault(site, [])
        known += [one for one in (how,) if one not in known]
    objects = {name_of(block.allocated) for finding in findings for block, _ in _blocks(finding) if _is_object(block)}
    for site, known in found.items():
        others_of = (_OTHER[one] for one in tuple(known))
        known += [one for one in others_of if one not in known and not (one == "tight" and site in objects)]
    return tuple(
        dict.fromkeys(
            TrappedSite(_shortened(site, attempt), known[attempt % len(known)]) for site, known in found.items()
        )
    )[:SITES_LIMIT]


def numbered_traps_for(findings: Sequence[Finding]) -> tuple[TrappedSite, ...]:
    """Traps for single blocks of sites that allocate more than can be trapped: those that were hit in a run that
    counted them, and their neighbours, which a program that nearly repeats itself may mean.

    Args:
        findings: with symbols resolved, of such a run; the others are left out.
    """
    found: dict[TrappedSite, None] = {}
    for finding in findings:
        for block, how in _blocks(finding):
            site = name_of(block.allocated)
            if site is not None and block.number:
                least = max(1, block.number - _NEIGHBOURS)
                for number in range(least, block.number + _NEIGHBOURS + 1):
                    found.setdefault(TrappedSite(site, how, number=number))
    return tuple(found)[:SITES_LIMIT]


def watches_for(findings: Sequence[Finding]) -> tuple[TrappedSite, ...]:
    """What to watch so that the stores of findings are caught where a guard does not fit, the likeliest first: within
    the slack of a block, over its end into the control data behind, or by a pointer that comes from elsewhere.

    Args:
        findings: with symbols resolved, of runs whose blocks lay where they will lie again.
    """
    found: dict[TrappedSite, None] = {}
    for finding in findings:
        for block, offset in _anchors(finding):
            site = name_of(block.allocated)
            if site is not None:
                place = block.address % PLACES
                found.setdefault(TrappedSite(site, "watch", offset=offset, number=block.number, place=place))
    return tuple(found)[:_WATCHED_LIMIT]


def may_pass_a_guard(finding: Finding) -> bool:
    """Whether the store behind a finding may be one that no guard at a block's edge catches."""
    offset = finding.damage.offset if finding.damage is not None else None
    in_slack = finding.kind == "heap-buffer-overflow" and _stays_in_slack(finding, finding.culprit, offset)
    return in_slack or finding.kind == "header-overwrite" or not finding.certain


def _anchors(finding: Finding) -> Iterator[tuple[Block, int]]:
    """Blocks from which the first damaged byte can be told, and its offset as in `TrappedSite`."""
    damage = finding.damage
    if damage is None or finding.kind not in _HUNTED or finding.kind == "use-after-free-write":
        return
    readings = (one.culprit for one in finding.readings)
    for block in (finding.victim, finding.culprit, finding.suspect, *readings, finding.previous):
        if block is None or block.state == "end":
            continue
        end = block.address + block.size
        if 0 < block.address - damage.address <= _CONTROL:
            yield block, damage.address - block.address
        elif 0 <= damage.address - end < 2 * _CONTROL + block.size // _SLACK_SHARE:
            yield block, damage.address - end


def _shortened(site: SiteName, attempt: int) -> SiteName:
    """A site as it was, and after some attempts all that share its inner frames: it may be reached in another way."""
    return SiteName(site.frames[:_INNER]) if attempt >= _AS_IT_WAS else site


def trapped_from_now_on(findings: Sequence[Finding]) -> tuple[tuple[How, tuple[int, ...]], ...]:
    """The same for the process that findings come from, by return addresses; `findings` are as diagnosed."""
    found: dict[tuple[int, ...], How] = {}
    for finding in filter(is_hunted, findings):
        for block, how in _blocks(finding):
            stack = block.allocated.stack if block.allocated is not None else ()
            pcs = tuple(frame.pc for frame in stack if frame.language == "c")
            if pcs:
                found.setdefault(pcs[:FRAMES_LIMIT], how)
    return tuple((how, pcs) for pcs, how in found.items())


def catches(caught: Finding, finding: Finding) -> bool:
    """Whether the access of `caught` is what `finding` tells the damage of."""
    if caught.store is None:
        return False
    if (caught.damage is not None or caught.victim is not None) and _is_same_damage(caught, finding):
        return True
    site = caught.culprit.allocated if caught.culprit is not None else None
    if name_of(site) is None or (finding.kind != "use-after-free-read" and caught.access == "read"):
        return False
    # The finding may be that of a report, and the program built anew since.
    return any(
        _is_same_call(site, block.allocated) or _is_same_function(site, block.allocated)
        for block, _ in _blocks(finding)
    )


def _is_same_damage(one: Finding, other: Finding) -> bool:
    """Whether two findings can be of the same store, in two runs: what was hit is of the same site."""
    hit, also = (finding.victim or finding.culprit for finding in (one, other))
    if other.damage is None or hit is None or also is None:
        return False
    return _is_same_call(hit.allocated, also.allocated)


def _is_same_call(one: Site | None, other: Site | None) -> bool:
    """Whether two allocations can be of the same place, in two runs: many lines of Python reach one C function."""
    name, found = name_of(one), name_of(other)
    return name is not None and found is not None and name.is_same(found) and _have_same_lines(one, other)


def _have_same_lines(one: Site | None, other: Site | None) -> bool:
    """Whether the Python lines of two calls are the same, as far as both know any."""
    return all(here == there for here, there in zip(_python_lines(one), _python_lines(other), strict=False))


def _python_lines(site: Site | None) -> Iterator[tuple[str, str, int | None]]:
    for frame in site.stack if site is not None else ():
        if frame.language == "python":
            yield frame.function or "", os.path.basename(frame.file or ""), frame.line


def _is_same_function(one: Site | None, other: Site | None) -> bool:
    """Whether two calls were made by functions of one name, in files of one name that were built at different times."""
    if one is None or other is None or not one.stack or not other.stack:
        return False
    here, there = one.stack[0], other.stack[0]
    return (
        here.function is not None
        and _have_same_lines(one, other)
        and (here.function, os.path.basename(here.module or ""))
        == (there.function, os.path.basename(there.module or ""))
        and here.build_id != there.build_id
    )


def traps_asked_for(words: Sequence[str], file: Path | None, *, watch: bool = False) -> tuple[TrappedSite, ...]:
    """The traps that a user names, and those of a file: lines with one site each, or a JSON report.

    Args:
        watch: what a report tells of is to be watched.

    Raises:
        HeapwitnessError: a name is none, or the file cannot be read or has no site.
    """
    traps = [parse_trap(word) for word in words]
    if file is not None:
        traps += _of_file(file, watch)
    if len(traps) > SITES_LIMIT:
        raise HeapwitnessError(f"{len(traps)} sites are too many to trap; {SITES_LIMIT} can be.")
    return tuple(traps)


def _of_file(file: Path, watch: bool) -> list[TrappedSite]:
    try:
        with named.reading(file) as stream:
            data = stream.read(_TEXT_LIMIT + 1)
    except OSError as error:
        raise HeapwitnessError(f"{file} cannot be read: {error.strerror}.") from error
    if data.lstrip()[:1] == b"{":
        from heapwitness.report.json import load

        findings = [one for one in load(file).findings if one.kind in _HUNTED]
        traps = [*(watches_for(findings) if watch else ()), *traps_for(findings)]
    elif len(data) > _TEXT_LIMIT:
        raise HeapwitnessError(f"{file} is too long for a file of allocation sites.")
    else:
        lines = (_COMMENT.split(line, 1)[0].strip() for line in data.decode("utf-8", "replace").splitlines())
        traps = [parse_trap(line) for line in lines if line]
    if not traps:
        raise HeapwitnessError(f"{file} names no allocation site that could be trapped.")
    return traps


def _candidates(finding: Finding) -> Iterator[tuple[SiteName, How]]:
    """The sites of the blocks that the store may have left, and on which side."""
    for block, how in _blocks(finding):
        site = name_of(block.allocated)
        if site is not None:
            yield site, how


def _blocks(finding: Finding) -> Iterator[tuple[Block, How]]:
    if finding.kind == "header-overwrite":
        yield from _around(finding)
        return
    if finding.culprit is not None:
        offset = finding.damage.offset if finding.damage is not None else None
        yield finding.culprit, _side(finding.kind, finding, finding.culprit, offset)
    for reading in finding.readings:
        if reading.culprit is not None:
            yield reading.culprit, _side(reading.kind, finding, reading.culprit, reading.offset)
    if finding.suspect is not None:
        yield finding.suspect, _facing(finding.suspect, finding)[0]


def _around(finding: Finding) -> Iterator[tuple[Block, How]]:
    """What lies on both sides of an overwritten header, the nearest first: a store that left none of these blocks
    is caught by no guard."""
    blocks = (finding.suspect, *(one.culprit for one in finding.readings), finding.victim, finding.previous)
    known = [(block, *_facing(block, finding)) for block in blocks if block is not None and block.state != "end"]
    for block, how, _ in sorted(known, key=lambda one: one[2]):
        yield block, how


def _facing(block: Block, finding: Finding) -> tuple[How, int]:
    """The side of a block that damage lies on, and how far from it."""
    damage = finding.damage
    if damage is None:
        return "end", 0
    if damage.address < block.address:
        return "start", max(0, block.address - damage.address - damage.length)
    return "end", max(0, damage.address - block.address - block.size)


def _side(kind: Kind, finding: Finding, block: Block, offset: int | None) -> How:
    if kind == "heap-buffer-underflow":
        return "start"
    tight = kind == "heap-buffer-overflow" and not _is_object(block) and _stays_in_slack(finding, block, offset)
    return "tight" if tight else "end"


def _is_object(block: Block) -> bool:
    """Whether it is a Python object: the interpreter refuses code, for one, that lies at an odd address."""
    return block.domain == "PyObject_Malloc"


def _stays_in_slack(finding: Finding, block: Block | None, offset: int | None) -> bool:
    """Whether damage so far behind a block's end would not reach a guard at which it ends as aligned as its size asks
    for."""
    if finding.damage is None or offset is None or block is None:
        return False
    align = max(_LEAST_ALIGNMENT, min(_MOST_ALIGNMENT, block.size & -block.size))
    return offset + finding.damage.length <= -block.size % align
