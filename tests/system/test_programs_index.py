"""Programs whose index is too far, and what is said where it cannot be told whose it was."""

import pytest
from programs.harness import run

SOURCE = "index.c"


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_the_first_element_past_an_array_is_surely_that_arrays(optimise: str) -> None:
    outcome = run(SOURCE, optimise, what="element", index=8)
    finding = outcome.finding
    assert (finding["kind"], finding["certain"]) == ("heap-buffer-overflow", True)
    assert finding["culprit"]["address"] == outcome.facts["array"]


@pytest.mark.parametrize("index", [2001, 2002])
def test_elements_further_on_have_the_array_as_suspect_and_the_other_reading(index: int) -> None:
    outcome = run(SOURCE, what="element", count=2000, index=index)
    finding = outcome.finding
    assert (finding["kind"], finding["certain"]) == ("header-overwrite", False)
    assert finding["suspect"]["address"] == outcome.facts["array"]
    readings = [(one["kind"], one["culprit"] and one["culprit"]["address"]) for one in finding["readings"]]
    assert readings == [
        ("heap-buffer-overflow", outcome.facts["array"]),
        ("heap-buffer-underflow", outcome.facts["last"]),
        ("header-overwrite", None),
    ]
    assert f"({index} in elements of 8 bytes)" in " ".join(outcome.stderr.split())
    assert "which may be a write past its end" in " ".join(outcome.stderr.split())


def test_the_second_element_past_a_small_array_is_that_arrays_or_lies_before_the_next() -> None:
    outcome = run(SOURCE, what="element", index=9)
    finding = outcome.finding
    assert not finding["certain"]
    culprits = {one["culprit"]["address"] for one in finding["readings"] if one["culprit"]}
    assert culprits == {outcome.facts["array"], outcome.facts["last"]}


@pytest.mark.parametrize(("count", "index"), [(8, -1), (2000, -1), (2000, -2), (2000, -3)])
def test_a_negative_index_is_said_beside_the_block_before(count: int, index: int) -> None:
    outcome = run(SOURCE, what="element", count=count, index=index)
    finding = outcome.finding
    assert not finding["certain"]
    culprits = {one["culprit"]["address"] for one in finding["readings"] if one["culprit"]}
    assert culprits == {outcome.facts["first"], outcome.facts["array"]}
    assert f"({index} in elements of 8 bytes)" in " ".join(outcome.stderr.split())


@pytest.mark.parametrize("over", [8, 11, 197])
def test_two_neighbours_that_are_both_overrun_are_two_findings(over: int) -> None:
    outcome = run(SOURCE, what="both", count=5000, over=over)
    first, second = outcome.findings
    assert [one["kind"] for one in (first, second)] == ["heap-buffer-overflow"] * 2
    assert [one["culprit"]["address"] for one in (first, second)] == [outcome.facts["names"], outcome.facts["values"]]
    assert [(one["damage"]["offset"], one["damage"]["length"]) for one in (first, second)] == [(0, 32)] * 2
    assert not first["damage"]["exact"] and first["certain"] and second["certain"]
    assert "would look the same" not in " ".join(outcome.stderr.split())


@pytest.mark.parametrize(("over", "seen"), [(8, 32), (11, 44), (197, 64)])
def test_two_small_neighbours_that_are_both_overrun_are_two_findings(over: int, seen: int) -> None:
    """With 48 bytes of slack each, of which the last that is overwritten may be as it was by chance."""
    outcome = run(SOURCE, what="both", over=over)
    first, second = outcome.findings
    assert all(seen - 4 <= one["damage"]["length"] <= seen for one in (first, second))
    blocks = {outcome.facts["names"], outcome.facts["values"]}
    culprits = [
        {one["culprit"]["address"], *(r["culprit"]["address"] for r in one["readings"] if r["culprit"])}
        for one in (first, second)
    ]
    assert all(those & blocks for those in culprits)


@pytest.mark.parametrize("what", ["element", "both"])
def test_the_clean_twin_gives_no_finding(what: str) -> None:
    run(SOURCE, what=what, clean=1).assert_clean()
