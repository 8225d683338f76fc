"""C++ programs that allocate by one family of functions and release by another."""

import pytest
from programs.harness import allocated_at, line_of, run

SOURCE = "family.cpp"
MALLOC = ("malloc", "calloc", "aligned_alloc")
NEW = ("new", "new_nothrow", "new_aligned")
NEW_ARRAY = ("new[]", "new[]_nothrow", "new[]_aligned")
TO_FREE = ("free", "realloc")
DELETE = ("delete", "delete_sized", "delete_aligned")
DELETE_ARRAY = ("delete[]", "delete[]_sized", "delete[]_aligned")

# An over-aligned block goes with the over-aligned delete, and the other way round.
MATCHED = [
    *((by, to) for by in MALLOC for to in TO_FREE),
    *((by, to) for by in NEW for to in DELETE if by.endswith("aligned") == to.endswith("aligned")),
    *((by, to) for by in NEW_ARRAY for to in DELETE_ARRAY if by.endswith("aligned") == to.endswith("aligned")),
]
MISMATCHED = [
    *((by, to) for by in MALLOC for to in DELETE + DELETE_ARRAY),
    *((by, to) for by in NEW for to in TO_FREE + DELETE_ARRAY),
    *((by, to) for by in NEW_ARRAY for to in TO_FREE + DELETE),
]
ORIGIN = {"malloc": "malloc", "calloc": "malloc", "new": "new", "new_nothrow": "new", "new[]": "new[]"}


@pytest.mark.parametrize(("by", "to"), MISMATCHED)
def test_release_by_another_family_is_told_and_carried_out(by: str, to: str) -> None:
    outcome = run(SOURCE, by=by, to=to)
    finding = outcome.finding
    assert finding["kind"] == "mismatched-free"
    assert finding["pointer"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == 40
    assert finding["culprit"]["origin"] == ORIGIN.get(by, finding["culprit"]["origin"])
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, f"culprit: {by}")
    assert finding["detail"]


@pytest.mark.parametrize(("by", "to"), MATCHED)
def test_release_by_the_same_family_gives_no_finding(by: str, to: str) -> None:
    run(SOURCE, "-O0", by=by, to=to).assert_clean()


@pytest.mark.parametrize(
    ("by", "to"), [("new", "delete"), ("new[]", "delete[]"), ("new[]_aligned", "delete[]_aligned")]
)
@pytest.mark.parametrize("length", [1, 8, 24])
def test_overflow_of_a_block_made_by_new(by: str, to: str, length: int) -> None:
    outcome = run(SOURCE, by=by, to=to, size=40, extra=length)
    finding = outcome.finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 40
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (0, length)
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, f"culprit: {by}")
