"""What a pointer that was freed, and names no allocation, is: freed before, inside of a block, or elsewhere."""

from heapwitness.findings.detection import detection
from heapwitness.findings.model import Block, Kind, When
from heapwitness.liteos.diagnose.blocks import TaskNames, block_of, payload_of
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.heap.rebuild import rebuild
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, WalkedNode


def explain(view: PoolView, walked: Walk, pointer: int, tasks: TaskNames, when: When) -> LiteosFinding | None:
    """Judge a pointer that was released and names no allocation.

    Returns:
        The finding; None where the pointer may be right but its node's header is lost, so that nothing
        can be said about it beyond the damage.
    """
    evidence = HeaderEvidence(view, walked, rebuild(view, walked))
    node = _around(walked, pointer)
    if node is None:
        side = "before" if pointer < walked.address + view.layout.first_offset else "after"
        return _finding("invalid-free", pointer, None, when, f"The pointer lies {side} the nodes of the pool.")
    header = evidence.header(node)
    if header is None or not node.exact:
        return None
    block = block_of(evidence, node, tasks)
    start = payload_of(view, node.address, header)
    if header.used:
        if pointer == start:
            return None
        return _finding("invalid-free", pointer, block, when, _where(pointer, start, node, view.layout.node_size))
    if pointer == start:
        return _finding("double-free", pointer, block, when, "The block is free already.")
    if _was_merged(view, pointer):
        detail = "The memory belongs to a larger free node: a block that was here was freed already and merged into it."
        return _finding("double-free", pointer, block, when, detail)
    return _finding(
        "invalid-free", pointer, block, when, f"The pointer lies {pointer - start:+} bytes from a free block."
    )


def mismatch(view: PoolView, walked: Walk, pointer: int, tasks: TaskNames, when: When, detail: str) -> LiteosFinding:
    """The finding about an allocated block that another one than its owner releases."""
    evidence = HeaderEvidence(view, walked, rebuild(view, walked))
    node = _around(walked, pointer)
    block = None if node is None else block_of(evidence, node, tasks)
    return _finding("mismatched-free", pointer, block, when, detail)


def _around(walked: Walk, pointer: int) -> WalkedNode | None:
    """The node in whose bytes, headers included, a pointer lies."""
    for node in walked.nodes:
        if node.address <= pointer < node.address + node.size:
            return node
    return None


def _where(pointer: int, start: int, node: WalkedNode, node_size: int) -> str:
    if pointer > start:
        return f"The pointer lies {pointer - start} bytes inside of a block that is in use."
    if pointer >= node.address + node_size:
        return f"The pointer lies {start - pointer} bytes before the aligned start of a block that is in use."
    return f"The pointer lies in the header of a block that is in use, {start - pointer} bytes before the block."


def _was_merged(view: PoolView, pointer: int) -> bool:
    """Whether a cleared header lies before a pointer, as merging leaves it."""
    size = view.layout.node_size
    at = pointer - view.address - size
    return pointer % view.layout.align == 0 and at >= 0 and not any(view.data[at : at + size])


def _finding(kind: Kind, pointer: int, block: Block | None, when: When, detail: str) -> LiteosFinding:
    return LiteosFinding(kind=kind, detected=detection(when), culprit=block, pointer=pointer, detail=detail)
