"""All stacks of a finding: for whoever looks at each of them, or gives each other frames."""

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import msgspec

from heapwitness.findings.model import Block, Crash, Finding, Frame, Site, When

Frames = tuple[Frame, ...]
"""Innermost frame first."""

Act = Literal["detected", "allocated", "released", "accessed"]
"""What a stack of a finding was taken at: its detection, what was done with a block, or the access that a trap
caught."""

StackChange = Callable[[Act, Frames], Frames]
"""What becomes of a stack that was taken at such an act."""

_Finding = TypeVar("_Finding", bound=Finding)


def with_stacks(finding: _Finding, change: StackChange) -> _Finding:
    """The finding with each of its stacks changed."""
    detected, store = finding.detected, finding.store
    return msgspec.structs.replace(
        with_blocks(finding, lambda block: with_block_stacks(block, change)),
        detected=msgspec.structs.replace(detected, stack=change("detected", detected.stack)),
        store=store and msgspec.structs.replace(store, stack=change("accessed", store.stack)),
    )


def crash_with_stacks(crash: Crash, change: StackChange) -> Crash:
    """The crash with each of its stacks changed; its own is that of a detection."""
    stale = tuple(msgspec.structs.replace(one, block=with_block_stacks(one.block, change)) for one in crash.stale)
    return msgspec.structs.replace(crash, stack=change("detected", crash.stack), stale=stale)


def is_exact(act: Act, when: When) -> bool:
    """Whether a stack begins with an instruction's address, and not with a return address; `when` its finding was
    made."""
    return act == "accessed" or (act == "detected" and when in ("trap", "crash"))


def with_blocks(finding: _Finding, change: Callable[[Block | None], Block | None]) -> _Finding:
    """The finding with each of its blocks changed, those of its readings, too."""
    return msgspec.structs.replace(
        finding,
        culprit=change(finding.culprit),
        victim=change(finding.victim),
        previous=change(finding.previous),
        suspect=change(finding.suspect),
        readings=tuple(msgspec.structs.replace(one, culprit=change(one.culprit)) for one in finding.readings),
    )


def with_block_stacks(block: Block | None, change: StackChange) -> Block | None:
    """A block with the stacks of its allocation and its release changed."""
    if block is None:
        return None
    return msgspec.structs.replace(
        block,
        allocated=_with_stack(block.allocated, change, "allocated"),
        freed=_with_stack(block.freed, change, "released"),
        before=tuple(
            msgspec.structs.replace(
                one,
                allocated=_with_stack(one.allocated, change, "allocated"),
                freed=_with_stack(one.freed, change, "released"),
            )
            for one in block.before
        ),
    )


def stacks(finding: Finding) -> tuple[Frames, ...]:
    """Each stack of a finding, empty ones, too."""
    found: list[Frames] = []

    def note(_: Act, stack: Frames) -> Frames:
        found.append(stack)
        return stack

    with_stacks(finding, note)
    return tuple(found)


def sites(*blocks: Block | None) -> Iterator[tuple[Act, Site]]:
    """What was done with blocks, as far as it is known: of each first its allocation, then its release."""
    for block in blocks:
        if block is not None and block.allocated is not None:
            yield "allocated", block.allocated
        if block is not None and block.freed is not None:
            yield "released", block.freed


def telling_stack(finding: Finding) -> tuple[bool, Frames]:
    """The stack that findings of one bug share: of the culprit's allocation, else that of detection.

    Returns:
        whether it is the allocation's, and the stack.
    """
    site = finding.culprit.allocated if finding.culprit is not None else None
    return (True, site.stack) if site is not None and site.stack else (False, finding.detected.stack)


def _with_stack(site: Site | None, change: StackChange, act: Act) -> Site | None:
    return site and msgspec.structs.replace(site, stack=change(act, site.stack))
