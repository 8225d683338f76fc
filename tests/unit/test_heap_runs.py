"""A run seen from outside: its nodes by arithmetic, its check, and what describes it when that is damaged or forged."""

import pytest
from support.runs import ASIDE, BASE, KEY, OLD, PROCESS, TABLE, RunHeap

from heapwitness.heap import Fault, LostPool, WalkedRuns, area_at, check_run
from heapwitness.layout import runs
from heapwitness.layout.events import Reason
from heapwitness.layout.process import read_process, read_regions
from heapwitness.layout.runs import RunLinks
from heapwitness.layout.witness import State

SIZES = (1, 16, 24, 33, 100, 777, 1024, 1025, 1500, 4096, 5000, 8192)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("formatted", [None, 3])
def test_a_healthy_run_has_no_faults_and_its_nodes_are_what_was_done(size: int, formatted: int | None) -> None:
    heap = RunHeap(size, formatted=formatted)
    blocks = heap.fill(0, size)
    heap.release(blocks[0])
    heap.hold(blocks[1])
    heap.hand(blocks[2])

    view = heap.view()
    nodes = [one for one in view.walk() if not view.is_bound(one.offset)]

    assert check_run(view) == ()
    assert all(one.intact and not one.lost for one in view.walk())
    assert [one.offset for one in nodes] == [node for _, node in blocks]
    assert [one.header.state for one in nodes[:3]] == [State.FREE, State.CACHED, State.USED]
    assert {view.requested(one.offset, one.header) for one in nodes} == {size}
    assert [view.handed(one.offset, one.header) is not None for one in nodes[:4]] == [
        False,
        False,
        True,
        *[False][: len(nodes) - 3],
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_that_is_vouched_for_is_a_fault_when_it_changes(size: int) -> None:
    heap = RunHeap(size)
    blocks = heap.fill(0, size)
    heap.release(blocks[0])
    heap.hold(blocks[1])
    watched = [0, 7, 8, 15, heap.end(), heap.end() + 15]
    watched += range(heap.end() + 16, runs.BYTES)
    for block in blocks[:4]:
        watched += range(heap.at(block), heap.start(block))
    watched += range(heap.start(blocks[0]), heap.start(blocks[0]) + 2)
    watched += range(heap.start(blocks[1]), heap.stop(blocks[1]))
    watched += range(heap.start(blocks[2]) + size, heap.stop(blocks[2]))

    for at in watched[:: 1 + len(watched) // 200]:
        heap.room[at] ^= 0x40
        assert heap.faults(), at
        heap.room[at] ^= 0x40
    assert not heap.faults()


def test_two_lost_copies_are_one_quarantined_node_and_no_other_is_lost() -> None:
    heap = RunHeap(24)
    blocks = heap.fill(0, 24)
    heap.write(heap.at(blocks[7]), b"\xff" * 8)
    heap.write(heap.at(blocks[6]) + 8, b"\xee" * 8)

    nodes = list(heap.view().walk())

    assert [one.offset for one in nodes if one.lost] == [blocks[7][1]]
    assert len(nodes) == len(blocks) + 2
    assert heap.faults() == (Fault(Reason.DAMAGE, blocks[6][1], blocks[5][1], blocks[8][1]),)


@pytest.mark.parametrize("bytes_hit", [(0, 2), (0, 8), (8, 16), (0, 16)])
def test_links_of_a_free_node_are_known_when_they_were_overwritten(bytes_hit: tuple[int, int]) -> None:
    heap = RunHeap(40)
    blocks = heap.fill(0, 40, 20)
    for block in blocks[3:12:2]:
        heap.release(block)
    hurt = heap.start(blocks[7])
    before = bytes(heap.room[hurt : hurt + 16])
    heap.write(hurt + bytes_hit[0], b"\x01" * (bytes_hit[1] - bytes_hit[0]))

    view = heap.view()
    told = view.links_before(blocks[7][1], view.own(blocks[7][1]))

    assert told == (before, b"\1" * 16)


def test_a_run_whose_description_was_overwritten_is_read_by_its_second_copy() -> None:
    heap = RunHeap(24, 48, formatted=100)
    heap.fill(1, 48, 50)
    words = heap.words(1)
    for forged in (
        words._replace(stride=words.stride + 8),
        words._replace(run_class=200),
        words._replace(salt=0),
        words._replace(formatted=60000),
        words._replace(formatted=99),
        words._replace(capacity=7),
    ):
        memory = heap.memory((TABLE + runs.BOOK, forged.pack()))
        view = heap.view(1, memory)

        assert view.run.shape == heap.runs[1].shape
        assert check_run(view) == (Fault(Reason.CONTROL),)


def test_a_run_whose_second_copy_is_not_there_or_wrong_is_read_by_the_first() -> None:
    heap = RunHeap(24, formatted=9)
    aside = heap.aside(0)
    for forged in (aside._replace(salt=1), aside._replace(run_class=255), aside._replace(formatted=65535)):
        assert heap.view(0, heap.memory((ASIDE, forged.pack()))).run.shape == heap.runs[0].shape

    away = heap.memory((TABLE, heap.words(0)._replace(aside=0x10).pack()))

    assert heap.view(0, away).run.shape == heap.runs[0].shape


@pytest.mark.parametrize(
    "forged",
    [
        {"stride": 0},
        {"run_class": 88},
        {"run_class": 255, "stride": 1},
        {"formatted": 65535},
        {"aside": 0, "salt": 5},
        {"aside": (1 << 64) - 8, "formatted": 2048},
    ],
)
def test_what_makes_no_sense_in_either_copy_is_a_lost_pool(forged: dict[str, int]) -> None:
    heap = RunHeap(24)
    aside = heap.aside(0)._replace(**{one: forged[one] for one in forged if one in ("salt", "run_class", "formatted")})
    memory = heap.memory((TABLE, heap.words(0)._replace(**forged).pack()), (ASIDE, aside.pack()))

    with pytest.raises(LostPool):
        heap.view(0, memory)


def test_a_run_at_no_multiple_of_its_size_or_without_a_description_is_a_lost_pool() -> None:
    heap = RunHeap(24, 24)
    memory = heap.memory()
    process = read_process(memory, PROCESS)

    for base, table in ((BASE + 16, TABLE), (BASE, 0x1000), (BASE, PROCESS), (0, TABLE)):
        with pytest.raises(LostPool):
            WalkedRuns.open(memory, process, base, table)


def test_a_key_is_in_no_text() -> None:
    heap = RunHeap(24)
    memory = heap.memory()
    process = read_process(memory, PROCESS)
    (region,) = read_regions(memory, process)

    assert process.key == KEY == region.key
    assert str(KEY.place) not in f"{process!r} {region!r}"


def test_an_address_leads_to_its_run_and_node() -> None:
    heap = RunHeap(24, 3000)
    block = heap.fill(1, 3000)[5]
    memory = heap.memory()
    (region,) = read_regions(memory, read_process(memory, PROCESS))

    area = area_at(memory, region, heap.payload(block) + 1000)

    assert area.base == BASE + runs.BYTES
    assert area.at(heap.payload(block) + 1000 - area.base) == block[1]


def test_unformatted_memory_is_nobodys() -> None:
    heap = RunHeap(24, formatted=5)
    heap.write(heap.end() + 40, b"x" * 300)

    assert heap.faults() == ()
    assert OLD not in heap.room[heap.end() : heap.end() + 16]


def test_what_is_counted_apart_is_held_against_the_nodes() -> None:
    heap = RunHeap(24, formatted=50)
    blocks = heap.fill(0, 24, 20)
    heap.runs[0].used -= 1
    assert heap.faults() == (Fault(Reason.CONTROL),)
    heap.runs[0].used += 1
    assert heap.faults() == ()
    heap.runs[0].head = blocks[3][1]
    assert heap.faults() == (Fault(Reason.CONTROL),)


def test_the_words_of_links_are_told_apart() -> None:
    links = runs.free_links(KEY, 12345678, 77)

    assert RunLinks.unpack(links.pack()) == links and links.next == 77
    assert runs.links_hold(KEY, 12345678, State.FREE, links)
    assert not runs.links_hold(KEY, 12345678, State.CACHED, links)
    assert not runs.links_hold(KEY, 12345678 ^ 1 << 50, State.FREE, links)
