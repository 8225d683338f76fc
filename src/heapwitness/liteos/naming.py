"""Findings with the frames of their link registers named."""

from collections.abc import Callable

import msgspec

from heapwitness.liteos.records import LiteosFinding
from heapwitness.report.model import Block, Frame, Site

FrameOf = Callable[[int], Frame]


def named(finding: LiteosFinding, frame: FrameOf) -> LiteosFinding:
    """The finding with every frame that is a bare address replaced by what `frame` says of it."""
    return msgspec.structs.replace(
        finding,
        culprit=_block(finding.culprit, frame),
        victim=_block(finding.victim, frame),
        previous=_block(finding.previous, frame),
        suspect=_block(finding.suspect, frame),
    )


def _block(block: Block | None, frame: FrameOf) -> Block | None:
    if block is None:
        return None
    return msgspec.structs.replace(block, allocated=_site(block.allocated, frame), freed=_site(block.freed, frame))


def _site(site: Site | None, frame: FrameOf) -> Site | None:
    if site is None:
        return None
    return msgspec.structs.replace(site, stack=tuple(frame(one.pc) for one in site.stack))
