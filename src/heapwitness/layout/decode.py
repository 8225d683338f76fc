"""How a message of the engine becomes an event, and a record several (docs/format.md, "events", "records").

A message comes from a process that is damaged by assumption. Every count in it is held against the
bytes that are there before anything is made of it; what does not fit is a BadEvent.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from heapwitness.layout.events import (
    BEFORE_LIMIT,
    COMMAND_LIMIT,
    CRASH_WORDS,
    EVENT_WORDS,
    FAMILY_BITS,
    FRAMES_LIMIT,
    MAGIC,
    MAPS_LIMIT,
    MESSAGE_LIMIT,
    NUMBER_WORDS,
    NUMBERS_LIMIT,
    SECTION_WORDS,
    SECTIONS_LIMIT,
    STORED_LIMIT,
    VERSION,
    WINDOW_WORDS,
    WINDOWS_LIMIT,
    WORDS_LIMIT,
    Access,
    BadEvent,
    CrashState,
    CrashWords,
    Event,
    Machine,
    Numbered,
    Outcome,
    Reason,
    Released,
    SectionKind,
    Stats,
    Trap,
    TrapState,
    Type,
    Unpooled,
    WatchedStore,
    WentOn,
    When,
    Window,
)
from heapwitness.layout.witness import Domain, Origin

_PAGES = (4 << 10, 16 << 10, 64 << 10)
_SIGNAL, _CUT_SHORT = 0xFF, 0x100

HEAD = struct.Struct("<IHHI")
_HEADS_LIMIT = 10_000
_TOLD = (Type.FINDING, Type.CRASH, Type.WATCHED)


def parse_event(message: bytes) -> Event:
    """Decode one whole message.

    Sections of a kind that is not known here are passed over.

    Raises:
        BadEvent: it is truncated, contradicts itself, or is of another version.
    """
    if len(message) < EVENT_WORDS.size:
        raise BadEvent(f"an event of {len(message)} bytes is too short to be one.")
    words = EVENT_WORDS.unpack_from(message)
    magic, version, type_, length, pid, tid, ppid, when, reason = words[:9]
    process, pool, pool_bytes, pointer, node, family, thread, windows, frames, dropped = words[9:]
    if magic != MAGIC:
        raise BadEvent("this is no event of a heapwitness engine.")
    if version != VERSION:
        raise BadEvent(f"the event is of version {version}; this installation reads version {VERSION}.")
    if length != len(message):
        raise BadEvent(f"an event of {length} bytes came with {len(message)} bytes.")
    at = EVENT_WORDS.size
    if windows > WINDOWS_LIMIT or frames > FRAMES_LIMIT or at + 8 * (windows + frames) > length:
        raise BadEvent("an event says that it holds more than its bytes.")
    try:
        kind, moment, why = Type(type_), When(when), Reason(reason)
        origin, domain = Origin(family & (1 << FAMILY_BITS) - 1), Domain(family >> FAMILY_BITS)
    except ValueError as error:
        raise BadEvent("an event has a type, reason or family that is not known.") from error
    if (kind is Type.FINDING) == (why is Reason.NONE):
        raise BadEvent("an event has a reason that does not go with its type.")
    decoded_windows = tuple(Window(low, high) for low, high in WINDOW_WORDS.iter_unpack(message[at : at + 8 * windows]))
    at += 8 * windows
    event = Event(
        type=kind,
        pid=pid,
        tid=tid,
        ppid=ppid,
        when=moment,
        reason=why,
        process=process,
        pool=pool,
        pool_bytes=pool_bytes,
        pointer=pointer,
        node=node,
        family=origin,
        domain=domain,
        thread=_text(thread.split(b"\0", 1)[0]),
        dropped=dropped,
        windows=decoded_windows,
        frames=struct.unpack_from(f"<{frames}Q", message, at),
    )
    return _with_sections(event, message, at + 8 * frames)


def read_events(stream: BinaryIO) -> Iterator[Event]:
    """The events of a record, one after the other; ends at the first that is cut short.

    Raises:
        BadEvent: a whole message is no event.
    """
    while True:
        start = stream.read(12)
        if len(start) < 12:
            return
        magic, _, length = struct.unpack("<III", start)
        if magic != MAGIC:
            raise BadEvent("this file is no record of heapwitness, or is damaged.")
        if not EVENT_WORDS.size <= length <= MESSAGE_LIMIT:
            raise BadEvent(f"the record is damaged: it holds an event of {length} bytes.")
        rest = stream.read(length - len(start))
        if len(rest) < length - len(start):
            return
        yield parse_event(start + rest)


def has_findings(stream: BinaryIO) -> bool:
    """Whether a record has something to show among its first events, by their heads alone."""
    for _ in range(_HEADS_LIMIT):
        head = stream.read(HEAD.size)
        if len(head) < HEAD.size:
            return False
        magic, _, kind, length = HEAD.unpack(head)
        if magic != MAGIC or length < EVENT_WORDS.size:
            return False
        if kind in _TOLD:
            return True
        stream.seek(length - len(head), os.SEEK_CUR)
    return False


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _with_sections(event: Event, message: bytes, at: int) -> Event:
    memory: list[tuple[int, bytes]] = []
    for _ in range(SECTIONS_LIMIT):
        if at == len(message):
            return event._replace(memory=tuple(memory))
        if at + SECTION_WORDS.size > len(message):
            raise BadEvent("an event's last section is cut short.")
        kind, _, address, length = SECTION_WORDS.unpack_from(message, at)
        at += SECTION_WORDS.size
        if length > len(message) - at:
            raise BadEvent("an event has a section that is longer than the event.")
        data = message[at : at + length]
        match kind:
            case SectionKind.MEMORY:
                memory.append((address, data))
            case SectionKind.MAPS:
                event = event._replace(maps=_text(data[:MAPS_LIMIT]))
            case SectionKind.COMMAND:
                event = event._replace(command=_command(data))
            case SectionKind.STATS:
                event = event._replace(stats=_stats(data))
            case SectionKind.RELEASED:
                event = event._replace(released=_released(data))
            case SectionKind.OUTCOME:
                event = event._replace(outcome=_outcome(data))
            case SectionKind.CRASH:
                event = event._replace(crash=_crash(data))
            case SectionKind.TRAP:
                event = event._replace(trap=_trap(data))
            case SectionKind.UNPOOLED:
                event = event._replace(unpooled=_unpooled(data))
            case SectionKind.STORED:
                event = event._replace(stored=(address, data[:STORED_LIMIT]))
            case SectionKind.WENT_ON:
                pc, farthest, times = _words(data, 3)
                event = event._replace(went_on=WentOn(block=address, pc=pc, farthest=farthest, times=times))
            case SectionKind.HELD:
                event = event._replace(held=_crash(data))
            case SectionKind.FRAME:
                event = event._replace(frame=address)
            case SectionKind.LEFT:
                event = event._replace(left=True)
            case SectionKind.WATCHED:
                event = event._replace(watched=_watched(data))
            case SectionKind.NUMBERED:
                event = event._replace(numbers=_numbers(data))
            case SectionKind.RUN:
                event = event._replace(run=_words(data, 1)[0])
            case SectionKind.NOTICED:
                event = event._replace(noticed=address)
        at = min(at + (length + 7) // 8 * 8, len(message))
    raise BadEvent(f"an event has more than {SECTIONS_LIMIT} sections.")


def _words(data: bytes, count: int) -> tuple[int, ...]:
    if len(data) < 8 * count:
        raise BadEvent("an event has a section that is too short.")
    return struct.unpack_from(f"<{count}Q", data)


def _command(data: bytes) -> tuple[str, ...]:
    words = data[:COMMAND_LIMIT].removesuffix(b"\0").split(b"\0", WORDS_LIMIT)
    return tuple(_text(word) for word in words[:WORDS_LIMIT])


def _stats(data: bytes) -> Stats:
    operations, nodes, peak, findings, repaired, whole, big = _words(data, 7)
    ending = _words(data, 8)[7] if len(data) >= 64 else 0
    trapped, too_often, too_many = _words(data, 11)[8:] if len(data) >= 88 else (0, 0, 0)
    left = _words(data, 12)[11] if len(data) >= 96 else 0
    watched, unwatched = _words(data, 14)[12:] if len(data) >= 112 else (0, 0)
    return Stats(
        operations=operations,
        nodes=nodes,
        nodes_peak=peak,
        findings=findings,
        repaired=repaired,
        whole_checks=whole,
        big_blocks=big,
        signal=ending & _SIGNAL,
        cut_short=bool(ending & _CUT_SHORT),
        trapped=trapped,
        too_often=too_often,
        too_many=too_many,
        left=left,
        watched=watched,
        unwatched=unwatched,
        backup_bytes=_words(data, 15)[14] if len(data) >= 120 else None,
    )


def _released(data: bytes) -> Released:
    address, size, site, origin = _words(data, 4)
    if origin not in tuple(Origin):
        raise BadEvent("an event has a block of an origin that is not known.")
    return Released(address=address, size=size, site=site, origin=Origin(origin))


def _unpooled(data: bytes) -> Unpooled:
    # Older engines tell fewer of them.
    words = _words(data, min(max(len(data) // 8, 5), 7))
    address, size, site, origin, pattern = words[:5]
    if origin not in tuple(Origin):
        raise BadEvent("an event has a block of an origin that is not known.")
    page = words[6] if len(words) > 6 else 4096
    if page not in _PAGES:
        raise BadEvent("an event has a block that ends with a page of a size that no kernel has.")
    return Unpooled(
        address=address,
        size=size,
        site=site,
        origin=Origin(origin),
        pattern=pattern,
        before=min(words[5], BEFORE_LIMIT) if len(words) > 5 else 0,
        page=page,
    )


def _watched(data: bytes) -> WatchedStore:
    at, length, before, after, block, size, site, number = _words(data, 8)
    if length not in (1, 2, 4, 8):
        raise BadEvent("an event has watched bytes of a length that no processor watches.")
    return WatchedStore(
        at=at,
        before=before.to_bytes(8, "little")[:length],
        after=after.to_bytes(8, "little")[:length],
        block=block,
        size=size,
        site=site,
        number=number,
    )


def _numbers(data: bytes) -> tuple[Numbered, ...]:
    count = min(len(data) // NUMBER_WORDS.size, NUMBERS_LIMIT)
    words = NUMBER_WORDS.iter_unpack(data[: count * NUMBER_WORDS.size])
    return tuple(Numbered(address=address, site=site, number=number) for address, site, number in words)


def _trap(data: bytes) -> Trap:
    address, pc, access, pool = _words(data, 4)
    if access not in tuple(Access):
        raise BadEvent("an event has an access of a kind that is not known.")
    state = _words(data, 5)[4] if len(data) >= 40 else 0
    return Trap(address=address, pc=pc, access=Access(access), pool=pool, state=state & sum(TrapState))


def _outcome(data: bytes) -> Outcome:
    headers, backups, slacks, links, poisons, controls, quarantined = _words(data, 7)
    return Outcome(
        headers=headers,
        backups=backups,
        slacks=slacks,
        links=links,
        poisons=poisons,
        controls=controls,
        quarantined=quarantined,
    )


_REGISTERS = {Machine.X86_64: 16, Machine.AARCH64: 31}


def _crash(data: bytes) -> CrashWords:
    words = _words(data, CRASH_WORDS.size // 8)
    machine, number, code, address, sender, state, nodes, pc, sp, trap, error = words[:11]
    known = machine in tuple(Machine)
    return CrashWords(
        machine=machine,
        signal=number,
        code=code - (1 << 64) if code >> 63 else code,
        address=address,
        sender=sender,
        state=CrashState(state & sum(CrashState)),
        nodes=nodes,
        pc=pc,
        sp=sp,
        trap=trap,
        error=error,
        registers=words[11 : 11 + _REGISTERS[Machine(machine)]] if known else (),
    )
