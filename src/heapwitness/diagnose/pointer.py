"""Whose pointer an access was by: a register that its address was made of may hold a block's."""

from collections.abc import Iterable

import msgspec

from heapwitness.diagnose.blocks import Sites, block_at
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Block, Finding, Kind, Store
from heapwitness.findings.words import count
from heapwitness.layout.events import Event
from heapwitness.layout.process import read_process, read_regions
from heapwitness.memory import Memory


def only_block(event: Event, values: Iterable[int], memory: Memory | None) -> Block | None:
    """The block in use that begins at one of some addresses; None where there are several, or none."""
    if memory is None:
        return None
    try:
        regions = read_regions(memory, read_process(memory, event.process))
        found = [block_at(memory, regions, Sites(memory, event.process), value) for value in values]
    except HeapwitnessError:
        return None
    blocks = [one for one in found if one is not None]
    return blocks[0] if len(blocks) == 1 else None


def from_afar(finding: Finding, store: Store, block: Block) -> Finding:
    """By a block's pointer that is none of those beside the damage: an index too far."""
    damage = finding.damage
    end = block.address + block.size
    below = store.address < block.address
    kind: Kind = "heap-buffer-underflow" if below else "heap-buffer-overflow"
    offset = store.address - (block.address if below else end)
    distance = count(abs(offset), "byte")
    return msgspec.structs.replace(
        finding,
        kind=kind,
        culprit=block,
        suspect=None,
        readings=(),
        certain=True,
        damage=msgspec.structs.replace(damage, offset=offset) if damage is not None else None,
        detail=f"The address was made of the block's, which a register held: an index {distance} too far.",
    )
