"""Elements written right behind an array, of which the first bytes changed nothing: they are what was there before.

Numbers such as 1.0 end in zeros, and so does what lies there of a block that was never used. Then the damage begins
some bytes behind the array, and from bytes alone it might be anybody's.
"""

import re

import msgspec

from heapwitness.findings.model import Finding
from heapwitness.memory import Memory, Unreadable

_WORD = 8
_INDEX = re.compile(r" \(-?\d{1,20} in elements of 8 bytes\)")
"""Of elements of another size it is another one."""


def as_element(finding: Finding, memory: Memory) -> Finding:
    """A damaged header as an overflow of the array right before it, where the damage lies within the one element behind
    that, or ends where another one does, and the bytes that are left before it are zero. It stays uncertain, with its
    other readings.

    Args:
        memory: of the process, as the damage left it.
    """
    damage, block = finding.damage, finding.suspect
    if finding.kind != "header-overwrite" or damage is None or block is None or block.array is None:
        return finding
    end = block.address + block.size
    gap, behind = damage.address - end, damage.address + damage.length - end
    itemsize = block.array.itemsize
    are_elements = 0 < gap < itemsize and (gap < behind <= itemsize or behind % itemsize == 0)
    if not are_elements or not _is_zero(memory, end, gap):
        return finding
    return msgspec.structs.replace(
        finding,
        kind="heap-buffer-overflow",
        culprit=block,
        detail=finding.detail if itemsize == _WORD else _INDEX.sub("", finding.detail),
        suspect=None,
        damage=msgspec.structs.replace(damage, offset=gap),
    )


def _is_zero(memory: Memory, address: int, length: int) -> bool:
    try:
        return not any(memory.read(address, length))
    except Unreadable:
        return False
