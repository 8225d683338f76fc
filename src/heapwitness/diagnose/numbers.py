"""Blocks by how many their allocation sites had allocated with them, in a run that counts those."""

from collections.abc import Mapping, Sequence

import msgspec

from heapwitness.diagnose.blocks import Sites
from heapwitness.findings.model import Block, Finding
from heapwitness.findings.stacks import with_blocks
from heapwitness.layout.events import Numbered


def with_numbers(finding: Finding, numbers: Sequence[Numbered], sites: Sites) -> Finding:
    """A finding whose blocks have their numbers, as far as these are known."""
    known = {one.address: one for one in numbers}
    return with_blocks(finding, lambda block: _numbered(block, known, sites))


def _numbered(block: Block | None, known: Mapping[int, Numbered], sites: Sites) -> Block | None:
    """The number is of the last block of a counted site that began there; since then it may have become another's."""
    one = known.get(block.address) if block is not None else None
    if block is None or one is None or block.allocated is None:
        return block
    site = sites.site(one.site)
    if site is None or (site.thread, site.stack) != (block.allocated.thread, block.allocated.stack):
        return block
    return msgspec.structs.replace(block, number=one.number)
