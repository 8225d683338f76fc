"""The laws of the core: any sequence of operations does what the plain model does and leaves no fault;
any single damage is found, by a check or by the operation that meets it, and repaired to the byte."""

import mmap
import random
from itertools import takewhile
from typing import Any

import hypothesis.strategies as st
from core_damage import Spot, spots
from core_model import Block, Model
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heapwitness.layout.witness import Origin, State, pattern
from heapwitness.pool import Damaged, Pool

ROOM = 16 << 10
SIZES = st.one_of(st.integers(0, 80), st.integers(0, 2000), st.integers(0, ROOM))
ALIGNS = st.sampled_from((1, 8, 16, 32, 64, 256, 1024))


class Operations(RuleBasedStateMachine):
    @initialize(
        log2=st.sampled_from((3, 4)),
        size=st.integers(500, ROOM),
        seed=st.integers(0, 2**32 - 1),
    )
    def lay_out(self, log2: int, size: int, seed: int) -> None:
        # The key is a random one: with zeros in it some words would not count.
        words = random.Random(seed)
        self.secret = (words.getrandbits(32), words.getrandbits(32), words.getrandbits(32), words.getrandbits(32))
        # Whole pages: alignments come out the same every time.
        self.pool = Pool(mmap.mmap(-1, ROOM), granule_log2=log2, size=size, secret=self.secret)
        self.model = Model(self.pool.size, log2, self.pool.address)
        self.poisoned: set[int] = set()
        self.count = 0

    def pick(self, data: st.DataObject, *states: State) -> Block:
        return data.draw(st.sampled_from([b for b in self.model.blocks if b.state in states]))

    def has(self, *states: State) -> bool:
        return any(block.state in states for block in self.model.blocks)

    def fill(self, block: Block, kept: bytes = b"") -> None:
        """Content is ASCII: never taken for the pattern."""
        self.count += 1
        fresh = bytes(33 + (self.count + i) % 90 for i in range(min(64, block.requested)))
        block.content = kept + (fresh * (block.requested // max(1, len(fresh)) + 1))[len(kept) : block.requested]
        self.pool.payload(block.offset)[:] = block.content

    @rule(size=SIZES, align=ALIGNS, origin=st.sampled_from(Origin), site=st.integers(0, 0xFFFFFE))
    def allocate(self, size: int, align: int, origin: Origin, site: int) -> None:
        expected = self.model.allocate(size, align)
        node = self.pool.allocate(size, align=align, origin=origin, site=site)
        assert node == expected
        if node is not None:
            self.fill(self.model.find(node))
            found = self.pool.node(node)
            assert found and (found.origin, found.site, found.requested) == (origin, site, size or 1)
            assert (self.pool.address + (node << self.pool.granule_log2) + 32) % align == 0 or align < 8

    @precondition(lambda self: self.has(State.USED, State.CACHED))
    @rule(data=st.data(), site=st.integers(0, 0xFFFFFE))
    def release(self, data: st.DataObject, site: int) -> None:
        block = self.pick(data, State.USED, State.CACHED)
        self.pool.release(block.offset, site=site)
        self.model.release(block.offset)

    @precondition(lambda self: self.has(State.USED))
    @rule(data=st.data(), size=SIZES)
    def resize(self, data: st.DataObject, size: int) -> None:
        block = self.pick(data, State.USED)
        kept = block.content[: size or 1]
        done = self.pool.resize(block.offset, size)
        assert done == self.model.resize(block.offset, size)
        if done:
            assert self.pool.payload(block.offset)[: len(kept)] == kept
            self.fill(block, kept)

    @precondition(lambda self: self.has(State.USED))
    @rule(data=st.data(), poison=st.booleans())
    def cache(self, data: st.DataObject, poison: bool) -> None:
        block = self.pick(data, State.USED)
        self.pool.cache(block.offset, poison=poison)
        block.state = State.CACHED

    @precondition(lambda self: self.has(State.CACHED))
    @rule(data=st.data(), change=st.integers(-20, 20))
    def uncache(self, data: st.DataObject, change: int) -> None:
        block = self.pick(data, State.CACHED)
        size = max(0, block.requested + change)
        done = self.pool.uncache(block.offset, size)
        payload = (block.size << self.pool.granule_log2) - 32
        assert done == (0 <= payload - (size or 1) <= 15)
        if done:
            block.state, block.requested = State.USED, size or 1
            self.fill(block)

    @rule(least=SIZES, most=SIZES)
    def take(self, least: int, most: int) -> None:
        expected = self.model.take(least, most)
        assert self.pool.take(least, most) == expected
        if expected is not None:
            block = self.model.find(expected)
            block.state, block.requested = State.CACHED, (block.size << self.pool.granule_log2) - 32

    @precondition(lambda self: self.has(State.CACHED))
    @rule(data=st.data(), size=SIZES, origin=st.sampled_from(Origin))
    def cut(self, data: st.DataObject, size: int, origin: Origin) -> None:
        block = self.pick(data, State.CACHED)
        done = self.model.cut(block.offset, size)
        assert self.pool.cut(block.offset, size, origin=origin, site=3) == done
        if done:
            self.fill(block)
            rest = self.model.blocks[self.model.blocks.index(block) + 1]
            rest.requested = (rest.size << self.pool.granule_log2) - 32

    @precondition(lambda self: self.has(State.CACHED))
    @rule(data=st.data(), most=st.integers(1, 5))
    def release_run(self, data: st.DataObject, most: int) -> None:
        at = self.model.blocks.index(self.pick(data, State.CACHED))
        run = list(takewhile(lambda block: block.state is State.CACHED, self.model.blocks[at : at + most]))
        offsets = [block.offset for block in run]
        self.pool.release_run(offsets)
        for offset in offsets:
            self.model.release(offset)

    @rule(size=st.integers(500, ROOM))
    def extend(self, size: int) -> None:
        assert self.pool.extend(size) == self.model.extend(size & ~15)

    @rule(data=st.data())
    def locate(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.model.blocks))
        low, high = block.offset << self.pool.granule_log2, (block.offset + block.size) << self.pool.granule_log2
        assert self.pool.locate(data.draw(st.integers(low, high - 1))) == block.offset

    @invariant()
    def nodes_are_those_of_the_model(self) -> None:
        nodes = [(n.offset, n.size, n.state) for n in self.pool.nodes()]
        assert nodes == [(b.offset, b.size, b.state) for b in self.model.blocks]

    @invariant()
    def nothing_is_found(self) -> None:
        assert self.pool.check() == []
        assert self.pool.sound()

    @invariant()
    def payloads_are_kept(self) -> None:
        for block in self.model.blocks:
            if block.state is State.USED:
                assert self.pool.payload(block.offset) == block.content


def damage(data: st.DataObject, pool: Pool) -> Spot:
    """Change some bytes of one spot: a bit, a word's worth, a run of one value, or all of it."""
    kinds = sorted({s.what for s in spots(pool)})
    what = data.draw(st.sampled_from(kinds))
    spot = data.draw(st.sampled_from([s for s in spots(pool) if s.what == what]))
    begin = data.draw(st.integers(0, spot.length - 1))
    length = data.draw(st.sampled_from((1, 4, spot.length)))
    begin = 0 if length == spot.length else begin
    length = min(length, spot.length - begin)
    old = bytes(pool.memory[spot.begin + begin : spot.begin + begin + length])
    new = data.draw(
        st.one_of(
            st.integers(0, 8 * length - 1).map(lambda bit: int.from_bytes(old, "little") ^ 1 << bit),
            st.integers(0, 255).map(lambda byte: int.from_bytes(bytes([byte]) * length, "little")),
            st.integers(0, 256**length - 1),
        ).filter(lambda number: number.to_bytes(length, "little") != old)
    )
    pool.memory[spot.begin + begin : spot.begin + begin + length] = new.to_bytes(length, "little")
    return spot


REASONS = {
    "fixed": {5},
    "copy": {5},
    "derived": {5},
    "backup": {1},
    "header": {1},
    "slack": {2},
    "links": {3},
    "poison": {4},
}


class SingleDamage(Operations):
    @rule(data=st.data())
    def damage_is_found_by_a_check_and_repaired(self, data: st.DataObject) -> None:
        before = bytes(self.pool.memory)
        spot = damage(data, self.pool)
        damaged = bytes(self.pool.memory)
        faults = self.pool.check()
        assert {fault.reason for fault in faults} == REASONS[spot.what], (spot, faults)
        assert len(faults) == 1
        assert not self.pool.sound()
        if spot.what in ("slack", "links", "poison"):
            assert faults[0].node == spot.node
        self.pool.repair()
        assert self.pool.check() == []
        self.is_as_before(before, damaged, spot)

    def is_as_before(self, before: bytes, damaged: bytes, spot: Spot) -> None:
        """To the byte; only a cached block in which poison of an earlier time shows, or whose links were damaged
        such that they begin as those of a poisoned one do, may be poisoned anew."""
        after = bytes(self.pool.memory)
        if spot.what != "links" or after == before:
            assert after == before
            return
        block = self.model.find(spot.node)
        start = (block.offset << self.pool.granule_log2) + 32
        end = (block.offset + block.size) << self.pool.granule_log2
        eight = pattern(self.secret, block.offset)
        assert block.state is State.CACHED
        assert before[start] == 0
        assert eight in before[start + 16 : end] or damaged[start] == 1
        assert after[:start] + after[end:] == before[:start] + before[end:]
        assert after[start + 16 : end] == eight * ((end - start) // 8 - 2)

    @precondition(lambda self: self.has(State.USED, State.CACHED))
    @rule(data=st.data(), size=SIZES)
    def damage_is_found_by_the_operation_that_meets_it(self, data: st.DataObject, size: int) -> None:
        block = self.pick(data, State.USED, State.CACHED)
        actions = ("release", "resize", "cache") if block.state is State.USED else ("release", "uncache")
        action = data.draw(st.sampled_from(actions))
        met = self.what_it_meets(block)
        before = bytes(self.pool.memory)
        spot = damage(data, self.pool)
        damaged = bytes(self.pool.memory)
        try:
            if action == "release":
                self.pool.release(block.offset)
                self.model.release(block.offset)
            elif action == "resize":
                if self.pool.resize(block.offset, size):
                    assert self.model.resize(block.offset, size)
                    self.fill(block)
            elif action == "cache":
                self.pool.cache(block.offset)
                block.state = State.CACHED
            elif self.pool.uncache(block.offset, block.requested):
                block.state = State.USED
                self.fill(block)
        except Damaged:
            self.pool.repair()
            self.is_as_before(before, damaged, spot)
        else:
            assert (spot.what, spot.node) not in met
            self.pool.repair()

    def what_it_meets(self, block: Block) -> set[tuple[str, int]]:
        """Both copies of the headers of the node, the one before and the one behind, and its own payload."""
        offsets = [self.pool.end] + [b.offset for b in self.model.blocks] + [self.pool.end]
        at = offsets.index(block.offset)
        headers = {("header", offset) for offset in offsets[max(1, at - 1) : at + 2]}
        backups = {("backup", offset) for offset in offsets[max(0, at - 2) : at + 1]}
        return headers | backups | {(what, block.offset) for what in ("slack", "links", "poison")} | {("fixed", 0)}


COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=80, stateful_step_count=40, **COMMON)
TestSingleDamage = SingleDamage.TestCase
TestSingleDamage.settings = settings(max_examples=80, stateful_step_count=40, **COMMON)
