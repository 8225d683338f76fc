"""One operation on a run at a time, for blocks of all classes and sizes."""

import ctypes

import pytest
from core_run import (
    BACKUP,
    BYTES,
    FIRST,
    GRANULE,
    MIDS,
    MOST,
    OVERHEAD,
    PAYLOADS,
    SITE_QUARANTINE,
    Run,
    Status,
    core,
    mixed,
)

from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Origin, State, poison

ALL = range(len(PAYLOADS))
SOME = (0, 1, 2, 5, 62, 63, 64, 65, 71, 72, 79, 80, 87)


def full(run_class: int) -> Run:
    """All that there can be is formatted."""
    run = Run(run_class)
    assert run.format(BYTES) is Status.OK
    return run


def least(run_class: int) -> int:
    """The smallest request of a class."""
    return PAYLOADS[run_class - 1] + 1 if run_class else 1


def healthy(run: Run) -> bool:
    return run.sound() and run.check() == []


# --- classes and sizes


def test_each_size_goes_into_the_smallest_class_that_holds_it() -> None:
    classes = [core().hw_run_class(size) for size in range(1, MOST + 1)]

    assert [core().hw_run_payload(run_class) for run_class in ALL] == PAYLOADS
    assert all(least(c) <= size <= PAYLOADS[c] for size, c in enumerate(classes, 1))
    assert classes[-1] == ALL[-1]


@pytest.mark.parametrize("run_class", ALL)
def test_nodes_lie_side_by_side_and_payloads_are_aligned(run_class: int) -> None:
    run = full(run_class)
    taken = []
    while run.words.head:
        taken.append(run.take(run.payload_bytes))

    assert run.take(run.payload_bytes) == 0
    assert taken == run.nodes
    assert [node * GRANULE for node in taken] == [16 + number * run.stride for number in range(run.capacity)]
    assert all((run.base + node * GRANULE + OVERHEAD) % 16 == 0 for node in taken)
    assert run.end * GRANULE + OVERHEAD <= BYTES < run.end * GRANULE + OVERHEAD + run.stride
    assert run.words.used == run.capacity
    assert healthy(run)


@pytest.mark.parametrize("run_class", ALL)
def test_the_requested_size_is_known_for_each_size(run_class: int) -> None:
    run = full(run_class)
    for size in range(least(run_class), run.payload_bytes + 1):
        node = run.take(size, Origin.NEW_ARRAY, 77)
        assert run.requested(node) == size
        meta = run.meta(node)
        assert meta is not None
        assert (meta >> 4 & 3, meta >> 6 & 3, meta >> 8) == (State.USED, Origin.NEW_ARRAY, 77)
        assert run.verify(node) is Status.OK
        assert run.give(node) is Status.OK
        assert run.requested(node) == size
    assert healthy(run)


def test_a_request_of_no_bytes_is_one_of_one() -> None:
    run = full(0)
    assert run.requested(run.take(0)) == 1


@pytest.mark.parametrize("run_class", SOME)
def test_slack_holds_the_pattern_from_the_first_byte_that_was_not_asked_for(run_class: int) -> None:
    run = full(run_class)
    for size in {least(run_class), least(run_class) + 3, run.payload_bytes - 1, run.payload_bytes}:
        node = run.take(size)
        eight = run.pattern(node)
        assert all(run.payload(node)[at] == eight[at % 8] for at in range(size, run.payload_bytes))


@pytest.mark.parametrize("run_class", SOME)
def test_headers_and_their_backups_are_those_of_the_format(run_class: int) -> None:
    run = mixed(run_class)
    metas = {node: run.meta(node) for node in run.nodes} | {0: 0x30, run.end: 0x30}
    order = [0, *run.nodes, run.end]

    for node, following in zip(order, [*order[1:], 0], strict=True):
        meta, behind = metas[node], metas[following]
        assert meta is not None
        assert behind is not None
        at = node * GRANULE
        assert run.memory[at : at + BACKUP] == run.header(node, meta)
        assert run.memory[at + BACKUP : at + OVERHEAD] == run.header(following, behind)


# --- taking and giving


def test_what_was_given_last_is_taken_first() -> None:
    run = full(3)
    nodes = [run.take(60) for _ in range(10)]
    for node in nodes:
        run.give(node)
    assert [run.take(60) for _ in range(10)] == nodes[::-1]


@pytest.mark.parametrize("run_class", SOME)
def test_a_second_release_is_refused_and_changes_nothing(run_class: int) -> None:
    run = full(run_class)
    node = run.take(run.payload_bytes)
    run.give(node)
    before = run.save()
    assert run.give(node) is Status.REFUSED
    assert run.hold(node) is Status.REFUSED
    assert run.resize(node, run.payload_bytes) is Status.REFUSED
    assert run.save() == before


@pytest.mark.parametrize("run_class", SOME)
def test_what_is_no_node_is_refused_and_nothing_changes(run_class: int) -> None:
    run = Run(run_class)
    run.format(3 * run.stride)
    run.take(run.payload_bytes)
    before = run.save()
    places = {0, run.end, run.end + run.granules, BYTES // GRANULE, BYTES, 1 << 31, (1 << 32) - 1}
    if run.granules > 1:
        places |= {FIRST + 1, FIRST + run.granules - 1, run.end - 1}
    for node in places:
        assert run.meta(node) is None
        for status in (run.give(node), run.hold(node), run.resize(node, run.payload_bytes), run.verify(node)):
            assert status is Status.REFUSED
    assert run.save() == before


@pytest.mark.parametrize("run_class", SOME)
def test_a_resize_within_the_class_keeps_what_was_there(run_class: int) -> None:
    run = full(run_class)
    low, high = least(run_class), run.payload_bytes
    node, behind = run.take(low), run.take(high)
    content = bytes(33 + at % 90 for at in range(high))
    run.payload(behind)[:] = content
    for size, kept in ((high, low), (low, low), ((low + high) // 2, low), (high, (low + high) // 2)):
        run.payload(node)[:kept] = content[:kept]
        assert run.resize(node, size, site=9) is Status.OK
        assert run.requested(node) == size
        assert run.payload(node)[: min(kept, size)] == content[: min(kept, size)]
        assert healthy(run)
    assert run.payload(behind) == content


@pytest.mark.parametrize("run_class", SOME)
def test_a_resize_to_another_class_is_left_undone(run_class: int) -> None:
    run = full(run_class)
    node = run.take(run.payload_bytes)
    before = run.save()
    for size in (0, least(run_class) - 1, run.payload_bytes + 1, MOST + 1, 1 << 40, (1 << 64) - 1):
        assert run.resize(node, size) is Status.NOMEM
    assert run.save() == before


@pytest.mark.parametrize("run_class", SOME)
def test_a_block_that_is_held_back_is_poisoned_and_is_not_taken_before_it_is_let_go(run_class: int) -> None:
    run = Run(run_class)
    run.format(run.stride)
    node = run.take(least(run_class))
    assert run.hold(node, site=5) is Status.OK

    assert run.state(node) is State.CACHED
    assert run.requested(node) == least(run_class)
    assert all(byte == poison(run.pattern(node))[at % 8] for at, byte in enumerate(run.payload(node)) if at >= 16)
    assert run.take(run.payload_bytes) == 0
    assert (run.hold(node), run.resize(node, run.payload_bytes)) == (Status.REFUSED, Status.REFUSED)
    assert healthy(run)

    assert run.give(node) is Status.OK
    assert run.take(run.payload_bytes) == node


# --- formatting


@pytest.mark.parametrize("run_class", SOME)
def test_a_run_is_laid_out_step_by_step_and_its_end_moves_along(run_class: int) -> None:
    run = Run(run_class)
    assert healthy(run)
    assert run.take(run.payload_bytes) == 0
    step = max(1, run.capacity // 7)
    while (before := run.formatted) < run.capacity:
        content = bytes(run.memory[: run.end * GRANULE])
        assert run.format(step * run.stride) is Status.OK
        assert run.formatted == min(before + step, run.capacity)
        assert run.memory[run.end * GRANULE : run.end * GRANULE + BACKUP] == run.header(run.end, 0x30)
        # Of what was there the last backup alone is another one.
        last = (FIRST + (before - 1) * run.granules if before else 0) * GRANULE
        assert run.memory[: last + BACKUP] == content[: last + BACKUP]
        assert run.memory[last + OVERHEAD : len(content)] == content[last + OVERHEAD :]
        assert healthy(run)
        node = run.take(run.payload_bytes)
        run.payload(node)[:] = b"x" * run.payload_bytes
    assert run.format(BYTES) is Status.NOMEM


def test_at_least_one_node_is_formatted() -> None:
    run = Run(87)
    assert run.format(0) is Status.OK
    assert run.formatted == 1


@pytest.mark.parametrize("run_class", SOME)
def test_what_is_left_behind_the_last_node_holds_the_pattern(run_class: int) -> None:
    run = full(run_class)
    tail = run.end * GRANULE + OVERHEAD
    assert run.memory[tail:] == (run.pattern(run.end) * BYTES)[: BYTES - tail]
    for at in range(tail, BYTES, 7):
        before = run.save()
        run.memory[at] ^= 0x20
        assert [(fault.reason, fault.node) for fault in run.check()] == [(Reason.SLACK, run.end)]
        assert not run.sound()
        assert run.repair() is not None
        assert run.save() == before


# --- the law of what lies beside a payload


def writes(run: Run, start: int, stop: int) -> list[tuple[int, int]]:
    """Stretches of many lengths that end where a payload starts, or begin where it stops."""
    lengths = [1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 64, 100, run.stride, 2 * run.stride + 5]
    found = [(start - length, length) for length in lengths if length <= start]
    return found + [(stop, length) for length in lengths if length <= BYTES - stop]


@pytest.mark.parametrize("run_class", ALL)
def test_a_write_right_before_or_right_behind_a_payload_is_noticed_at_its_own_release(run_class: int) -> None:
    run = Run(run_class)
    run.format(5 * run.stride)
    sizes = {least(run_class), run.payload_bytes - 1, run.payload_bytes, (least(run_class) + run.payload_bytes) // 2}
    for size in sorted(one for one in sizes if one >= least(run_class)):
        nodes = [run.take(size) for _ in range(5)]
        before = run.save()
        for node in (nodes[0], nodes[2], nodes[-1]):
            start = node * GRANULE + OVERHEAD
            for at, length in writes(run, start, start + size):
                for content in (bytes(length), b"\xff" * length, b"A" * length):
                    run.memory[at : at + length] = content
                    damaged = run.save()
                    if damaged == before:
                        continue
                    assert run.give(node) is Status.DAMAGED
                    assert run.hold(node) is Status.DAMAGED
                    assert run.save() == damaged
                    run.restore(before)
        for node in nodes:
            run.give(node)
    assert healthy(run)


# --- what is noticed, and by whom


@pytest.mark.parametrize("run_class", [0, 3, 63, 64, 87])
def test_a_damaged_copy_is_noticed_at_the_node_and_at_its_neighbours(run_class: int) -> None:
    run = Run(run_class)
    run.format(7 * run.stride)
    nodes = [run.take(run.payload_bytes) for _ in range(7)]
    before = run.save()
    for number, node in enumerate(nodes):
        own, kept = node * GRANULE, node * GRANULE + BACKUP
        # A backup is that of the node behind, which has no witness further on.
        for at, meeting in ((own, nodes[max(0, number - 1) : number + 2]), (kept, nodes[number : number + 2])):
            for byte in range(8):
                run.memory[at + byte] ^= 0x10
                for met in meeting:
                    assert run.give(met) is Status.DAMAGED
                    assert run.verify(met) is Status.DAMAGED
                run.memory[at + byte] ^= 0x10
    assert run.save() == before


@pytest.mark.parametrize("run_class", [0, 3, 63, 64, 87])
def test_a_block_is_not_taken_over_damage(run_class: int) -> None:
    run = full(run_class)
    head = run.words.head
    before = run.save()
    links = head * GRANULE + OVERHEAD
    for at in [*range(8), *range(head * GRANULE, links + 16), *range(links - 16 + run.stride, links - 8 + run.stride)]:
        run.memory[at] ^= 0x04
        damaged = run.save()
        assert run.take(run.payload_bytes) == 0
        assert run.save() == damaged
        run.memory[at] ^= 0x04
    assert run.save() == before
    assert run.take(run.payload_bytes) == head


@pytest.mark.parametrize("run_class", [0, 63, 64])
def test_nothing_is_formatted_over_damage(run_class: int) -> None:
    run = Run(run_class)
    for formatted in (0, 2):
        last = (FIRST + (formatted - 1) * run.granules if formatted else 0) * GRANULE
        before = run.save()
        for at in [*range(last + BACKUP, last + OVERHEAD), *range(run.end * GRANULE, run.end * GRANULE + OVERHEAD)]:
            run.memory[at] ^= 0x80
            damaged = run.save()
            assert run.format(2 * run.stride) is Status.DAMAGED
            assert run.save() == damaged
            run.restore(before)
        assert run.format(2 * run.stride) is Status.OK


@pytest.mark.parametrize("run_class", SOME)
def test_each_byte_belongs_to_the_node_that_it_lies_in(run_class: int) -> None:
    run = mixed(run_class)
    assert {run.locate(offset) for offset in range(16)} == {0}
    for node in run.nodes:
        assert {run.locate(node * GRANULE + offset) for offset in range(run.stride)} == {node}
    assert {run.locate(offset) for offset in range(run.end * GRANULE, BYTES, 5)} == {run.end}


def test_at_most_as_many_faults_are_told_as_asked_for() -> None:
    run = Run(2)
    run.format(10 * run.stride)
    nodes = [run.take(40) for _ in range(10)]
    for node in nodes:
        run.payload(node)[40] ^= 1
    assert [len(run.check(most)) for most in (0, 1, 3, 10, 20)] == [0, 1, 3, 10, 10]


# --- two copies lost


@pytest.mark.parametrize("run_class", SOME)
def test_a_node_that_lost_both_copies_is_quarantined_and_no_other_one(run_class: int) -> None:
    for number in range(mixed(run_class).formatted):
        run = mixed(run_class, seed=number + 5)
        node, states = run.nodes[number], {node: run.state(node) for node in run.nodes}
        used = {one: bytes(run.payload(one)) for one in run.nodes if states[one] is State.USED and one != node}
        sizes = {one: run.requested(one) for one in used}
        keeper = (run.nodes[number - 1] if number else 0) * GRANULE + BACKUP
        run.memory[node * GRANULE : node * GRANULE + 8] = b"z" * 8
        run.memory[keeper : keeper + 8] = bytes(8)
        payload = bytes(run.payload(node))

        outcome = run.repair()

        assert outcome is not None
        assert outcome.quarantined == 1
        assert healthy(run)
        assert run.payload(node) == payload
        assert [one for one in run.nodes if (run.meta(one) or 0) >> 8 == SITE_QUARANTINE] == [node]
        assert {one: run.state(one) for one in run.nodes} == states | {node: State.USED}
        assert {one: bytes(run.payload(one)) for one in used} == used
        assert {one: run.requested(one) for one in used} == sizes
        assert run.give(node) is Status.REFUSED
        while (taken := run.take(run.payload_bytes)) != 0:
            assert taken != node
        assert healthy(run)


def test_the_sentinel_and_the_end_are_known_without_a_copy() -> None:
    run = mixed(4)
    before = run.save()
    end = run.end * GRANULE
    last = run.nodes[-1] * GRANULE + BACKUP
    for place in (0, end, end + BACKUP, last):
        run.memory[place : place + 8] = b"\x07" * 8
    outcome = run.repair()
    assert outcome is not None
    assert (outcome.headers, outcome.backups, outcome.quarantined) == (2, 2, 0)
    assert run.save() == before


# --- what describes a run


@pytest.mark.parametrize("run_class", [0, 9, 63, 64, 80, 87])
def test_each_bit_of_what_describes_a_run_is_vouched_for(run_class: int) -> None:
    run = mixed(run_class)
    before = run.save()
    fields = ("base", "salt", "aside", "stride", "head", "used", "formatted", "capacity", "run_class", "where")
    offsets: list[tuple[ctypes.Structure, int]] = [(run.words, at) for name in fields for at in within(run.words, name)]
    offsets += [
        (run.second, at) for name in ("salt", "formatted", "run_class", "zero") for at in within(run.second, name)
    ]
    if run_class >= 64:
        taken = [n for n, node in enumerate(run.nodes) if run.state(node) is State.USED]
        entries = within(run.second, "slack")
        offsets += [(run.second, at) for n in taken for at in entries[3 * n : 3 * n + 3]]
    for structure, at in offsets:
        for change in [1 << bit for bit in range(8)] + [0xFF, 0xA5]:
            view = memoryview(structure).cast("B")
            view[at] ^= change
            damaged = run.save()
            [fault] = run.check()
            assert fault.reason is (Reason.SLACK if at >= 16 and structure is run.second else Reason.CONTROL)
            assert not run.sound()
            assert run.save() == damaged
            outcome = run.repair()
            if outcome is None:
                run.bind()
                outcome = run.repair()
            assert outcome is not None
            assert outcome.controls + outcome.slacks <= 1
            assert run.save() == before


def within(structure: object, name: str) -> range:
    field = getattr(type(structure), name)
    return range(field.offset, field.offset + field.size)


@pytest.mark.parametrize("field", ["base", "aside", "where"])
def test_nothing_is_read_where_a_run_is_said_to_lie_before_that_was_verified(field: str) -> None:
    run = mixed(7)
    node = next(one for one in run.nodes if run.state(one) is State.USED)
    meta = run.meta(node) or 0
    setattr(run.words, field, getattr(run.words, field) ^ 0x4100)
    before = run.save()

    assert {run.give(node), run.hold(node), run.resize(node, 120), run.verify(node), run.format(1)} == {Status.DAMAGED}
    assert (run.take(120), run.meta(node), core().hw_run_requested(run.words, run.key, node, meta)) == (0, None, 0)
    assert [fault.reason for fault in run.check()] == [Reason.CONTROL]
    assert run.repair() is None
    assert run.save() == before


@pytest.mark.parametrize("field", ["stride", "formatted", "run_class", "capacity", "salt"])
@pytest.mark.parametrize("value", [0, 1, 15, 16, 0xFF])
def test_a_damaged_description_stops_each_operation_and_refuses_nothing(field: str, value: int) -> None:
    run = mixed(7)
    node = next(one for one in run.nodes if run.state(one) is State.USED)
    setattr(run.words, field, value)
    before = run.save()

    assert {run.give(node), run.hold(node), run.resize(node, 120), run.verify(node), run.format(1)} == {Status.DAMAGED}
    assert run.take(120) == 0
    run.locate(500)
    assert run.save() == before


def test_what_else_is_damaged_is_found_with_the_description_lost() -> None:
    run = mixed(7)
    before = run.save()
    node = run.nodes[4]
    run.words.salt ^= 1
    run.memory[node * GRANULE] ^= 1
    assert [(fault.reason, fault.node) for fault in run.check()] == [(Reason.CONTROL, 0), (Reason.DAMAGE, node)]
    outcome = run.repair()
    assert outcome is not None
    assert (outcome.controls, outcome.headers) == (1, 1)
    assert run.save() == before


def test_values_of_both_copies_are_taken_where_each_lost_another_one() -> None:
    run = mixed(7)
    before = run.save()
    run.words.salt, run.words.run_class, run.second.formatted = run.words.salt + (1 << 32) - 1, 8, 2
    outcome = run.repair()
    assert outcome is not None
    assert outcome.controls == 1
    assert run.save() == before


@pytest.mark.parametrize(("field", "one", "other"), [("salt", 5, 6), ("formatted", 3, 2), ("run_class", 6, 8)])
def test_a_run_that_lost_both_copies_of_what_describes_it_is_given_up(field: str, one: int, other: int) -> None:
    run = mixed(7)
    setattr(run.words, field, one)
    setattr(run.second, field, other)
    before = run.save()
    assert run.check() != []
    assert run.repair() is None
    assert run.save() == before


# --- the list of free nodes


@pytest.mark.parametrize("seed", range(8))
def test_a_head_that_leads_past_free_nodes_is_found_and_put_right(seed: int) -> None:
    run = mixed(6, seed)
    before = run.save()
    free = [node for node in run.nodes if run.state(node) is State.FREE and node != run.words.head]
    for other in (*free, 0, *(node for node in run.nodes if run.state(node) is State.USED)):
        run.words.head = other
        assert [fault.reason for fault in run.check()] == [Reason.CONTROL]
        assert not run.sound()
        outcome = run.repair()
        assert outcome is not None
        assert outcome.controls == 1
        assert run.sound()
        assert sorted(taken(run)) == sorted({*free, before[1][28] | before[1][29] << 8})
        run.restore(before)


def taken(run: Run) -> list[int]:
    found = []
    while (node := run.take(run.payload_bytes)) != 0:
        found.append(node)
    return found


def test_a_lost_link_is_written_anew_as_it_was() -> None:
    run = mixed(6, 3)
    before = run.save()
    for node in (one for one in run.nodes if run.state(one) is State.FREE):
        run.payload(node)[:16] = b"u" * 16
        assert [(fault.reason, fault.node) for fault in run.check()] == [(Reason.LINKS, node)]
        outcome = run.repair()
        assert outcome is not None
        assert (outcome.links, outcome.controls) == (1, 0)
        assert run.save() == before


def test_free_nodes_are_linked_anew_where_several_links_are_lost() -> None:
    run = mixed(6, 3)
    free = [node for node in run.nodes if run.state(node) is State.FREE]
    for node in free[:2]:
        run.payload(node)[:16] = bytes(16)
    outcome = run.repair()
    assert outcome is not None
    assert (outcome.links, outcome.controls) == (2, 0)
    assert healthy(run)
    assert taken(run) == free


def test_an_old_link_that_is_written_back_is_found() -> None:
    run = full(2)
    first, second, third = (run.take(40) for _ in range(3))
    run.give(third)
    run.give(first)
    old = bytes(run.payload(first)[:16])
    run.take(40)
    run.give(second)
    run.give(first)
    run.payload(first)[:16] = old
    assert [fault.reason for fault in run.check()] == [Reason.CONTROL]
    assert not run.sound()
    run.repair()
    assert healthy(run)
    assert len(taken(run)) == run.capacity


def test_slack_of_a_lost_entry_is_as_long_as_it_was() -> None:
    for run_class in range(64, 88):
        run = Run(run_class)
        run.format(BYTES)
        for _ in range(min(run.capacity, MIDS)):
            size = least(run_class) + run.formatted * 7 % (run.payload_bytes - least(run_class) + 1)
            node = run.take(size)
            run.payload(node)[:size] = b"q" * size
        before = run.save()
        for number in range(run.formatted):
            run.second.slack[number][number % 3] ^= 0x2D
            run.second.slack[number][(number + 1) % 3] ^= 0x2D if number % 2 else 0
            assert not run.sound()
            run.repair()
            assert run.save() == before
