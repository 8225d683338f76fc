"""In a model of all interleavings, blocks of runs that others release arrive once, and a second release is told.

The threads are native/host/heap/handed.c and what of small.c and heap_fast.h goes with it, step by step. All nodes of a
run are one group here. `broken` names the step that is left out, or done too early or too late.
"""

from collections.abc import Callable
from functools import partial
from operator import add

import pytest
from support.interleave import (
    Thread,
    Value,
    change,
    claim,
    compare_and_exchange,
    exchange,
    explore,
    ghost,
    load,
    store,
    until,
)

NODES = {"r": ("a", "b"), "s": ("c",)}
"""The runs, and the nodes of each."""
RUN_OF = {node: run for run, nodes in NODES.items() for node in nodes}


def memory() -> dict[str, Value]:
    """All nodes are used, and nobody has released any."""
    of_nodes: dict[str, Value] = {}
    for node in RUN_OF:
        of_nodes |= {f"header_{node}": "used", f"entry_{node}": 0, f"passed_{node}": 0}
    of_runs: dict[str, Value] = {}
    for run in NODES:
        of_runs |= {f"waiting_{run}": False, f"queued_{run}": "idle", f"next_{run}": None}
    counts: dict[str, Value] = {"ended": 0, "again": 0, "arrived": (), "told": 0, "inside": 0}
    return of_nodes | of_runs | {"list": None, "taken": None, "taking": None, "owner": 1, "visitors": 0} | counts


def tell() -> Thread:
    yield ghost("told", lambda there: there + 1)


def put_on_list(run: str, broken: str = "") -> Thread:
    seen = yield compare_and_exchange(f"queued_{run}", "idle", "queued")
    if seen != "idle" and broken != "listed twice":
        return
    head = yield load("list")
    while True:
        yield store(f"next_{run}", head)
        if broken == "listed without looking":
            yield store("list", run)
            return
        seen = yield compare_and_exchange("list", head, run)
        if seen == head:
            return
        head = seen


def hand_over(node: str, broken: str = "") -> Thread:
    """True: the node waits. False: it is to be judged by who is inside."""
    run = RUN_OF[node]
    waits = listed = None
    if broken == "looks for others before it is noted":
        waits = yield load(f"waiting_{run}")
        listed = yield load(f"queued_{run}")
    if broken == "not claimed":
        yield store(f"entry_{node}", "note")
    elif (yield compare_and_exchange(f"entry_{node}", 0, "note")) != 0:
        return False
    if broken == "looked at once more" and (yield load(f"header_{node}")) != "used":
        taken_back = yield compare_and_exchange(f"entry_{node}", "note", 0)
        if taken_back == "note":
            return False
    if broken == "listed before it waits":
        yield from put_on_list(run)
        yield change(f"waiting_{run}", lambda _: True)
        return True
    if broken != "looks for others before it is noted":
        waits = yield load(f"waiting_{run}")
        listed = yield load(f"queued_{run}")
    if waits and listed == "queued":
        return True
    yield change(f"waiting_{run}", lambda _: True)
    yield from put_on_list(run, broken)
    return True


def hands_over(*nodes: str, broken: str = "") -> Thread:
    """A thread that releases what is another's; a release that cannot be noted is a second one."""
    for number, node in enumerate(nodes):
        if number:
            yield until("again", number)
        if not (yield from hand_over(node, broken)):
            yield from tell()
        yield store(f"passed_{nodes[0]}", number + 1)
    yield change("ended", lambda there: there + 1)


def take_in(node: str, broken: str = "") -> Thread:
    if broken == "cleared before it is free":
        yield store(f"entry_{node}", 0)
    header = yield load(f"header_{node}")
    if header == "used":
        yield store(f"header_{node}", "free")
        yield ghost("arrived", partial(add, (node,)))
    elif broken != "free nodes pass":
        yield from tell()
    if broken != "cleared before it is free":
        yield store(f"entry_{node}", 0)


def take_in_all(run: str, broken: str = "") -> Thread:
    waits = yield exchange(f"waiting_{run}", False)
    for node in NODES[run] if waits else ():
        if (yield load(f"entry_{node}")) != 0:
            yield from take_in(node, broken)
    yield store("taking", None)


def detach(broken: str = "") -> Thread:
    """The whole list becomes what is to be taken in. Said first, so that it can be found out whether it was."""
    if broken == "list is emptied first":
        came = yield exchange("list", None)
        yield store("taken", came)
        return
    head = yield load("list")
    yield store("taking", "list")
    while True:
        yield store("taken", head)
        seen = yield compare_and_exchange("list", head, None)
        if seen == head:
            break
        head = seen
    yield store("taking", None)


def drain(broken: str = "") -> Thread:
    if (yield load("taken")) is None:
        yield from detach(broken)
    rounds = 0
    while (run := (yield load("taken"))) is not None:
        rounds += 1
        yield claim(rounds <= 3, "the list has no end")
        if broken != "not said what is taken in":
            yield store("taking", run)
        yield exchange(f"queued_{run}", "taken")
        if broken == "idle before the next is known":
            yield exchange(f"queued_{run}", "idle")
        after = yield load(f"next_{run}")
        yield store("taken", after)
        if broken not in ("idle before the next is known", "idle after all is looked at"):
            yield exchange(f"queued_{run}", "idle")
        yield from take_in_all(run, broken)
        if broken == "idle after all is looked at":
            yield exchange(f"queued_{run}", "idle")


def left(broken: str = "") -> Thread:
    """hw_small_handed_left."""
    run = yield load("taking")
    taken = yield load("taken")
    if run == "list":
        at = yield load("list")
        while at is not None and at != taken:
            at = yield load(f"next_{at}")
        if at is not None or broken == "always put back":
            yield store("taken", None)
        yield store("taking", None)
        return
    if run is None:
        return
    if run != taken and ((yield load(f"queued_{run}")) == "taken" or broken == "always said to be idle"):
        yield exchange(f"queued_{run}", "idle")
    waits = False
    for node in NODES[run]:
        if (yield load(f"entry_{node}")) == 0:
            continue
        if (yield load(f"header_{node}")) == "used":
            waits = True
        else:
            yield store(f"entry_{node}", 0)
    if waits:
        yield change(f"waiting_{run}", lambda _: True)
        yield from put_on_list(run)
    yield store("taking", None)


def stopped(thread: Thread, steps: int) -> Thread:
    """So many steps of it; a note belongs to the step before."""
    op = next(thread, None)
    while op is not None and (steps or op.kind == "ghost"):
        steps -= op.kind != "ghost"
        result = yield op
        try:
            op = thread.send(result)
        except StopIteration:
            return


def owner(rounds: int, others: int, broken: str = "") -> Thread:
    """Takes in what has come, now and then, and at last what has come since."""
    for _ in range(rounds):
        yield from drain(broken)
    yield until("ended", others)
    yield from drain(broken)


def owner_that_is_stopped(steps: int, others: int, broken: str = "") -> Thread:
    yield from stopped(drain(broken), steps)
    yield from left(broken)
    yield from drain(broken)
    yield until("ended", others)
    yield from drain(broken)


def owner_that_gives_back() -> Thread:
    """As soon as it has "a", it allocates it again for the thread that released it."""
    for word, value in ((None, None), ("passed_a", 1), ("list", "r")):
        arrived_now = yield ghost("arrived", lambda there: there)
        if "a" in arrived_now:
            break
        if word:
            yield until(word, value)
        yield from drain()
    yield store("header_a", "used")
    yield store("again", 1)
    yield until("ended", 2)
    yield from drain()


def release(node: str, broken: str = "") -> Thread:
    """The owner's own release: the usual way where the node does not wait, else hw_small_release."""
    run = RUN_OF[node]
    header = yield load(f"header_{node}")
    usual = broken == "usual way does not look" or not (yield load(f"waiting_{run}"))
    if not usual:
        usual = broken == "usual way does not look at the note" or (yield load(f"entry_{node}")) == 0
    if not usual:
        yield from drain(broken)
        if (yield load(f"waiting_{run}")):
            yield store("taking", run)
            yield from take_in_all(run, broken)
        header = yield load(f"header_{node}")
    if header != "used" or (not usual and (yield load(f"entry_{node}")) != 0):
        yield from tell()
    else:
        yield store(f"header_{node}", "free")
        yield ghost("arrived", partial(add, (node,)))


def owner_that_releases(node: str, after: int, broken: str = "") -> Thread:
    """`after`: so many others have released theirs before."""
    if after:
        yield until("ended", after)
    yield from release(node, broken)
    yield until("ended", 1)
    yield from drain(broken)


def visits(broken: str = "") -> Thread:
    """take_in_for_nobody; where there is an owner after all, that one comes by itself."""
    if (yield load("owner")):
        return
    if broken != "no lock":
        yield until("visitors", 0)
        if (yield compare_and_exchange("visitors", 0, 1)):
            return
    if not (yield load("owner")):
        yield from alone()
    if broken != "no lock":
        yield exchange("visitors", 0)


def alone() -> Thread:
    inside = yield ghost("inside", lambda there: there + 1)
    yield claim(inside == 1, "two are inside")
    yield from drain()
    yield ghost("inside", lambda there: there - 1)


def hands_over_to_nobody(node: str, broken: str = "") -> Thread:
    yield from hand_over(node)
    yield from visits(broken)
    yield change("ended", lambda there: there + 1)


def adopts(others: int, broken: str = "") -> Thread:
    """hw_arena_own, and a first allocation."""
    yield exchange("owner", 1)
    if broken != "new owner does not wait":
        yield until("visitors", 0)
    yield from alone()
    yield until("ended", others)
    yield from alone()


def arrived(*expected: str, told: int = 0) -> Callable[[dict[str, Value]], str]:
    def at_end(end: dict[str, Value]) -> str:
        if sorted(end["arrived"]) != sorted(expected):
            return "a node is lost, or came twice"
        if any(end[f"entry_{node}"] for node in RUN_OF):
            return "a node waits for ever"
        return "" if end["told"] == told else f"told {end['told']} times"

    return at_end


def wrong_when_two_hand_over(one: str, other: str, broken: str = "") -> str:
    threads = [
        lambda: owner(1, 2, broken),
        lambda: hands_over(one, broken=broken),
        lambda: hands_over(other, broken=broken),
    ]
    return explore(threads, memory(), arrived(one, other)).wrong


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a", "c")])
def test_what_two_hand_over_arrives_once(one: str, other: str) -> None:
    assert wrong_when_two_hand_over(one, other) == ""


@pytest.mark.parametrize(
    ("broken", "one", "other"),
    [
        ("looked at once more", "a", "b"),
        ("looks for others before it is noted", "a", "b"),
        ("listed twice", "a", "b"),
        ("listed without looking", "a", "c"),
        ("listed before it waits", "a", "b"),
        ("idle after all is looked at", "a", "b"),
    ],
)
def test_no_step_of_handing_over_can_be_changed(broken: str, one: str, other: str) -> None:
    assert wrong_when_two_hand_over(one, other, broken) != ""


def test_node_that_comes_back_arrives_twice() -> None:
    threads = [owner_that_gives_back, lambda: hands_over("a", "a"), lambda: hands_over("b")]

    assert explore(threads, memory(), arrived("a", "a", "b")).wrong == ""


def wrong_when_released_twice(broken: str = "") -> str:
    threads = [
        lambda: owner(1, 2, broken),
        lambda: hands_over("a", broken=broken),
        lambda: hands_over("a", broken=broken),
    ]
    return explore(threads, memory(), arrived("a", told=1)).wrong


def test_of_two_releases_at_once_one_is_told() -> None:
    assert wrong_when_released_twice() == ""


@pytest.mark.parametrize("broken", ["not claimed", "free nodes pass"])
def test_no_step_of_finding_the_second_release_can_be_left_out(broken: str) -> None:
    assert wrong_when_released_twice(broken) != ""


def wrong_when_the_owner_releases_too(after: int, broken: str = "") -> str:
    threads = [lambda: owner_that_releases("a", after, broken), lambda: hands_over("a", broken=broken)]
    return explore(threads, memory(), arrived("a", told=1)).wrong


@pytest.mark.parametrize("after", [0, 1])
def test_release_by_the_owner_of_what_waits_is_told(after: int) -> None:
    assert wrong_when_the_owner_releases_too(after) == ""


def owner_that_allocates_at_once(broken: str) -> Thread:
    yield until("ended", 1)
    yield from release("a", broken)
    if "a" in (yield ghost("arrived", lambda there: there)):
        yield store("header_a", "used")
    yield from drain()
    header = yield load("header_a")
    told = yield ghost("told", lambda there: there)
    yield claim(header == "used" or told == 1, "reused in silence")


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        ("", ""),
        ("usual way does not look", "reused in silence"),
        ("usual way does not look at the note", "reused in silence"),
    ],
)
def test_usual_way_has_to_look_whether_anything_waits(broken: str, wrong: str) -> None:
    """Else the node is free again, and may be another block before the first release is taken in."""
    threads = [lambda: owner_that_allocates_at_once(broken), lambda: hands_over("a")]

    assert explore(threads, memory()).wrong == wrong


STEPS = range(28)
"""More than it takes to take in what waits."""


def wrong_when_stopped(broken: str = "") -> str:
    """ "a" and "c" wait, "b" is handed over meanwhile."""
    start = memory() | {"entry_a": "note", "entry_c": "note", "waiting_r": True, "waiting_s": True}
    start |= {"queued_r": "queued", "queued_s": "queued", "list": "r", "next_r": "s"}

    def outcome(after: int) -> str:
        threads = [lambda: owner_that_is_stopped(after, 1, broken), lambda: hands_over("b", broken=broken)]
        return explore(threads, start, arrived("a", "b", "c")).wrong

    return next(filter(None, map(outcome, STEPS)), "")


def test_taking_in_may_be_left_in_the_middle_anywhere() -> None:
    assert wrong_when_stopped() == ""


@pytest.mark.parametrize(
    "broken",
    [
        "list is emptied first",
        "always put back",
        "not said what is taken in",
        "always said to be idle",
        "cleared before it is free",
        "idle before the next is known",
    ],
)
def test_no_step_that_mends_what_was_left_can_be_changed(broken: str) -> None:
    assert wrong_when_stopped(broken) != ""


def wrong_without_an_owner(broken: str = "") -> str:
    threads = [
        lambda: hands_over_to_nobody("a", broken),
        lambda: hands_over_to_nobody("b", broken),
        lambda: adopts(2, broken),
    ]
    return explore(threads, memory() | {"owner": 0}, arrived("a", "b")).wrong


def test_what_nobody_owns_arrives_once() -> None:
    assert wrong_without_an_owner() == ""


@pytest.mark.parametrize("broken", ["no lock", "new owner does not wait"])
def test_no_step_of_finding_an_owner_can_be_left_out(broken: str) -> None:
    assert wrong_without_an_owner(broken) == "two are inside"
