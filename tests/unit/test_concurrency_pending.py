"""In a model of all interleavings, blocks that are handed over arrive once, and never look like damage.

The threads are push_pending and hw_drain of native/host/heap/release.c, and slack_is_whole with was_handed_over of
native/core/backup.c, step by step. The links of a block of the smallest size lie over its slack, so a walk of the owner
over its pool compares words that others write. A check is the tuple of what it was made of: forgery is another matter.
`broken` names the step that is left out, or done too early.
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

PENDING = "pending"
SLACK = "slack"
LOOKS = 4
"""How often was_handed_over looks."""

LEFT, RIGHT, PARENT, CHECK = range(4)


def word(node: str, number: int) -> str:
    return f"{node}{number}"


def announced(node: str) -> Value:
    """hw_handover_check."""
    return ("announced", node)


def check(node: str, left: Value, right: Value, parent: Value) -> Value:
    """hw_link_check."""
    return ("check", node, left, right, parent)


def memory(*nodes: str) -> dict[str, Value]:
    """Nodes that are all slack, and an empty list."""
    slack: dict[str, Value] = {word(node, number): SLACK for node in nodes for number in range(4)}
    return slack | {"head": None, "pushed_a": 0, "pushed_b": 0, "again": 0, "ended": 0, "taken": ()}


def push(node: str, broken: str = "") -> Thread:
    """push_pending."""
    head = yield load("head")
    left = "unwritten"
    while True:
        if broken == "announced too late":
            yield store(word(node, LEFT), head)
        if broken == "check before the links":
            yield store(word(node, CHECK), check(node, head, "site", PENDING))
        elif broken != "not announced":
            yield store(word(node, CHECK), announced(node))
        if left == "unwritten" or broken != "links are written once":
            left = head
            yield store(word(node, LEFT), left)
            yield store(word(node, RIGHT), "site")
            yield store(word(node, PARENT), PENDING)
        if broken != "check before the links":
            yield store(word(node, CHECK), check(node, left, "site", PENDING))
        if broken == "pushed without looking":
            yield store("head", node)
            break
        seen = yield compare_and_exchange("head", head, node)
        if seen == head:
            break
        head = seen


def hands_over(node: str, broken: str = "", times: int = 1) -> Thread:
    """A thread that releases a node of the owner's, gets it again, and releases it again."""
    for time in range(times):
        if time:
            yield until("again", time)
        yield from push(node, broken)
        yield change("pushed_" + node, lambda there: there + 1)
    yield change("ended", lambda there: there + 1)


def drain(broken: str = "") -> Thread:
    """hw_drain; a node that is taken becomes the owner's, whose slack is written anew."""
    if broken == "list is emptied without looking":
        node = yield load("head")
        yield store("head", None)
    else:
        node = yield exchange("head", None)
    while node:
        parent = yield load(word(node, PARENT))
        left = yield load(word(node, LEFT))
        right = yield load(word(node, RIGHT))
        stored = yield load(word(node, CHECK))
        holds = parent == PENDING and stored == check(node, left, right, parent)
        yield claim(holds, "a node on the list looks like damage")
        for number in (PARENT, LEFT, RIGHT, CHECK):
            yield store(word(node, number), SLACK)
        yield ghost("taken", partial(add, (node,)))
        node = left


def walk(node: str, looks: int) -> Thread:
    """slack_is_whole: words of 8 bytes, from the end; then was_handed_over."""
    last = yield load(word(node, PARENT), word(node, CHECK))
    first = yield load(word(node, LEFT), word(node, RIGHT))
    sound = set(last + first) == {SLACK}
    for _ in range(looks):
        if sound:
            break
        stored = yield load(word(node, CHECK))
        if stored == announced(node):
            sound = True
            break
        left = yield load(word(node, LEFT))
        right = yield load(word(node, RIGHT))
        parent = yield load(word(node, PARENT))
        sound = parent == PENDING and stored == check(node, left, right, parent)
    yield claim(sound, "a block that is handed over looks like damage")


def owner(rounds: int, broken: str = "") -> Thread:
    """Takes in what has come, now and then, and at last what has come since from two threads."""
    for _ in range(rounds):
        yield from drain(broken)
    yield until("ended", 2)
    yield from drain(broken)


def owner_that_gives_back() -> Thread:
    """As soon as it has "a", it allocates it again for the thread that released it."""
    given = False
    for _ in range(2):
        yield from drain()
        if not given and "a" in (yield ghost("taken", lambda there: there)):
            yield store("again", 1)
            given = True
    if not given:
        yield until("pushed_a", 1)
        yield from drain()
        yield store("again", 1)
    yield until("ended", 2)
    yield from drain()


def arrived(*expected: str) -> Callable[[dict[str, Value]], str]:
    def at_end(end: dict[str, Value]) -> str:
        return "" if sorted(end["taken"]) == sorted(expected) else "a node is lost, or came twice"

    return at_end


def wrong_when_two_push(broken: str = "") -> str:
    threads = [lambda: owner(2, broken), lambda: hands_over("a", broken), lambda: hands_over("b", broken)]
    return explore(threads, memory("a", "b"), arrived("a", "b")).wrong


def wrong_when_walked_over(looks: int, losses: int, broken: str = "") -> str:
    """`losses`: how often others push or take first, which changes the list's head."""

    def others() -> Thread:
        for number in range(losses):
            yield exchange("head", number)

    return explore([lambda: walk("a", looks), lambda: push("a", broken), others], memory("a")).wrong


def test_what_several_hand_over_arrives_once() -> None:
    assert wrong_when_two_push() == ""


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        ("pushed without looking", "a node is lost, or came twice"),
        ("list is emptied without looking", "a node is lost, or came twice"),
        ("links are written once", "a node is lost, or came twice"),
    ],
)
def test_no_step_of_the_list_can_be_left_out(broken: str, wrong: str) -> None:
    assert wrong_when_two_push(broken) == wrong


def test_node_that_comes_back_while_another_is_pushed_arrives_twice() -> None:
    threads = [owner_that_gives_back, lambda: hands_over("a", times=2), lambda: hands_over("b")]

    assert explore(threads, memory("a", "b"), arrived("a", "a", "b")).wrong == ""


def test_walk_meets_a_block_that_is_handed_over_among_others() -> None:
    threads = [lambda: walk("a", 2), lambda: push("a"), lambda: push("b")]

    assert explore(threads, memory("a", "b")).wrong == ""


@pytest.mark.parametrize("losses", range(LOOKS))
def test_walk_never_takes_a_block_that_is_handed_over_for_damage(losses: int) -> None:
    assert wrong_when_walked_over(LOOKS, losses) == ""


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_it_needs_one_look_more_than_the_pusher_can_be_disturbed(losses: int) -> None:
    assert wrong_when_walked_over(losses + 1, losses) == ""
    assert wrong_when_walked_over(losses, losses) == "a block that is handed over looks like damage"


@pytest.mark.parametrize("broken", ["not announced", "announced too late", "check before the links"])
def test_no_step_of_writing_the_links_can_be_left_out(broken: str) -> None:
    assert wrong_when_walked_over(LOOKS, 0, broken) == "a block that is handed over looks like damage"
