"""Nodes as the blocks that a program knows: payload, requested size, who allocated or freed it."""

from collections.abc import Mapping

from heapwitness.findings.model import Block, Frame, Site, State
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.heap.rebuild import gap_in_payload
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.layout.layout import ControlHeader, Layout

TaskNames = Mapping[int, str]


def payload_of(view: PoolView, address: int, header: ControlHeader) -> int:
    """The address at which a node's user sees its block: behind the gap of an aligned one."""
    start = address + view.layout.node_size
    return start + gap_of(view, address, header)


def gap_of(view: PoolView, address: int, header: ControlHeader) -> int:
    """An aligned block's gap: by its header, or (a kernel clears it when it saves the node) by the word in front."""
    if not header.aligned:
        return 0
    start = address + view.layout.node_size
    return header.gap_size or gap_in_payload(view, start - view.address, header.size - view.layout.node_size)


def requested_size(layout: Layout, header: ControlHeader, capacity: int) -> int:
    """The size that was asked for, where it is recorded and possible; else all that the block holds."""
    if layout.control.origin_size is not None and 0 < header.origin_size <= capacity:
        return header.origin_size
    return capacity


def block_of(evidence: HeaderEvidence, node: WalkedNode, tasks: TaskNames) -> Block:
    """A node as a block. Where its header is lost and only guessed, it is `quarantined`."""
    view, layout = evidence.view, evidence.view.layout
    header = evidence.header(node)
    start = node.address + layout.node_size
    if node.address == evidence.walk.end.address:
        return Block(address=start, size=0, state="end", origin="malloc")
    if header is None or not node.exact:
        return Block(address=start, size=max(node.size - layout.node_size, 0), state="quarantined", origin="malloc")
    payload = payload_of(view, node.address, header)
    capacity = node.address + node.size - payload
    state: State = "used" if header.used else "free"
    site = _site(evidence, node, header, tasks)
    known = header.used and layout.has_magic and "taskId" not in _unknown(evidence, node)
    return Block(
        address=payload,
        size=requested_size(layout, header, capacity) if header.used else capacity,
        state=state,
        origin="aligned" if header.aligned else "malloc",
        allocated=site if header.used else None,
        freed=None if header.used else site,
        task=task_name(header.task, tasks) if known else None,
    )


def task_name(task: int, tasks: TaskNames) -> str:
    """A task's name, or its number where nothing names it."""
    return tasks.get(task, str(task))


def _unknown(evidence: HeaderEvidence, node: WalkedNode) -> tuple[str, ...]:
    rebuilt = evidence.rebuilt.get(node.address)
    return () if rebuilt is None else rebuilt.unknown


def _site(evidence: HeaderEvidence, node: WalkedNode, header: ControlHeader, tasks: TaskNames) -> Site | None:
    """Where a block was allocated or freed: its header's link registers, of a damaged one those that can be."""
    registers: tuple[int, ...] = ()
    if node.own is not None and not node.own_good:
        registers = evidence.registers.plausible(node.own.link_registers)
    elif node.own is not None:
        registers = tuple(one for one in node.own.link_registers if one)
    has_task = header.used and evidence.view.layout.has_magic
    if not registers and not has_task:
        return None
    thread, task = (header.task, task_name(header.task, tasks)) if has_task else (0, None)
    return Site(thread=thread, task=task, stack=tuple(Frame(pc=one) for one in registers))
