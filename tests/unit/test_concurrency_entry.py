"""In a model of all interleavings, an arena's owner and its visitors exclude each other and all come to their end."""

import pytest
from support.entry import START, enter, give_back, lock, now_inside, seize, soon_outside, unlock
from support.interleave import Thread, Value, explore, fence, ghost, load, store

ARENA = START | {"arena": 0, "uses": 0}


def use() -> Thread:
    """What is done inside: everything there is read and written without further ado."""
    yield from now_inside()
    seen = yield load("arena")
    yield store("arena", seen + 1)
    yield ghost("uses", lambda there: there + 1)
    yield from soon_outside()


def owner(turns: int, broken: str = "") -> Thread:
    for _ in range(turns):
        yield from enter(broken)
        if broken == "owner leaves too early":
            yield store("busy", 0)
        yield from use()
        yield store("busy", 0)


def visitor(broken: str = "", may_give_up: bool = False) -> Thread:
    if (yield from seize(broken, may_give_up)):
        yield from use()
    yield from give_back(broken)


def adopts(broken: str = "") -> Thread:
    """hw_arena_own: a thread is given an arena that had no owner, and goes in."""
    yield store("owner", 1)
    yield fence()
    if broken != "owner does not wait for a visitor":
        yield from lock()
        yield from unlock()
    yield from owner(1)


def switches() -> Thread:
    """hw_fence_init, while threads are at work."""
    yield store("uneven", True)


def nothing_is_lost(memory: dict[str, Value]) -> str:
    return "" if memory["arena"] == memory["uses"] else "what one did is lost"


def wrong_with_two_visitors(broken: str = "", **start: bool) -> str:
    threads = [lambda: owner(2, broken), lambda: visitor(broken), lambda: visitor(broken, may_give_up=True)]
    return explore(threads, ARENA | start, nothing_is_lost).wrong


@pytest.mark.parametrize("uneven", [True, False], ids=["membarrier", "full fences"])
def test_owner_and_visitors_exclude_each_other_and_all_come_to_their_end(uneven: bool) -> None:
    assert wrong_with_two_visitors(uneven=uneven) == ""


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        ("no membarrier", "two are inside"),
        ("owner looks before it stores", "two are inside"),
        ("owner leaves too early", "two are inside"),
        ("visitors need no lock", "two are inside"),
        ("owner does not say that it sleeps", "deadlock"),
        ("nobody is woken", "deadlock"),
        ("visitor does not look for sleepers", "deadlock"),
        ("lock is not marked as awaited", "deadlock"),
        ("nobody is woken for the lock", "deadlock"),
    ],
)
def test_no_step_of_it_can_be_left_out(broken: str, wrong: str) -> None:
    assert wrong_with_two_visitors(broken) == wrong


def test_without_membarrier_the_owner_needs_its_own_fence() -> None:
    assert wrong_with_two_visitors("owner has no fence", uneven=False) == "two are inside"


def test_owner_of_many_turns_meets_visitors_in_each() -> None:
    assert explore([lambda: owner(4), visitor, visitor], ARENA, nothing_is_lost).wrong == ""


@pytest.mark.parametrize(
    ("broken", "wrong"), [("", ""), ("owner does not wait for a visitor", "two are inside")], ids=["right", "broken"]
)
def test_arena_that_is_given_an_owner_while_a_visitor_is_in_it(broken: str, wrong: str) -> None:
    threads = [lambda: adopts(broken), visitor, visitor]

    assert explore(threads, ARENA | {"owner": 0}, nothing_is_lost).wrong == wrong


@pytest.mark.parametrize(
    ("broken", "wrong"), [("", ""), ("visitor looks for fences first", "two are inside")], ids=["right", "broken"]
)
def test_fences_become_uneven_while_threads_are_at_work(broken: str, wrong: str) -> None:
    threads = [lambda: owner(1), lambda: visitor(broken), switches]

    assert explore(threads, ARENA | {"uneven": False}, nothing_is_lost).wrong == wrong


def test_lock_excludes_and_wakes() -> None:
    def holder() -> Thread:
        yield from lock()
        yield from use()
        yield from unlock()

    assert explore([holder, holder, holder], ARENA, nothing_is_lost).wrong == ""
