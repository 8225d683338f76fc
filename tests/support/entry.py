"""A model of who is inside of an arena: the owner's way in and a visitor's (native/host/arena/arena.h, arena.c).

The threads are those functions, step by step, without their time limits: what would only go on because a wait ends by
itself is a deadlock here. `broken` names the step that is left out, or done too early. `waits`, by which visitors let
an owner have its turn, and an owner's way past a fork that takes too long, are left out.
"""

from support.interleave import (
    Thread,
    Value,
    claim,
    compare_and_exchange,
    exchange,
    fence,
    fence_of,
    ghost,
    load,
    store,
    until,
    wait,
    wake,
)

OWNER = 0
"""The number of the owner's thread."""

START: dict[str, Value] = {"busy": 0, "wanted": 0, "visitors": 0, "owner": 1, "uneven": True, "inside": 0}


def lock(broken: str = "") -> Thread:
    """hw_lock_take."""
    if (yield compare_and_exchange("visitors", 0, 1)) == 0:
        return
    mark = 1 if broken == "lock is not marked as awaited" else 2
    while (yield exchange("visitors", mark)) != 0:
        yield wait("visitors", mark)


def unlock(broken: str = "") -> Thread:
    """hw_lock_give."""
    if (yield exchange("visitors", 0)) == 2 and broken != "nobody is woken for the lock":
        yield wake("visitors", one=True)


def now_inside() -> Thread:
    """Note that the thread is alone."""
    others = yield ghost("inside", lambda there: there + 1)
    yield claim(others == 1, "two are inside")


def soon_outside() -> Thread:
    """Note that it is done."""
    yield ghost("inside", lambda there: there - 1)


def enter(broken: str = "") -> Thread:
    """hw_try_enter, and hw_enter_slowly when that fails. One leaves by storing 0 into `busy`."""
    uneven = yield load("uneven")
    if broken == "owner looks before it stores":
        wanted = yield load("wanted")
        yield store("busy", 1)
    else:
        yield store("busy", 1)
        if not uneven and broken != "owner has no fence":
            yield fence()
        wanted = yield load("wanted")
    if wanted == 0:
        return
    while True:
        yield store("busy", 0)
        if broken != "owner does not say that it sleeps":
            yield compare_and_exchange("wanted", 1, 2)
        wanted = yield load("wanted")
        if wanted == 2 or (broken == "owner does not say that it sleeps" and wanted):
            yield wait("wanted", wanted)
        yield store("busy", 1)
        yield fence()
        if (yield load("wanted")) == 0:
            return


def seize(broken: str = "", may_give_up: bool = False) -> Thread:
    """hw_seize; gives whether it came in."""
    if broken != "visitors need no lock":
        yield from lock(broken)
    if (yield load("owner")) == 0:
        return True
    early = yield load("uneven")
    yield store("wanted", 1)
    yield fence()
    uneven = early if broken == "visitor looks for fences first" else (yield load("uneven"))
    if uneven and broken != "no membarrier":
        yield fence_of(OWNER)
    return (yield until("busy", 0, may_give_up))


def give_back(broken: str = "") -> Thread:
    """hw_yield."""
    if broken == "visitor does not look for sleepers":
        yield store("wanted", 0)
    elif (yield exchange("wanted", 0)) == 2 and broken != "nobody is woken":
        yield wake("wanted")
    if broken != "visitors need no lock":
        yield from unlock(broken)
