"""The explorer of interleavings finds what processors of x86 do, and no more."""

from collections.abc import Sequence
from functools import partial

import pytest
from support.interleave import (
    Op,
    Thread,
    change,
    claim,
    compare_and_exchange,
    exchange,
    explore,
    fence,
    fence_of,
    ghost,
    load,
    store,
    until,
    wait,
    wake,
)


def outcomes(*threads: Sequence[Op]) -> set[tuple[object, ...]]:
    """What the loads of straight-line threads can see, all of them in one tuple."""
    found: set[tuple[object, ...]] = set()

    def program(number: int, steps: tuple[Op, ...]) -> Thread:
        for step in steps:
            seen = yield step
            if step.kind == "load":
                yield ghost("seen", partial(frozenset.union, frozenset({(number, step.words, seen)})))

    def note(memory: dict[str, object]) -> str:
        seen = memory["seen"]
        assert isinstance(seen, frozenset)
        found.add(tuple(value for _, _, value in sorted(seen)))
        return ""

    result = explore(
        [partial(program, number, tuple(steps)) for number, steps in enumerate(threads)],
        {"x": 0, "y": 0, "seen": frozenset()},
        note,
    )
    assert result.wrong == ""
    return found


def test_stores_are_delayed_past_loads() -> None:
    found = outcomes([store("x", 1), load("y")], [store("y", 1), load("x")])

    assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("between", [[fence()], [change("y", lambda there: there)]], ids=["fence", "change"])
def test_fences_end_the_delay(between: list[Op]) -> None:
    found = outcomes([store("x", 1), *between, load("y")], [store("y", 1), fence(), load("x")])

    assert (0, 0) not in found


def test_fence_on_another_s_behalf_ends_it_too() -> None:
    found = outcomes([store("x", 1), load("y")], [store("y", 1), fence(), fence_of(0), load("x")])

    assert found == {(0, 1), (1, 0), (1, 1)}


def test_stores_of_a_thread_arrive_in_order() -> None:
    found = outcomes([store("x", 1), store("y", 1)], [load("y"), load("x")])

    # Sorted by the words' names: x, then y.
    assert found == {(0, 0), (1, 0), (1, 1)}


def test_thread_sees_its_own_stores_at_once() -> None:
    assert outcomes([store("x", 1), load("x")]) == {(1,)}


def test_changes_of_one_word_exclude_each_other() -> None:
    def add() -> Thread:
        yield change("x", lambda there: there + 1)

    assert explore([add, add, add], {"x": 0}, lambda end: "" if end["x"] == 3 else "lost").wrong == ""


def test_load_and_store_lose_an_update() -> None:
    def add() -> Thread:
        seen = yield load("x")
        yield store("x", seen + 1)

    result = explore([add, add], {"x": 0}, lambda end: "" if end["x"] == 2 else "lost")

    assert result.wrong == "lost"
    assert len(result.steps) == 6


def test_sleeper_that_nobody_wakes_is_a_deadlock() -> None:
    def sleeper() -> Thread:
        yield wait("x", 0)

    def setter() -> Thread:
        yield store("x", 1)

    assert explore([sleeper, setter], {"x": 0}).wrong == "deadlock"


@pytest.mark.parametrize("one", [False, True])
def test_sleeper_goes_on_when_it_is_woken_or_the_word_has_changed(one: bool) -> None:
    def sleeper() -> Thread:
        yield wait("x", 0)
        yield claim((yield load("x")) == 1, "woken too early")

    def setter() -> Thread:
        yield exchange("x", 1)
        yield wake("x", one)

    assert explore([sleeper, setter], {"x": 0}).wrong == ""


@pytest.mark.parametrize(("one", "wrong"), [(False, ""), (True, "deadlock")])
def test_two_sleepers_are_woken_together_or_one_is_left(one: bool, wrong: str) -> None:
    def sleeper() -> Thread:
        yield wait("x", 0)

    def waker() -> Thread:
        yield until("asleep", 0)
        yield exchange("x", 1)
        yield wake("x", one)

    assert explore([sleeper, sleeper, waker], {"x": 0, "asleep": 0}).wrong == wrong


def test_waiting_for_a_value_ends_with_it_or_when_given_up() -> None:
    def waiter() -> Thread:
        came = yield until("x", 1, may_give_up=True)
        yield ghost("ends", lambda ends: ends | {came})

    def setter() -> Thread:
        yield compare_and_exchange("x", 0, 1)

    def at_end(memory: dict[str, object]) -> str:
        seen.append(memory["ends"])
        return ""

    seen: list[object] = []
    explore([waiter, setter], {"x": 0, "ends": frozenset()}, at_end)

    assert set(seen) == {frozenset({True}), frozenset({False})}


def test_thread_may_go_in_circles() -> None:
    def spinner() -> Thread:
        while (yield load("x")) == 0:
            pass

    def setter() -> Thread:
        yield store("x", 1)

    assert explore([spinner, setter], {"x": 0}).states < 20


def test_claim_that_fails_tells_the_way_there() -> None:
    def claims() -> Thread:
        seen = yield load("x")
        yield claim(seen == 0, "x is 0")

    def setter() -> Thread:
        yield store("x", 1)

    result = explore([claims, setter], {"x": 0})

    assert result.wrong == "x is 0"
    assert result.steps[-1] == "0: load ('x',) () -> 1"
