"""Stores to watched bytes, which the processor told of as they happened, and the damage that is theirs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from heapwitness.diagnose.instruction import instruction_before
from heapwitness.diagnose.pointer import from_afar, only_block
from heapwitness.findings.model import Block, Damage, Finding, Frame, Reading, Store
from heapwitness.layout.events import Event, WatchedStore
from heapwitness.memory import Memory, SegmentsMemory

_HEX = 2
_MASKED = "] {k"


class Caught(NamedTuple):
    """A store to watched bytes, and what it changed there; `block` is the one in use whose address a register held
    that the store's was made of."""

    watched: WatchedStore
    store: Store
    block: Block | None = None


def caught(event: Event, memory: Memory | None = None) -> Caught | None:
    """The store that an event tells of; None where nothing was changed by it, or the event tells of none.

    The processor tells of it when it was done: the thread is behind its instruction.

    Args:
        memory: of the process, while the thread waits, where it can be read.
    """
    watched = event.watched
    if watched is None or watched.before == watched.after:
        return None
    first = next(at for at, (old, new) in enumerate(zip(watched.before, watched.after, strict=True)) if old != new)
    address = watched.at + first
    pc = event.held.pc if event.held is not None else next(iter(event.frames), 0)
    callers = tuple(Frame(pc=one) for one in event.frames[1:])
    store = Store(address=address, size=0, stack=(Frame(pc=max(0, pc - 1)), *callers))
    found = instruction_before(event.held, address, SegmentsMemory(event.memory)) if event.held is not None else None
    if found is None:
        return Caught(watched, store)
    at, instruction = found
    if _MASKED in instruction.text:  # how much of it was stored stands in a register that is not told
        instruction = instruction._replace(size=0)
    start = instruction.start if instruction.size and instruction.start != address else None
    store = msgspec.structs.replace(
        store,
        stack=(Frame(pc=at), *callers),
        size=instruction.size,
        start=start,
        instruction=instruction.text,
        registers=instruction.registers,
        value=_value(event, start if start is not None else address, instruction.size),
    )
    return Caught(watched, store, only_block(event, instruction.registers.values(), memory))


def is_damage_of(one: Caught, finding: Finding) -> bool:
    """Whether a finding's damage is, at least in part, what a store left: bytes that it changed are as it left them."""
    damage = finding.damage
    return damage is not None and finding.store is None and any(_left(one.watched, damage))


def with_store(finding: Finding, one: Caught) -> Finding:
    """A finding with the store that its damage is of.

    Where the bytes left open whose pointer led there, the registers may tell: one that holds a block's address was made
    the address of the store. Else it stays open, and nobody is named for it.
    """
    told = msgspec.structs.replace(finding, store=one.store, access="write")
    if finding.certain:
        return told
    if one.block is not None and one.block.address not in [block.address for block in _read_as(finding)]:
        return from_afar(told, one.store, one.block)
    for reading in finding.readings:
        if reading.culprit is not None and reading.culprit.address in one.store.registers.values():
            return msgspec.structs.replace(
                told,
                kind=reading.kind,
                culprit=reading.culprit,
                damage=_counted_from(finding.damage, reading),
                suspect=None,
                readings=(),
                certain=True,
                detail="",
            )
    return msgspec.structs.replace(
        told,
        kind="header-overwrite",
        culprit=None,
        suspect=finding.suspect or finding.culprit,
        damage=msgspec.structs.replace(finding.damage, offset=None) if finding.damage is not None else None,
        detail="The instruction does not show which pointer led there: a wild one, or one of a block beside it.",
    )


def _read_as(finding: Finding) -> Iterator[Block]:
    yield from (reading.culprit for reading in finding.readings if reading.culprit is not None)


def _counted_from(damage: Damage | None, reading: Reading) -> Damage | None:
    return msgspec.structs.replace(damage, offset=reading.offset) if damage is not None else None


def _left(watched: WatchedStore, damage: Damage) -> Iterable[bool]:
    for number, (old, new) in enumerate(zip(watched.before, watched.after, strict=True)):
        at = watched.at + number - damage.address
        if old != new and 0 <= at < min(damage.length, damage.shown):
            yield damage.actual[_HEX * at : _HEX * (at + 1)] == f"{new:02x}"


def _value(event: Event, start: int, size: int) -> str | None:
    if event.stored is None or not size:
        return None
    at = start - event.stored[0]
    value = event.stored[1][at : at + size] if at >= 0 else b""
    return value.hex() if len(value) == size else None
