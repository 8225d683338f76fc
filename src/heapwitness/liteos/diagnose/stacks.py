"""Task stacks in a pool: blocks that one task writes from their end downward, and past their start when it runs out.

The kernel fills a new stack with 0xCA and marks its lowest word; a task's control block names that word's place
(`topOfStack`). A stack that was used to its bottom has lost the mark and has no fill left at its low end; what then
was damaged right before it was damaged by its own task. Where no firmware names the stacks, such a block is known as
one by its frames, which hold addresses within it.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from heapwitness.findings.model import Block
from heapwitness.liteos.diagnose.blocks import block_of, payload_of
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderRun
from heapwitness.liteos.firmware.firmware import Task
from heapwitness.liteos.heap.walk import WalkedNode

MARK: Final = 0xCCCCCCCC
FILL: Final = 0xCA
_LOW = 1024
_UNUSED = bytes([FILL]) * 16
_FRAMES = 3
_SMALLEST = 256


class TaskStack(msgspec.Struct, frozen=True):
    """A task's stack by its control block: the address of its lowest word, and the task's number and name."""

    low: int
    task: int
    name: str


TaskStacks = Mapping[int, TaskStack]
"""Stacks by the address of their lowest word."""


def stacks_of(table: Mapping[int, Task], names: Mapping[int, str]) -> dict[int, TaskStack]:
    """The stacks of the tasks that exist, by the address of their lowest word.

    Args:
        table: tasks by the firmware and the dump.
        names: what tasks are called in a report.
    """
    return {
        task.stack: TaskStack(task.stack, number, names.get(number, str(number)))
        for number, task in table.items()
        if task.exists and task.stack is not None
    }


def overflowed(evidence: HeaderEvidence, run: HeaderRun, stacks: TaskStacks) -> WalkedNode | None:
    """The stack whose task ran past its low end and made a run of damage right before it; None where none did.

    Args:
        evidence: the walked pool.
        run: damage of headers.
        stacks: those that a firmware names; others are known by what they hold.
    """
    node = evidence.nodes[evidence.index[run.spots[-1].place]]
    header = evidence.header(node)
    if header is None or not header.used or not node.exact or node.size < evidence.view.layout.node_size + _SMALLEST:
        return None
    low = lowest(evidence, node)
    start = low - evidence.view.address
    if run.certain < node.address + evidence.view.layout.header_offset:
        return None
    data = evidence.view.data[start : min(start + _LOW, node.address + node.size - evidence.view.address)]
    if int.from_bytes(data[:4], "little") == MARK or _UNUSED in data:
        return None
    return node if low in stacks or _has_frames(evidence, node, data) else None


def lowest(evidence: HeaderEvidence, node: WalkedNode) -> int:
    """The lowest word of the stack that a node holds: the start of its payload."""
    header = evidence.header(node)
    assert header is not None
    return payload_of(evidence.view, node.address, header)


def stack_block(evidence: HeaderEvidence, node: WalkedNode, stacks: TaskStacks) -> Block:
    """A stack as a block; its task is the one that runs on it, where that is known, and not the one that made it."""
    block = block_of(evidence, node, {})
    owner = stacks.get(block.address)
    return msgspec.structs.replace(block, task=None if owner is None else owner.name)


def details(
    evidence: HeaderEvidence, run: HeaderRun, node: WalkedNode, before: WalkedNode | None, stacks: TaskStacks
) -> Iterator[str]:
    """What speaks for a stack, whose it is, and what else could have been."""
    low = lowest(evidence, node)
    owner = stacks.get(low)
    if owner is not None:
        yield f"This is the stack of task {owner.task} ({owner.name}), by its control block."
    else:
        yield "This is a task's stack, by the frames in it (--elf tells whose)."
    yield "It was used to the bottom: no mark and no fill (0xca) is left there."
    yield f"{low - run.start} of the bytes lie below it, and more may."
    if before is not None and run.spots[0].copy == "backup":
        payload = block_of(evidence, before, {}).address
        yield f"Or the block at {payload:#x}, which ends there, was overrun."


def _has_frames(evidence: HeaderEvidence, node: WalkedNode, data: bytes) -> bool:
    """Whether bytes hold what frames do: several addresses a little further up in the same block, rising."""
    pointer = evidence.view.layout.pointer
    low, high = node.address, node.address + node.size
    start = lowest(evidence, node)
    words = [int.from_bytes(data[at : at + pointer], "little") for at in range(0, len(data) - pointer + 1, pointer)]
    own = [word for number, word in enumerate(words) if low <= word < high and word > start + number * pointer]
    return len({*own}) >= _FRAMES and sum(one < other for one, other in pairwise(own)) >= _FRAMES - 1
