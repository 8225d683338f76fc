"""All stacks of a finding are found and changed, wherever in it they are."""

import itertools

import msgspec

from heapwitness.findings.model import Block, Detected, Finding, Frame, Reading, Site, Store
from heapwitness.findings.stacks import Act, Frames, stacks, telling_stack, with_stacks


def whole() -> Finding:
    """A finding with a stack wherever there may be one, no two of them alike."""
    numbers = itertools.count(1)

    def stack() -> Frames:
        return (Frame(pc=next(numbers)),)

    def block() -> Block:
        done = [Site(thread=1, stack=stack()) for _ in range(2)]
        return Block(address=1, size=8, state="free", origin="malloc", allocated=done[0], freed=done[1])

    return Finding(
        kind="use-after-free-write",
        detected=Detected(when="trap", thread=1, stack=stack()),
        store=Store(address=1, size=8, stack=stack()),
        culprit=block(),
        victim=block(),
        previous=block(),
        suspect=block(),
        readings=(Reading(kind="heap-buffer-overflow", culprit=block()),),
    )


def frames(one: object) -> list[Frame]:
    """All frames in a record, whichever of its fields they are in."""
    if isinstance(one, Frame):
        return [one]
    if isinstance(one, msgspec.Struct):
        return [frame for name in one.__struct_fields__ for frame in frames(getattr(one, name))]
    return [frame for part in one for frame in frames(part)] if isinstance(one, tuple) else []


def test_each_stack_of_a_finding_is_found_once() -> None:
    finding = whole()

    found = [frame.pc for stack in stacks(finding) for frame in stack]

    assert sorted(found) == sorted(frame.pc for frame in frames(finding)) == list(range(1, 13))


def test_each_stack_of_a_finding_is_changed_by_what_was_done_there() -> None:
    acts: dict[int, Act] = {}

    def change(act: Act, stack: Frames) -> Frames:
        acts[stack[0].pc] = act
        return (Frame(pc=stack[0].pc + 100),)

    changed = with_stacks(whole(), change)

    assert sorted(frame.pc for frame in frames(changed)) == list(range(101, 113))
    assert sorted(acts.values()) == ["accessed", *["allocated"] * 5, "detected", *["released"] * 5]


def test_a_finding_without_blocks_and_access_has_the_stack_of_its_detection() -> None:
    finding = Finding(kind="invalid-free", detected=Detected(when="free", thread=1, stack=(Frame(pc=7),)))

    assert stacks(finding) == ((Frame(pc=7),),)
    assert with_stacks(finding, lambda _, stack: stack) == finding
    assert telling_stack(finding) == (False, (Frame(pc=7),))
