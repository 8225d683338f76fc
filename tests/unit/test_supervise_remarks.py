"""What is said of processes that ended unchecked, of programs without the engine and of heaps that are not seen."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from engine_messages import COMMAND, EXIT, FINDING, HELLO, STATS, message, section

from heapwitness.layout.decode import parse_event
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.modules import LoadedFiles, is_python_program, private_heaps
from heapwitness.supervise.remarks import remarks, without_lines

STRANGER = 5
STATIC, MUSL, NOT_TOLD, REPLACED = 1, 2, 5, 0x100
# Above all numbers that processes have.
PID = 1 << 23


@dataclass(frozen=True)
class Target:
    brings_malloc: bool = False


@dataclass(frozen=True)
class Program:
    pid: int = PID
    ended_by: signal.Signals | None = None


def counted(ending: int = 0, findings: int = 0) -> bytes:
    """Eight words of counts, the last says how the process ends."""
    words = (10, 2, 2, findings, 0, 1, 0, ending)
    return section(STATS, b"".join(word.to_bytes(8, "little") for word in words))


def said(
    *events: tuple[int, int, bytes | int],
    program: Program = Program(),
    heaps: Iterable[tuple[str, tuple[str, ...]]] = (),
) -> list[str]:
    """The remarks after events of (type, pid, section or node)."""
    ledger = Ledger()
    for type_, pid, more in events:
        sections, node = ((more,), 0) if isinstance(more, bytes) else ((section(COMMAND, b"/opt/other"),), more)
        reason = 1 if type_ == FINDING else 0
        ledger.note(parse_event(message(type_, *filter(None, sections), pid=pid, node=node, reason=reason)), pid)
    return list(remarks(ledger, Target(), program, heaps, "program", 0, False))  # type: ignore[arg-type]


def hello(pid: int, name: bytes = b"/bin/worker\0-x\0") -> tuple[int, int, bytes]:
    return (HELLO, pid, section(COMMAND, name))


def exits(pid: int, ending: int = 0, findings: int = 0) -> tuple[int, int, bytes]:
    return (EXIT, pid, counted(ending, findings))


def finds(pid: int) -> tuple[int, int, bytes]:
    return (FINDING, pid, b"")


def test_processes_that_say_goodbye_are_not_spoken_of() -> None:
    assert said(hello(PID), hello(PID + 1), exits(PID + 1), exits(PID)) == []


def test_program_that_executes_another_is_one_process_with_one_goodbye() -> None:
    assert said(hello(PID), hello(PID), exits(PID)) == []


@pytest.mark.parametrize("why", [NOT_TOLD, STATIC, MUSL])
def test_process_that_became_a_program_without_the_engine_needs_no_goodbye(why: int) -> None:
    lines = said(hello(PID), hello(PID + 1), (STRANGER, PID + 1, why | REPLACED), exits(PID))

    assert not any("unchecked" in line for line in lines)


def test_process_that_says_no_goodbye_is_named() -> None:
    (line,) = said(hello(PID), hello(PID + 1), exits(PID))

    assert line.startswith(f"process {PID + 1} (worker) ended unchecked: by SIGKILL, by a system call")


def test_process_that_ends_when_nobody_listens_any_more_counts_as_running() -> None:
    ledger = Ledger()
    with subprocess.Popen(["sleep", "60"]) as process:
        ledger.note(parse_event(message(HELLO, section(COMMAND, b"/bin/sleep"), pid=process.pid)), process.pid)
        ledger.settle()
        process.kill()

    assert (ledger.running(), ledger.unchecked()) == ((process.pid,), ())


def test_goodbye_that_is_read_late_counts() -> None:
    ledger = Ledger()
    for pid in (PID, PID + 1):
        ledger.note(parse_event(message(HELLO, section(COMMAND, b"/bin/worker"), pid=pid)), pid)
    ledger.settle()

    ledger.note(parse_event(message(EXIT, counted(), pid=PID)), PID)

    assert (ledger.running(), ledger.unchecked()) == ((), ((PID + 1, "worker"),))


def test_many_such_processes_are_one_line() -> None:
    (line,) = said(hello(PID), *(hello(PID + n) for n in range(1, 9)), exits(PID))

    assert line.startswith(f"8 processes ({PID + 1} (worker), ")
    assert "(worker), ...) ended unchecked" in line


def test_signal_that_ended_the_program_itself_is_known() -> None:
    (line,) = said(hello(PID), program=Program(ended_by=signal.SIGKILL))

    assert line == f"process {PID} (worker) ended unchecked: SIGKILL ended it."


def test_program_that_no_signal_ended_was_not_killed() -> None:
    (line,) = said(hello(PID))

    assert "SIGKILL" not in line
    assert "exit_group" in line


def test_process_that_lives_is_not_called_ended() -> None:
    (line,) = said(hello(PID), hello(os.getpid()), exits(PID))

    assert "still runs" in line


def test_check_that_was_cut_short_is_said() -> None:
    (line,) = said(hello(PID), exits(PID, signal.SIGTERM | 0x100))

    assert line == f"process {PID} (worker) ended before the last check was done; a signal asked for it."


def test_programs_without_the_engine_are_named_once_with_the_reason() -> None:
    lines = said(hello(PID), *[(STRANGER, PID, MUSL)] * 3, exits(PID))

    assert lines == ["/opt/other ran without the engine, 3 times: it is linked with musl."]


def test_files_with_a_heap_of_their_own_are_named() -> None:
    lines = said(hello(PID), exits(PID), heaps=[("/opt/lib/liba.so", ("jemalloc", "mimalloc"))])

    assert lines == [
        "memory that allocators inside of these files hand out is not checked: liba.so (jemalloc and mimalloc)."
    ]


def test_how_arrow_is_made_to_ask_malloc_is_said_where_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = [("/opt/lib/libarrow.so.2600", ("mimalloc",))]

    (line,) = said(hello(PID), exits(PID), heaps=arrow)
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    lines = said(hello(PID), exits(PID), heaps=arrow)

    assert line.endswith(
        "libarrow.so.2600 (mimalloc). ARROW_DEFAULT_MEMORY_POOL=system makes Arrow ask malloc, which is."
    )
    assert lines == []


def test_programs_that_had_no_word_of_the_engine_are_named_where_they_are_there(tmp_path: Path) -> None:
    python, other = tmp_path / "tool", tmp_path / "other"
    python.write_text("#!/usr/bin/env python3\n")
    other.write_text("#!/bin/sh\n# no python\n")
    python.chmod(0o755)
    other.chmod(0o755)
    ledger = Ledger()
    for file in (python, python, other, tmp_path / "nothing"):
        event = message(STRANGER, section(COMMAND, bytes(file)), pid=PID, node=NOT_TOLD)
        ledger.note(parse_event(event), PID)

    lines = remarks(ledger, Target(), Program(), (), "program", 0, False)  # type: ignore[arg-type]
    first, second = [one for one in lines if "without the engine" in one]

    cleared = "in an environment that what started it had cleared: let LD_PRELOAD"
    assert first.startswith(f"{python} ran without the engine, 2 times, {cleared}, PYTHONMALLOC and HEAPWITNESS_*")
    assert second.startswith(f"{other} ran without the engine, {cleared} and HEAPWITNESS_*")


def test_program_without_a_dynamic_linker_is_not_said_to_need_an_environment_alone(tmp_path: Path) -> None:
    source, program = tmp_path / "source.c", tmp_path / "program"
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-static", source, "-o", program], check=True)
    ledger = Ledger()
    ledger.note(parse_event(message(STRANGER, section(COMMAND, bytes(program)), pid=PID, node=NOT_TOLD)), PID)

    lines = remarks(ledger, Target(), Program(), (), "program", 0, False)  # type: ignore[arg-type]

    assert f"{program} ran without the engine: it is statically linked." in list(lines)


def test_files_of_a_process_that_ends_are_taken_at_once() -> None:
    modules = LoadedFiles()

    modules.look_last(os.getpid())

    assert modules.files() or os.path.realpath("/proc/self/exe").startswith("/usr/lib")


def test_mapped_files_are_taken_from_a_process_but_not_the_system_s() -> None:
    modules = LoadedFiles()

    modules.look([os.getpid()])

    assert os.path.realpath("/proc/self/exe").startswith("/usr/lib") or modules.files()
    assert not [file for file in modules.files() if file.startswith(("/lib", "/usr/lib", "["))]


def test_what_is_no_elf_file_has_no_heap(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<jemalloc>: ")

    assert list(private_heaps(dict.fromkeys(map(str, (tmp_path / "text", tmp_path / "nothing", tmp_path))))) == []


def test_findings_that_a_process_counted_and_nobody_heard_are_missing() -> None:
    (line,) = said(hello(PID), finds(PID), exits(PID, findings=3))

    assert line.startswith(f"2 findings are missing that process {PID} (worker) counted")


def test_findings_that_were_all_heard_are_not_missing() -> None:
    assert said(hello(PID), finds(PID), finds(PID), exits(PID, findings=2)) == []


def test_findings_before_a_process_became_another_program_do_not_make_up_for_later_ones() -> None:
    (line,) = said(hello(PID), finds(PID), finds(PID), hello(PID), exits(PID, findings=1))

    assert line.startswith("1 finding is missing")


def test_findings_of_an_earlier_process_of_the_same_number_stay_missing() -> None:
    (line,) = said(hello(PID), exits(PID, findings=1), hello(PID), finds(PID), exits(PID, findings=1))

    assert line.startswith("1 finding is missing")


def test_findings_that_came_under_another_number_are_not_missing() -> None:
    lines = said(hello(PID), finds(7), exits(PID, findings=1), program=Program(pid=PID))

    assert not any("missing" in line for line in lines)


def test_interpreters_whose_frames_are_not_read_are_named_in_one_line() -> None:
    files = [
        "/usr/lib/libpython3.10.so.1.0",
        "/usr/bin/python3.10",
        "/opt/bin/python3.13t",
        "/opt/lib/libpython3.13.so.1.0",
        "/usr/bin/python3.14",
        "/usr/lib/libpython3.so",
        "/usr/bin/perl",
    ]

    said = list(without_lines(files))

    assert said == [
        "Blocks of CPython 3.10, 3.13t have C stacks: which Python lines allocated and released them is known of "
        "3.11 to 3.14 with the GIL."
    ]


def test_interpreters_whose_frames_are_read_need_no_line() -> None:
    assert list(without_lines(["/usr/bin/python3.11", "/usr/lib/libpython3.14.so.1.0", "/usr/bin/python3"])) == []


@pytest.mark.parametrize(
    ("error", "watched", "remark"),
    [
        (errno.EACCES, 0, "no bytes beside blocks that were to be watched were, because the kernel does not permit it"),
        (errno.ENOSPC, 3, "not all bytes beside blocks that were to be watched were, because others use"),
        (errno.EMFILE, 0, "because the program may have no more files"),
        (errno.EBUSY, 0, "because a debugger is attached"),
        (errno.E2BIG, 0, "because this kernel or processor has none"),
    ],
)
def test_bytes_that_could_not_be_watched_are_said_with_the_reason(error: int, watched: int, remark: str) -> None:
    words = (10, 2, 2, 0, 0, 1, *[0] * 6, watched, error)
    stats = section(STATS, b"".join(word.to_bytes(8, "little") for word in words))

    (sentence,) = said((HELLO, PID, b""), (EXIT, PID, stats))

    assert remark in sentence
    assert sentence.endswith("guard pages and checks are used all the same.")


def test_no_file_that_the_kernel_makes_up_is_read_to_see_whether_it_is_a_script() -> None:
    name = Path("/proc/self/comm")
    before = name.read_text()
    try:
        name.write_text("#!/python")
        assert not is_python_program(str(name))
    finally:
        name.write_text(before)
