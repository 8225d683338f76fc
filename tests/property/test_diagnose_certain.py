"""Laws of certainty: a culprit that is told as sure is the true one; an array that was written past is never left out.

What was written is known. What no bytes can tell apart is not asked for: a write before a block that begins exactly
where the block before it ends looks like a write past that one.
"""

import random
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import assume, given, settings
from support.heaps import Heap

from heapwitness.findings.model import Finding
from heapwitness.layout import witness

SIZES = (8, 16, 20, 24, 40, 48, 64, 100, 300)
KINDS = ("noise", "small numbers", "doubles", "addresses", "text", "fill")


@dataclass
class Row:
    """Blocks side by side that hold data of some kind each."""

    heap: Heap
    blocks: list[int]
    chance: random.Random

    def content(self, kind: str, length: int) -> bytes:
        return contents(self.chance, kind, length)


def contents(chance: random.Random, kind: str, length: int) -> bytes:
    """Bytes as programs hold them."""
    words = range(length // 4 + 2)
    if kind == "small numbers":
        data = b"".join(chance.randrange(1, 5000).to_bytes(4, "little") for _ in words)
    elif kind == "doubles":
        data = b"".join(bytes(4) + chance.randbytes(2) + b"\xf0\x3f" for _ in words)
    elif kind == "addresses":
        data = b"".join((0x7F12_3456_0000 + 16 * chance.randrange(9999)).to_bytes(8, "little") for _ in words)
    elif kind == "text":
        data = bytes(chance.choice(b"abcdefghij klmnop,=") for _ in range(length))
    elif kind == "fill":
        data = bytes([chance.randrange(1, 256)]) * length
    else:
        data = chance.randbytes(length)
    return data[:length]


@st.composite
def rows(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Row:
    chance = random.Random(draw(st.integers(0, 2**32 - 1)))
    heap = Heap(size=8192, granule_log2=draw(st.sampled_from((3, 4))), spare=4096)
    blocks: list[int] = []
    for _ in range(draw(st.integers(8, 25))):
        size = chance.choice(SIZES)
        block = heap.allocate(size)
        heap.room[heap.start(block) : heap.end(block)] = contents(chance, chance.choice(kinds), size)
        blocks.append(block)
    return Row(heap, blocks, chance)


def write(row: Row, at: int, data: bytes) -> None:
    """Write bytes of which the first and the last change something."""
    room = row.heap.room
    assume(at + len(data) < len(room) and room[at] != data[0] and room[at + len(data) - 1] != data[-1])
    room[at : at + len(data)] = data


def sure(findings: tuple[Finding, ...]) -> set[int]:
    """The addresses of the blocks that are told as sure."""
    return {one.culprit.address for one in findings if one.certain and one.culprit is not None}


def named(findings: tuple[Finding, ...]) -> set[int]:
    """The addresses of all blocks that a finding calls culprit or suspect."""
    return {block.address for one in findings for block in (one.culprit, one.suspect) if block is not None}


def possible(findings: tuple[Finding, ...]) -> set[int]:
    """The addresses of all blocks that may have been written out of."""
    readings = [reading.culprit for one in findings for reading in one.readings]
    return named(findings) | {block.address for block in readings if block is not None}


@settings(max_examples=60, deadline=None)
@given(rows(), st.data(), st.integers(1, 500), st.sampled_from(KINDS))
def test_of_a_write_past_a_block_only_that_block_is_sure(row: Row, data: st.DataObject, length: int, kind: str) -> None:
    block = data.draw(st.sampled_from(row.blocks[:-3]))
    write(row, row.heap.end(block), row.content(kind, length))

    findings = row.heap.findings()

    assert sure(findings) <= {row.heap.payload(block)}
    assert findings[0].kind == "heap-buffer-overflow" or not findings[0].certain
    assert findings[0].culprit is not None and findings[0].culprit.address == row.heap.payload(block)


@settings(max_examples=60, deadline=None)
@given(rows(), st.data(), st.integers(1, 200), st.sampled_from(KINDS))
def test_of_a_write_before_a_block_only_that_block_is_sure(
    row: Row, data: st.DataObject, length: int, kind: str
) -> None:
    position = data.draw(st.integers(4, len(row.blocks) - 1))
    block, before = row.blocks[position], row.blocks[position - 1]
    start = row.heap.start(block)
    # Short of the end of the block before, or on to its own bytes: from exactly there it is that one's overflow.
    assume(length < start - row.heap.end(before))
    write(row, start - length, row.content(kind, length))

    findings = row.heap.findings()

    assert sure(findings) <= {row.heap.payload(block)}
    assert row.heap.payload(block) in possible(findings)


@settings(max_examples=60, deadline=None)
@given(rows(("noise", "text")), st.data(), st.integers(40, 300), st.sampled_from(("noise", "doubles", "addresses")))
def test_a_long_write_before_a_block_makes_no_other_block_sure(
    row: Row, data: st.DataObject, length: int, kind: str
) -> None:
    position = data.draw(st.integers(6, len(row.blocks) - 1))
    block = row.blocks[position]
    start = row.heap.start(block)
    assume(start - length > row.heap.start(row.blocks[0]))
    edges = [(row.heap.end(one), row.heap.start(one)) for one in row.blocks]
    assume(all(start - length not in edge for edge in edges))
    # It begins inside of a block's payload: from inside of control data it is seen where it begins.
    assume(any(begin < start - length < end for end, begin in edges))
    write(row, start - length, row.content(kind, length))

    findings = row.heap.findings()

    assert sure(findings) <= {row.heap.payload(block)}


@settings(max_examples=60, deadline=None)
@given(rows(), st.data(), st.sampled_from((4, 8, 16)), st.integers(2, 4), st.sampled_from(("doubles", "small numbers")))
def test_an_array_is_culprit_or_suspect_of_stores_by_an_index_that_is_too_large(
    row: Row, data: st.DataObject, width: int, stride: int, kind: str
) -> None:
    block = data.draw(st.sampled_from(row.blocks[:-3]))
    begin, end = row.heap.start(block), row.heap.end(block)
    first = begin + -(-(end - begin) // width) * width
    beyond = end + witness.OVERHEAD
    places = [first + number * width * stride for number in range(8)]
    places = [one for one in places if one + width <= beyond]
    assume(places)
    start = data.draw(st.integers(0, len(places) - 1))
    for at in places[start:]:
        write(row, at, row.content(kind, width))

    findings = row.heap.findings()

    assert row.heap.payload(block) in named(findings)
    assert sure(findings) <= {row.heap.payload(block)}


@settings(max_examples=60, deadline=None)
@given(rows(), st.data(), st.integers(1, 4), st.sampled_from(("doubles", "addresses")))
def test_an_array_is_possible_after_a_store_by_a_negative_index(
    row: Row, data: st.DataObject, index: int, kind: str
) -> None:
    position = data.draw(st.integers(1, len(row.blocks) - 1))
    block, before = row.blocks[position], row.blocks[position - 1]
    at = row.heap.start(block) - 8 * index
    assume(at > row.heap.end(before))
    write(row, at, row.content(kind, 8))

    findings = row.heap.findings()

    assert row.heap.payload(block) in possible(findings)
    assert sure(findings) <= {row.heap.payload(block)}


@settings(max_examples=60, deadline=None)
@given(rows(), st.data(), st.integers(32, 47), st.sampled_from(("noise", "doubles")), st.booleans())
def test_two_blocks_that_were_both_written_past_are_both_named(
    row: Row, data: st.DataObject, length: int, kind: str, same: bool
) -> None:
    position = data.draw(st.integers(0, len(row.blocks) - 4))
    pair = row.blocks[position : position + 2]
    assume(row.heap.end(pair[1]) - row.heap.start(pair[1]) > length)
    addresses, ends = ([place(block) for block in pair] for place in (row.heap.payload, row.heap.end))
    for end, what in zip(ends, (kind, kind if same else "small numbers"), strict=True):
        write(row, end, row.content(what, length))

    findings = row.heap.findings()

    assert [one.culprit.address for one in findings if one.culprit is not None] == addresses
    assert sure(findings) <= set(addresses)
