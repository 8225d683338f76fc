"""Where in the source a finding is shown by whatever shows it at one line: a forge, an editor, a heading."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from heapwitness.findings.model import RELEASES, Block, Finding, Frame
from heapwitness.findings.stacks import sites
from heapwitness.report.frames import named

Role = Literal["store", "read", "release", "allocation", "first release", "detection"]

SAID: dict[Role, str] = {
    "store": "stored here",
    "read": "read here",
    "release": "released here",
    "allocation": "allocated here",
    "first release": "released here",
    "detection": "noticed here",
}


class Stack(NamedTuple):
    """One stack of a finding: what was done there, to which block (None: to none in particular), by whom."""

    role: Role
    block: Block | None
    thread: int
    task: str | None
    frames: Sequence[Frame]


class Spot(NamedTuple):
    """The line at which a finding is shown."""

    role: Role
    frame: Frame


def stacks(finding: Finding) -> Iterator[Stack]:
    """The stacks of a finding that have frames, the one that says most about the fault first."""
    return (one for one in _stacks(finding) if one.frames)


def _stacks(finding: Finding) -> Iterator[Stack]:
    thread = finding.detected.thread
    if finding.store is not None:
        yield Stack("read" if finding.access == "read" else "store", None, thread, None, finding.store.stack)
    if finding.kind in RELEASES:
        yield Stack("release", None, thread, None, finding.detected.stack)
    seen: list[int] = []
    for block in (finding.culprit, finding.suspect, finding.victim):
        if block is None or block.address in seen:
            continue
        seen.append(block.address)
        for act, site in sites(block):
            role: Role = "allocation" if act == "allocated" else "first release"
            yield Stack(role, block, site.thread, site.task, site.stack)
    trapped = finding.store is not None and finding.detected.when == "trap"
    if finding.kind not in RELEASES and finding.detected.when != "exit" and not trapped:
        yield Stack("detection", None, thread, None, finding.detected.stack)


def spot(finding: Finding) -> Spot | None:
    """The one line that a finding is shown at: of the store or the wrong release, else of the block's allocation.

    None where no frame is known. A frame without a file is given where no stack has one with.
    """
    candidates = [(one.role, named(one.frames)) for one in stacks(finding)]
    known = [Spot(role, frame) for role, frame in candidates if frame is not None]
    return next((one for one in known if one.frame.file and one.frame.line is not None), known[0] if known else None)
