"""The laws of runs: right operations do what a plain model does and leave no fault; any single damage is found and
mended to the byte; after any damage at all a run is sound again, or given up with nothing written."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from core_run import BYTES, GRANULE, MIDS, MOST, OVERHEAD, PAYLOADS, SITE_QUARANTINE, Run, Spot, Status, core, mixed
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Origin, State

CLASSES = st.one_of(st.sampled_from((0, 1, 2, 62, 63, 64, 65, 86, 87)), st.integers(0, len(PAYLOADS) - 1))
SITES = st.integers(0, SITE_QUARANTINE - 1)
NODES = 24
"""So many nodes at most have the runs that operations are done to."""

REASONS = {
    "sentinel": Reason.DAMAGE,
    "header": Reason.DAMAGE,
    "backup": Reason.DAMAGE,
    "end": Reason.DAMAGE,
    "slack": Reason.SLACK,
    "tail": Reason.SLACK,
    "links": Reason.LINKS,
    "poison": Reason.POISON,
}


@dataclass(slots=True)
class Block:
    """A used node, or one that is held back."""

    size: int
    content: bytes
    held: bool = False


class Operations(RuleBasedStateMachine):
    @initialize(run_class=CLASSES, seed=st.integers(0, 2**32 - 1))
    def lay_out(self, run_class: int, seed: int) -> None:
        self.run = Run(run_class, seed)
        self.least = PAYLOADS[run_class - 1] + 1 if run_class else 1
        self.blocks: dict[int, Block] = {}
        self.free: list[int] = []  # the next one last
        self.count = 0

    def size(self, data: st.DataObject) -> int:
        return data.draw(st.integers(self.least, self.run.payload_bytes))

    def pick(self, data: st.DataObject, *, held: bool) -> int:
        return data.draw(st.sampled_from([node for node, block in self.blocks.items() if block.held == held]))

    def has(self, *, held: bool) -> bool:
        return any(block.held == held for block in self.blocks.values())

    def fill(self, node: int, kept: bytes, size: int) -> bytes:
        """Content is ASCII: never taken for the pattern."""
        self.count += 1
        fresh = bytes(33 + (self.count + at) % 90 for at in range(97))
        content = kept[:size] + (fresh * (size // len(fresh) + 1))[: size - len(kept[:size])]
        self.run.payload(node)[:size] = content
        return content

    @precondition(lambda self: self.run.formatted < NODES)
    @rule(count=st.integers(0, 5))
    def format(self, count: int) -> None:
        before, room = self.run.nodes, self.run.formatted < self.run.capacity
        assert self.run.format(count * self.run.stride) is (Status.OK if room else Status.NOMEM)
        fresh = self.run.nodes[len(before) :]
        assert len(fresh) == min(max(1, count), self.run.capacity - len(before))
        self.free += fresh[::-1]

    @rule(data=st.data(), origin=st.sampled_from(Origin), site=SITES)
    def take(self, data: st.DataObject, origin: Origin, site: int) -> None:
        size = self.size(data)
        node = self.run.take(size, origin, site)
        assert node == (self.free.pop() if self.free else 0)
        if node:
            self.blocks[node] = Block(size, self.fill(node, b"", size))
            meta = self.run.meta(node) or 0
            assert (meta >> 6 & 3, meta >> 8) == (origin, site)

    @precondition(lambda self: self.has(held=False))
    @rule(data=st.data(), site=SITES)
    def give(self, data: st.DataObject, site: int) -> None:
        node = self.pick(data, held=False)
        assert self.run.give(node, site) is Status.OK
        assert self.run.give(node, site) is Status.REFUSED
        del self.blocks[node]
        self.free.append(node)
        assert (self.run.meta(node) or 0) >> 8 == site

    @precondition(lambda self: self.has(held=False))
    @rule(data=st.data(), site=SITES)
    def hold(self, data: st.DataObject, site: int) -> None:
        node = self.pick(data, held=False)
        assert self.run.hold(node, site) is Status.OK
        self.blocks[node].held = True

    @precondition(lambda self: self.has(held=True))
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        node = self.pick(data, held=True)
        assert self.run.give(node) is Status.OK
        del self.blocks[node]
        self.free.append(node)

    @precondition(lambda self: self.has(held=False))
    @rule(data=st.data(), other=st.integers(0, MOST + 1))
    def resize(self, data: st.DataObject, other: int) -> None:
        node = self.pick(data, held=False)
        block = self.blocks[node]
        size = data.draw(st.one_of(st.just(other), st.integers(self.least, self.run.payload_bytes)))
        fits = self.least <= size <= self.run.payload_bytes
        assert self.run.resize(node, size) is (Status.OK if fits else Status.NOMEM)
        if fits:
            assert self.run.payload(node)[: min(size, block.size)] == block.content[:size]
            block.size, block.content = size, self.fill(node, block.content, size)

    @invariant()
    def nothing_is_found(self) -> None:
        assert self.run.check() == []
        assert self.run.sound()
        assert all(self.run.verify(node) is Status.OK for node in self.run.nodes)

    @invariant()
    def nodes_are_those_of_the_model(self) -> None:
        for node in self.run.nodes:
            block = self.blocks.get(node)
            state = State.FREE if block is None else State.CACHED if block.held else State.USED
            assert self.run.state(node) is state
            if block is not None:
                assert self.run.requested(node) == block.size
            if block is not None and not block.held:
                assert self.run.payload(node)[: block.size] == block.content
        assert self.run.words.used == len(self.blocks)


def write(run: Run, at: int, data: bytes) -> None:
    run.memory[at : at + len(data)] = data


class SingleDamage(Operations):
    @rule(data=st.data())
    def damage_is_found_and_mended(self, data: st.DataObject) -> None:
        run, before = self.run, self.run.save()
        spots = list(run.spots())
        what = data.draw(st.sampled_from(sorted({spot.what for spot in spots})))
        spot = data.draw(st.sampled_from([one for one in spots if one.what == what]))
        begin = data.draw(st.integers(0, spot.length - 1))
        length = data.draw(st.integers(1, spot.length - begin))
        new = data.draw(st.one_of(st.binary(min_size=length, max_size=length), st.just(bytes(length))))
        write(run, spot.begin + begin, new)
        if run.save() == before:
            return

        faults = run.check()

        assert [fault.reason for fault in faults] == [REASONS[spot.what]]
        assert not run.sound()
        outcome = run.repair()
        assert outcome is not None
        assert sum(outcome) == 1
        assert run.save() == before

    @precondition(lambda self: self.has(held=False))
    @rule(data=st.data())
    def a_write_beside_a_payload_stops_its_release(self, data: st.DataObject) -> None:
        run, before = self.run, self.run.save()
        node = self.pick(data, held=False)
        start = node * GRANULE + OVERHEAD
        stop = start + self.blocks[node].size
        ahead = data.draw(st.booleans())
        length = data.draw(
            st.one_of(st.integers(1, 40), st.integers(1, 3000)).map(lambda n: min(n, start if ahead else BYTES - stop))
        )
        content = data.draw(st.sampled_from((b"\0", b"\xff", b"ab", b"\x10\x20\x30\x40\x50\x60\x70")))
        write(run, start - length if ahead else stop, (content * length)[:length])
        if run.save() != before:
            damaged = run.save()
            assert (run.give(node), run.hold(node), run.verify(node)) == (Status.DAMAGED,) * 3
            assert run.save() == damaged
        run.restore(before)


for machine, examples in ((Operations, 40), (SingleDamage, 60)):
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestOperations = Operations.TestCase
TestSingleDamage = SingleDamage.TestCase


def changes(run: Run, spot: Spot) -> list[tuple[int, int]]:
    """Each byte of a spot with each bit of it turned, and some bytes more; only some of long ones."""
    step = max(1, spot.length // 64)
    places = {spot.begin, spot.begin + spot.length - 1, *range(spot.begin, spot.begin + spot.length, step)}
    values = [1 << bit for bit in range(8)]
    return [
        (at, value)
        for at in sorted(places)
        for value in {*values, 0xFF, run.memory[at], run.memory[at] ^ 0xFF}
        if value
    ]


@pytest.mark.parametrize("run_class", [0, 1, 2, 31, 63, 64, 72, 86, 87])
def test_each_bit_that_something_vouches_for_is_found_and_mended(run_class: int) -> None:
    run = mixed(run_class, 7)
    if run_class > 71:
        run.format(BYTES)
    before = run.save()
    for spot in run.spots():
        for at, change in changes(run, spot):
            run.memory[at] ^= change
            [fault] = run.check()
            assert fault.reason is REASONS[spot.what]
            if fault.reason is not Reason.DAMAGE:
                assert fault.node == spot.node
            else:
                keeper = spot.node or run.nodes[0]
                assert run.nodes[0] <= fault.node <= keeper
            assert not run.sound()
            outcome = run.repair()
            assert outcome is not None
            assert sum(outcome) == 1
            assert run.memory[at] == before[0][at]
    assert run.save() == before


# --- any damage


WRITES = st.lists(
    st.tuples(
        st.integers(0, BYTES - 1),
        st.one_of(st.integers(1, 32), st.integers(1, 6000), st.just(BYTES)),
        st.one_of(st.just(-1), st.integers(0, 255)),
    ),
    max_size=6,
)
DESCRIBED = ("salt", "stride", "head", "used", "formatted", "capacity", "run_class")
FIELDS = st.lists(st.tuples(st.booleans(), st.sampled_from(DESCRIBED), st.integers(0, 2**64 - 1)), max_size=3)


def wreck(run: Run, writes: list[tuple[int, int, int]], fields: list[tuple[bool, str, int]], seed: int) -> None:
    noise = Run(0, seed).save()[0]
    for at, length, value in writes:
        length = min(length, BYTES - at)
        content = (
            bytes([value]) * length
            if value >= 0
            else bytes(byte * 7 + at & 0xFF for at, byte in enumerate(noise[:length]))
        )
        write(run, at, content)
    for second, name, value in fields:
        target = run.second if second and hasattr(run.second, name) else run.words
        setattr(target, name, value)
    if seed % 4 == 0:
        run.second.slack[seed % MIDS][seed % 3] ^= seed >> 3 & 0xFF


@settings(max_examples=400, deadline=None)
@given(CLASSES, WRITES, FIELDS, st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=12))
def test_after_any_damage_a_run_is_sound_again_or_given_up(
    run_class: int,
    writes: list[tuple[int, int, int]],
    fields: list[tuple[bool, str, int]],
    seed: int,
    operations: list[int],
) -> None:
    run = mixed(run_class, seed)
    wreck(run, writes, fields, seed)
    for number in operations:
        node = 1 + number // 4 * run.granules
        match number % 4:
            case 0:
                run.take(run.payload_bytes)
            case 1:
                run.give(node)
            case 2:
                run.hold(node)
            case 3:
                run.format(run.stride)

    assert run.sound() == (run.check() == [])
    wrecked = run.save()
    if run.repair() is None:
        assert run.save() == wrecked
        return
    assert run.check() == []
    assert run.sound()
    # What is free can be taken, what is used can be given.
    assert all(run.give(node) is Status.OK for node in run.nodes if (run.meta(node) or 0) >> 4 & 3 == State.CACHED)
    size = PAYLOADS[run.words.run_class]
    while core().hw_run_take(run.words, run.key, size, 0, 1):
        pass
    assert run.words.used == run.formatted
    assert run.sound()


@settings(max_examples=150, deadline=None)
@given(CLASSES, WRITES, st.integers(0, 2**32 - 1))
def test_a_repair_writes_into_no_payload_that_is_its_owners(
    run_class: int, writes: list[tuple[int, int, int]], seed: int
) -> None:
    run = mixed(run_class, seed)
    used = {node: run.requested(node) for node in run.nodes if run.state(node) is State.USED}
    wreck(run, writes, [], 1)
    wrecked = {node: bytes(run.payload(node)[:size]) for node, size in used.items()}
    assert run.repair() is not None
    assert {node: bytes(run.payload(node)[:size]) for node, size in used.items()} == wrecked
    assert {run.state(node) for node in used} <= {State.USED}
