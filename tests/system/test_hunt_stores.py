"""`heapwitness hunt` names the line of the very store, in two runs at most, and the program goes on."""

import pytest
from hunt_support import heapwitness_hunt, line_of_store
from programs.harness import build, line_of
from run_support import FOUND, needs_engine

pytestmark = needs_engine

SOURCE = "stores.c"
OVER, UNDER, AFTER = "heap-buffer-overflow", "heap-buffer-underflow", "use-after-free-write"
CASES = {
    "loop": OVER,
    "far_loop": OVER,
    "by_memcpy": OVER,
    "by_strcpy": OVER,
    "by_sprintf": OVER,
    "off_by_one": OVER,
    "negative": UNDER,
    "struct_past_end": OVER,
    "flexible": OVER,
    "after_free_at_start": AFTER,
    "stale": AFTER,
    "thread": OVER,
    "child": OVER,
    "inlined": OVER,
    "slack": OVER,
    "jump": OVER,
    "by_read": OVER,
    "header": UNDER,
}


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("name", CASES)
def test_line_of_the_store_is_told_after_two_runs(name: str, optimise: str) -> None:
    hunted = heapwitness_hunt(build(SOURCE, optimise), name, options=("--tries", "2"))

    assert hunted.status == FOUND
    assert hunted.tries <= 2
    (finding,) = hunted.stores
    assert finding["kind"] == CASES[name]
    assert line_of_store(finding, SOURCE) == line_of(SOURCE, name)
    assert (finding["access"], finding["certain"]) == ("write", True)
    assert hunted.stdout.count("done") == hunted.tries


def test_each_of_two_stores_is_told_in_the_same_run() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "after_free_inside", options=("--tries", "2"))

    lines = [line_of_store(one, SOURCE) for one in hunted.stores]
    first = line_of(SOURCE, "after_free_inside")
    assert lines == [first, first + 1]


def test_access_is_told_with_its_size_value_registers_and_instruction() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "struct_past_end", options=("--tries", "2"))

    (finding,) = hunted.stores
    store = finding["store"]
    assert store["address"] == finding["culprit"]["address"] + finding["culprit"]["size"]
    assert (store["size"], store["value"]) == (4, "03000000")
    assert store["instruction"].startswith("mov dword ptr [")
    assert store["address"] in store["registers"].values()
    assert "4 bytes  right behind the end  03 00 00 00" in hunted.stderr


@pytest.mark.parametrize(("name", "last", "times"), [("loop", 3, 4), ("far_loop", 8999, 513)])
def test_loop_is_told_with_its_last_store(name: str, last: int, times: int) -> None:
    hunted = heapwitness_hunt(build(SOURCE), name, options=("--tries", "2"))

    (finding,) = hunted.stores
    end = finding["culprit"]["address"] + finding["culprit"]["size"]
    assert finding["store"]["address"] == end
    assert finding["store"]["last"] == end + last
    assert finding["store"]["times"] >= times


def test_kernels_store_through_read_does_what_it_would_have_done() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "by_read", options=("--tries", "2"))

    assert hunted.stdout.split("\n")[::2][:2] == ["27 bytes", "27 bytes"]
    assert ", through read" in hunted.stderr


def test_program_that_damages_nothing_is_run_once() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "none of them")

    assert (hunted.status, hunted.tries, hunted.report["findings"]) == (0, 1, [])
