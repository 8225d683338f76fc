"""Many threads and many processes: nothing false is found, nothing true is missed, nothing grows."""

import socket
from pathlib import Path

import pytest
from libc.harness import Outcome, build, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

CONCURRENCY = Path(__file__).parent / "concurrency"


def program(name: str) -> Path:
    return build(str(CONCURRENCY / name), f"-I{CONCURRENCY}")


def numbers(outcome: Outcome) -> list[int]:
    return [int(word) for word in outcome.stdout.split()]


@pytest.mark.parametrize("settings", [{}, {"HEAPWITNESS_CHECK_EVERY": "2000"}, {"HEAPWITNESS_POISON": "1"}], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 4, 8, 16, 32, 64])
def test_threads_release_each_others_blocks_without_a_finding(threads: int, settings: dict[str, str]) -> None:
    run(program("stress.c"), threads, 300, environment=settings).assert_clean()


def test_blocks_are_handed_over_while_their_owner_goes_over_its_pool() -> None:
    run(program("handed.c"), 3, 100_000, environment={"HEAPWITNESS_CHECK_EVERY": "1"}).assert_clean()


def test_hundred_thousand_threads_leave_nothing_that_grows() -> None:
    outcome = run(program("churn.c"), 100_000, 64)

    outcome.assert_clean()
    early, late = numbers(outcome)
    # Sites remember their threads until there are 16 MiB of them.
    assert late - early < 24 << 10, f"{early} KiB, then {late} KiB"
    assert late < 64 << 10


def test_tree_of_a_thousand_processes_is_clean() -> None:
    outcome = run(program("tree.c"), 10, 3)

    outcome.assert_clean()
    assert numbers(outcome) == [1111]


def test_findings_of_a_tree_of_processes_are_all_recorded() -> None:
    outcome = run(program("tree.c"), 6, 3, "damage")

    assert outcome.status == 0, outcome.stderr
    assert numbers(outcome) == [259]
    assert len(outcome.findings) == 259
    assert len({event.pid for event in outcome.findings}) == 259


@pytest.mark.parametrize("words", [(1, 100), (16, 15), (4, 10, 6)], ids=["one", "threads", "processes"])
def test_findings_that_arrive_at_once_are_all_recorded(words: tuple[int, ...]) -> None:
    outcome = run(program("damage.c"), *words)

    assert outcome.status == 0, outcome.stderr
    assert [len(outcome.findings)] == numbers(outcome)


@pytest.mark.parametrize("words", [(8, 5), (4, 3, 4)], ids=["threads", "processes"])
def test_findings_that_arrive_at_once_are_all_reported(words: tuple[int, ...]) -> None:
    outcome = run_command(program("damage.c"), *map(str, words))

    assert outcome.status == FOUND, outcome.stderr
    assert {finding["kind"] for finding in outcome.findings} == {"heap-buffer-overflow"}
    assert all(finding["repaired"] for finding in outcome.findings)
    assert sum(finding["count"] for finding in outcome.findings) == int(outcome.stdout.split()[0])


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
