"""Whatever is changed in the 16 bytes before or behind a block, its finding names that block: as the culprit, or as one
of those that it may have been."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support.heaps import Heap

from heapwitness.findings.model import Finding

NEAR = 16


def named(finding: Finding) -> set[int]:
    """The addresses of the blocks that a finding says did it or may have."""
    blocks = (finding.culprit, finding.suspect, *(reading.culprit for reading in finding.readings))
    return {block.address for block in blocks if block is not None}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    log2=st.sampled_from((3, 4)),
    size=st.one_of(st.integers(1, 300), st.sampled_from((16, 48, 1024, 4096))),
    before=st.booleans(),
    at=st.integers(0, NEAR - 1),
    masks=st.lists(st.integers(1, 255), min_size=1, max_size=NEAR),
)
def test_a_change_beside_a_block_is_never_told_without_that_block(
    log2: int, size: int, before: bool, at: int, masks: list[int]
) -> None:
    heap = Heap(granule_log2=log2, size=1 << 16)
    blocks = [heap.allocate(size, pc=0x1000 + number) for number in range(7)]
    first = heap.start(blocks[3]) - NEAR + at if before else heap.end(blocks[3]) + at
    old = heap.room[first : first + min(len(masks), NEAR - at)]
    heap.write(first, bytes(byte ^ mask for byte, mask in zip(old, masks, strict=False)))

    findings = heap.findings()

    assert heap.payload(blocks[3]) in set().union(*map(named, findings))
