"""Many threads and many processes: nothing false is found, nothing true is missed, nothing grows."""

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from libc.harness import Outcome, build, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

FREELY = 1000
"""Findings of a process that the engine tells however fast they come (docs/run.md)."""

CONCURRENCY = Path(__file__).parent / "concurrency"


def program(name: str) -> Path:
    return build(str(CONCURRENCY / name), f"-I{CONCURRENCY}")


def numbers(outcome: Outcome) -> list[int]:
    return [int(word) for word in outcome.stdout.split()]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a test is: the arguments of its program, and seconds until it has to be ready."""

    words: tuple[int, ...]
    timeout: int = 60


def sizes(short: tuple[int, ...], long: tuple[int, ...], minutes: int = 10) -> pytest.MarkDecorator:
    """Run a test in its short form always, in its long one with `--long`."""
    long_form = pytest.param(Size(long, minutes * 60), id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])
    return pytest.mark.parametrize("size", [pytest.param(Size(short), id="short"), long_form])


def assert_all_are_accounted_for(outcome: Outcome, written: int) -> None:
    """Each write past a block is a finding of its own, recorded or counted as one too many."""
    assert outcome.status == 0, outcome.stderr
    assert len(outcome.findings) + sum(event.dropped for event in outcome.events) == written
    # Only what comes too fast may be counted alone.
    by_process = Counter(event.pid for event in outcome.findings)
    assert all(by_process[pid] >= FREELY for pid in {event.pid for event in outcome.events if event.dropped})


THREADS = pytest.mark.parametrize("threads", [1, 2, 4, 8, 16, 32, 64])


@pytest.mark.parametrize("settings", [{}, {"HEAPWITNESS_CHECK_EVERY": "2000"}, {"HEAPWITNESS_POISON": "1"}], ids=str)
@THREADS
@sizes(short=(300,), long=(10_000,))
def test_threads_release_each_others_blocks_without_a_finding(
    size: Size, threads: int, settings: dict[str, str]
) -> None:
    run(program("stress.c"), threads, *size.words, environment=settings, timeout=size.timeout).assert_clean()


@THREADS
@sizes(short=(100, 4), long=(10_000, 100))
def test_findings_of_threads_that_release_each_others_blocks_are_all_recorded(size: Size, threads: int) -> None:
    outcome = run(program("stress.c"), threads, *size.words, timeout=size.timeout)

    _, written = numbers(outcome)
    assert written == threads * size.words[1]
    assert_all_are_accounted_for(outcome, written)


@sizes(short=(100_000,), long=(3_000_000,))
def test_blocks_are_handed_over_while_their_owner_goes_over_its_pool(size: Size) -> None:
    every = {"HEAPWITNESS_CHECK_EVERY": "1"}
    run(program("handed.c"), 3, *size.words, environment=every, timeout=size.timeout).assert_clean()


@sizes(short=(100_000, 64), long=(1_000_000, 64))
def test_threads_that_come_and_go_leave_nothing_that_grows(size: Size) -> None:
    outcome = run(program("churn.c"), *size.words, timeout=size.timeout)

    outcome.assert_clean()
    early, late, _ = numbers(outcome)
    # Sites remember their threads until there are 16 MiB of them.
    assert late - early < 24 << 10, f"{early} KiB, then {late} KiB"
    assert late < 64 << 10


@sizes(short=(5_000, 64, 50), long=(100_000, 64, 50))
def test_findings_of_threads_that_come_and_go_are_all_recorded(size: Size) -> None:
    outcome = run(program("churn.c"), *size.words, timeout=size.timeout)

    threads, _, every = size.words
    written = numbers(outcome)[-1]
    assert written >= threads // every
    assert_all_are_accounted_for(outcome, written)


def test_tree_of_a_thousand_processes_is_clean() -> None:
    outcome = run(program("tree.c"), 10, 3)

    outcome.assert_clean()
    assert numbers(outcome) == [1111]


@sizes(short=(6, 3), long=(10, 3))
def test_findings_of_a_tree_of_processes_are_all_recorded(size: Size) -> None:
    outcome = run(program("tree.c"), *size.words, "damage", timeout=size.timeout)

    branches, depth = size.words
    processes = sum(branches**generation for generation in range(depth + 1))
    assert numbers(outcome) == [processes]
    assert_all_are_accounted_for(outcome, 2 * processes)
    # Two threads of each process damaged something; who has no arena of its own yet does it in another's.
    assert set(Counter(event.pid for event in outcome.findings).values()) == {2}


@pytest.mark.parametrize("words", [(1, 100), (16, 15), (4, 10, 6)], ids=["one", "threads", "processes"])
def test_findings_that_arrive_at_once_are_all_recorded(words: tuple[int, ...]) -> None:
    outcome = run(program("damage.c"), *words)

    assert_all_are_accounted_for(outcome, *numbers(outcome))


@pytest.mark.parametrize("words", [(8, 5), (4, 3, 4)], ids=["threads", "processes"])
def test_findings_that_arrive_at_once_are_all_reported(words: tuple[int, ...]) -> None:
    outcome = run_command(program("damage.c"), *map(str, words))

    assert outcome.status == FOUND, outcome.stderr
    assert {finding["kind"] for finding in outcome.findings} == {"heap-buffer-overflow"}
    assert all(finding["repaired"] for finding in outcome.findings)
    assert sum(finding["count"] for finding in outcome.findings) == int(outcome.stdout.split()[0])


@pytest.mark.parametrize(
    ("source", "short", "long", "written"),
    [
        ("tree.c", (5, 2, "damage"), (10, 3, "damage"), lambda counts: 2 * counts[0]),
        ("stress.c", (8, 100, 10), (64, 1000, 100), lambda counts: counts[-1]),
        ("churn.c", (1_000, 64, 50), (100_000, 64, 50), lambda counts: counts[-1]),
    ],
    ids=["tree", "stress", "churn"],
)
@pytest.mark.parametrize("form", ["short", pytest.param("long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_report_of_findings_from_everywhere_adds_up(
    source: str,
    short: tuple[int | str, ...],
    long: tuple[int | str, ...],
    written: Callable[[list[int]], int],
    form: str,
) -> None:
    outcome = run_command(program(source), *map(str, short if form == "short" else long), timeout=900)

    assert outcome.status == FOUND, outcome.stderr
    expected = written([int(word) for word in outcome.stdout.split()])
    told = sum(finding["count"] for finding in outcome.findings)
    summary = outcome.report["summary"]
    assert told + summary["dropped"] == summary["findings"] == expected
    assert summary["repaired"] == told
    if form == "short":
        assert summary["dropped"] == 0


def test_other_threads_release_while_the_one_that_met_damage_waits(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as nobody:
        nobody.bind(str(tmp_path / "socket"))
        nobody.listen(10)
        outcome = run(
            program("unanswered.c"),
            environment={"HEAPWITNESS_SOCKET": str(tmp_path / "socket"), "HEAPWITNESS_WAIT_MS": "1500"},
        )

    assert outcome.status == 0, outcome.stderr
    assert numbers(outcome)[0] < 500
    assert len(outcome.findings) == 1
