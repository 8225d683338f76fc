"""Laws of the diagnosis: any single damage in any pool has the right kind, culprit and extent.

A byte that is written with the value it had leaves no trace, so the damage here changes its first and last byte,
and what lies on either side of it does not continue it by chance (a NUL behind text would count as its end).
"""

import random
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import assume, given, settings
from support.heaps import Heap

from heapwitness.findings.model import Finding
from heapwitness.layout.witness import State
from heapwitness.pool import Node

FILL = (0xEE, 0x9B, 0xF3)
SIZES = (1, 5, 16, 24, 40, 48, 100, 300)


@dataclass
class Scene:
    heap: Heap
    nodes: list[Node]
    live: set[int]

    def damage(self, at: int, data: bytes) -> tuple[int, int]:
        """Write; gives the addresses of the first byte and of the one behind the last."""
        room = self.heap.room
        end = at + len(data)
        assume(end < len(room))
        assume(room[at] != data[0] and room[end - 1] != data[-1])
        assume(room[at - 1] != data[0] and room[end] != data[-1])
        room[at:end] = data
        return self.heap.address(at), self.heap.address(end)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A pool in use: blocks, released ones, cached ones with and without poison, ones that wait for their owner."""
    chance = random.Random(draw(st.integers(0, 2**32 - 1)))
    heap = Heap(size=8192, granule_log2=draw(st.sampled_from((3, 4))), spare=4096)
    live: list[int] = []
    for number in range(draw(st.integers(4, 60))):
        turn = chance.random()
        if turn < 0.7 or len(live) < 3:
            try:
                live.append(heap.allocate(chance.choice(SIZES), pc=0x1000 + number))
            except AssertionError:
                break
            continue
        block = live.pop(chance.randrange(len(live)))
        if turn < 0.8:
            heap.release(block, pc=0x2000 + number)
        elif turn < 0.95:
            heap.cache(block, pc=0x2000 + number, poison=turn < 0.87)
        elif len(heap.pool.payload(block)) > 16:
            # In the smallest node links replace the slack: with all of their words gone, what was there is not known.
            heap.give_to_owner(block, pc=0x3000 + number)
        else:
            live.append(block)
    return Scene(heap, list(heap.pool.nodes()), set(live))


def found(scene: Scene) -> Finding:
    (finding,) = scene.heap.findings()
    return finding


def extent(finding: Finding) -> tuple[int, int]:
    assert finding.damage is not None
    return finding.damage.address, finding.damage.address + finding.damage.length


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_a_sound_pool_gives_no_finding(scene: Scene) -> None:
    assert scene.heap.findings() == ()
    assert scene.heap.examined() == ()


@settings(max_examples=250, deadline=None)
@given(scenes(), st.data(), st.integers(1, 600), st.sampled_from(FILL))
def test_a_fill_past_a_block_is_its_overflow(scene: Scene, data: st.DataObject, length: int, fill: int) -> None:
    block = data.draw(st.sampled_from(sorted(scene.live)))
    first, end = scene.damage(scene.heap.end(block), bytes([fill]) * length)
    finding = found(scene)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.culprit is not None and finding.culprit.address == scene.heap.payload(block)
    assert extent(finding) == (first, end)


@settings(max_examples=150, deadline=None)
@given(scenes(), st.data(), st.integers(1, 31), st.integers(0, 2**32 - 1))
def test_any_bytes_right_before_a_block_are_its_underflow(
    scene: Scene, data: st.DataObject, length: int, seed: int
) -> None:
    block = data.draw(st.sampled_from(sorted(scene.live)))
    first, end = scene.damage(scene.heap.start(block) - length, random.Random(seed).randbytes(length))
    finding = found(scene)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == scene.heap.payload(block)
    assert extent(finding) == (first, end)


@settings(max_examples=150, deadline=None)
@given(scenes(), st.data(), st.integers(0, 2**32 - 1))
def test_any_bytes_inside_of_one_copy_are_a_wild_write(scene: Scene, data: st.DataObject, seed: int) -> None:
    node = data.draw(st.sampled_from(scene.nodes))
    start, stop = data.draw(st.sampled_from(((1, 16), (16, 31))))
    begin = data.draw(st.integers(start, stop - 1))
    length = data.draw(st.integers(1, stop - begin))
    at = scene.heap.start(node.offset) - 32 + begin
    first, end = scene.damage(at, random.Random(seed).randbytes(length))
    finding = found(scene)
    assert finding.kind == "header-overwrite"
    assert finding.culprit is None and finding.header is not None
    assert extent(finding) == (first, end)


@settings(max_examples=150, deadline=None)
@given(scenes(), st.data(), st.integers(1, 12), st.sampled_from(FILL))
def test_a_write_over_links_is_a_write_after_free(scene: Scene, data: st.DataObject, length: int, fill: int) -> None:
    released = [node for node in scene.nodes if node.state in (State.FREE, State.CACHED)]
    assume(released)
    node = data.draw(st.sampled_from(released))
    at = data.draw(st.integers(0, 12 - length))
    first, end = scene.damage(scene.heap.start(node.offset) + at, bytes([fill]) * length)
    finding = found(scene)
    assert finding.kind == "use-after-free-write"
    assert finding.culprit is not None and finding.culprit.address == scene.heap.payload(node.offset)
    assert extent(finding) == (first, end)
