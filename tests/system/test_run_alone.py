"""A supervisor that is killed, slow, or never there costs the program nothing, and its record is read later."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from run_support import (
    ERROR,
    FOUND,
    HEAPWITNESS,
    OVERFLOW,
    WORK,
    compiled,
    engine,
    environment,
    heapwitness_command,
    heapwitness_run,
    needs_engine,
)

pytestmark = needs_engine


def preloaded(program: Path, log: Path | None, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the engine and without a supervisor."""
    extra = {"HEAPWITNESS_LOG": str(log)} if log is not None else {}
    return subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "LD_PRELOAD": str(engine()), **extra, **more},
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of a program that was run without a supervisor."""
    log = tmp_path / "log"
    done = preloaded(compiled(OVERFLOW), log)
    assert (done.returncode, done.stdout) == (5, "done\n")
    return log


def test_program_without_a_supervisor_is_repaired_and_goes_on() -> None:
    done = preloaded(compiled(OVERFLOW), None)

    assert (done.returncode, done.stdout) == (5, "done\n")


def test_record_gives_the_full_report_later(record: Path, tmp_path: Path) -> None:
    done = heapwitness_command("report", record, "--json", tmp_path / "r.json")

    assert done.returncode == FOUND
    assert "heap-buffer-overflow" in done.stdout
    (finding,) = json.loads((tmp_path / "r.json").read_text())["findings"]
    assert (finding["culprit"]["size"], finding["damage"]["length"], finding["repaired"]) == (24, 3, True)
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "make"


def test_record_of_several_runs_gives_their_findings_folded(record: Path, tmp_path: Path) -> None:
    preloaded(compiled(OVERFLOW), record)

    heapwitness_command("report", record, "--json", tmp_path / "r.json")

    report = json.loads((tmp_path / "r.json").read_text())
    assert [one["count"] for one in report["findings"]] == [2]
    assert report["summary"]["processes"] == 2


def test_record_without_findings_gives_a_clean_report(tmp_path: Path) -> None:
    preloaded(Path("/bin/ls"), tmp_path / "log")

    assert heapwitness_command("report", tmp_path / "log").returncode == 0


def test_record_that_is_cut_short_gives_what_is_there(record: Path, tmp_path: Path) -> None:
    whole = record.read_bytes()
    record.write_bytes(whole + whole[: len(whole) // 2])

    done = heapwitness_command("report", record)

    assert done.returncode == FOUND
    assert "heap-buffer-overflow" in done.stdout
    assert "ends in the middle of a message" in done.stdout + done.stderr


def test_record_that_is_cut_short_before_its_first_finding_is_not_taken_for_a_clean_one(tmp_path: Path) -> None:
    preloaded(Path("/bin/ls"), tmp_path / "log")
    record = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(record + record[:-1])

    done = heapwitness_command("report", tmp_path / "log")

    assert done.returncode == ERROR
    assert "ends in the middle of a message" in done.stderr


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"\x00" * 500, "no record of heapwitness"), (b"short", "middle of a message"), (os.urandom(4096), "no record")],
)
def test_file_that_is_no_record_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "log").write_bytes(content)

    done = heapwitness_command("report", tmp_path / "log")

    assert done.returncode == ERROR
    assert part in done.stderr and done.stderr.count("\n") == 1


def test_message_that_claims_gigabytes_is_refused(record: Path) -> None:
    data = bytearray(record.read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    record.write_bytes(data)

    done = heapwitness_command("report", record)

    assert (done.returncode, done.stderr.count("\n")) == (ERROR, 1)


@pytest.mark.parametrize("name", ["nothing", "", "/dev/zero"])
def test_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    done = heapwitness_command("report", tmp_path / name)

    assert (done.returncode, done.stderr.count("\n")) == (ERROR, 1)


WAITS_AGAIN = OVERFLOW.replace('puts("done");', 'puts("done"); getchar(); puts("end");')
KEEPS_OPEN = OVERFLOW.replace(
    "setvbuf", "struct rlimit few = {16, 16}; setrlimit(RLIMIT_NOFILE, &few); setvbuf", 1
).replace("#include <stdio.h>", "#include <stdio.h>\n#include <sys/resource.h>", 1)
"""With so few descriptors the engine keeps the log open."""


def start(*options: str, program: Path | None = None, **more: str) -> "subprocess.Popen[str]":
    """Heapwitness with a program that waits for a line before it does harm."""
    process = subprocess.Popen(
        [*HEAPWITNESS, "run", *options, "--", str(program or compiled(OVERFLOW)), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A supervisor that is killed leaves its directory behind.
        env=environment(**{"TMPDIR": str(WORK), **more}),
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go_on(process: "subprocess.Popen[str]") -> str:
    """Let the program do its harm; what it prints then."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_killed_supervisor_costs_the_program_nothing_and_the_log_has_the_finding(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start("--log", str(log)) as process:
        process.kill()
        process.wait()

        started = time.monotonic()
        assert go_on(process) == "done\n"

        assert time.monotonic() - started < 2
    assert heapwitness_command("report", log).returncode == FOUND


def test_killed_supervisor_without_a_log_costs_the_program_nothing_and_a_line_says_where_the_finding_is() -> None:
    with start() as process:
        process.kill()
        process.wait()

        assert go_on(process) == "done\n"
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
    said = re.search(r"`heapwitness report (\S+)` shows it$", line)
    assert said is not None, line
    shown = heapwitness_command("report", said[1])
    assert shown.returncode == FOUND
    assert "3 bytes past the end of a 24-byte block allocated by make" in shown.stdout


def test_program_that_goes_on_after_a_killed_supervisor_and_finds_nothing_says_nothing() -> None:
    with start(program=compiled(OVERFLOW.replace("27", "24"))) as process:
        process.kill()
        process.wait()

        assert go_on(process) == "done\n"
        assert process.stderr is not None and process.stderr.read() == ""


def test_finding_that_was_recorded_before_the_supervisor_was_killed_is_said_at_the_end() -> None:
    with start("--wait", "0.1", program=compiled(WAITS_AGAIN)) as process:
        process.send_signal(signal.SIGSTOP)
        assert go_on(process) == "done\n"
        process.kill()
        process.wait()

        assert go_on(process) == "end\n"
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
    assert "heapwitness is not there any more" in line


def test_finding_after_the_log_was_removed_with_a_killed_supervisor_is_told_in_a_line(tmp_path: Path) -> None:
    program = compiled(KEEPS_OPEN)
    with start(program=program, TMPDIR=str(tmp_path)) as process:
        process.kill()
        process.wait()
        shutil.rmtree(tmp_path)

        assert go_on(process) == "done\n"
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
    said = re.search(r"It was damage near 0x[0-9a-f]+, by a release from the program\+(0x[0-9a-f]+)", line)
    assert said is not None, line
    named = subprocess.run(["addr2line", "-f", "-e", program, said[1]], capture_output=True, text=True, check=True)
    assert named.stdout.startswith("main\n")


def test_supervisor_that_is_killed_while_a_thread_waits_costs_the_program_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start("--log", str(log)) as process:
        process.send_signal(signal.SIGSTOP)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.3)

        process.kill()

        assert process.stdout.readline() == "done\n"
    assert heapwitness_command("report", log).returncode == FOUND


def test_supervisor_that_hangs_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    with start("--wait", "0.3") as process:
        process.send_signal(signal.SIGSTOP)

        started = time.monotonic()
        assert go_on(process) == "done\n"
        waited = time.monotonic() - started
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=20)

    assert 0.2 < waited < 3
    assert process.returncode == FOUND
    assert stderr.count("heap-buffer-overflow") == 1


def test_socket_that_does_not_exist_costs_nothing(tmp_path: Path) -> None:
    started = time.monotonic()
    done = preloaded(compiled(OVERFLOW), tmp_path / "log", HEAPWITNESS_SOCKET=f"{tmp_path}/nobody")

    assert (done.returncode, done.stdout) == (5, "done\n")
    assert time.monotonic() - started < 2
    assert (tmp_path / "log").stat().st_size > 0


def test_nothing_is_left_behind_in_the_temporary_directory(tmp_path: Path) -> None:
    heapwitness_command("run", "--", "ls", TMPDIR=str(tmp_path))

    assert list(tmp_path.iterdir()) == []


UNHEARD = "HEAPWITNESS_SOCKET=/nowhere"


def test_log_that_the_program_cuts_is_read_from_its_new_start(record: Path) -> None:
    record.write_bytes(record.read_bytes() * 3)
    script = f': > "$0"; {UNHEARD} "$1"; true'

    result = heapwitness_run("sh", "-c", script, record, compiled(OVERFLOW), options=("--log", str(record)))

    assert result.status == FOUND and len(result.report["findings"]) == 1
    assert "the log was cut while the program ran" in result.stderr


# What a full disk, a process that is ended while it writes, and a program leave in a log.
LEFT = {"half of a record": b"", "a head": b"HWEV", "a text": b"it was here " * 20, "zeros": bytes(5000)}


@pytest.mark.parametrize("left", LEFT)
def test_record_behind_what_is_none_is_told_and_what_is_missing_is_said(record: Path, left: str) -> None:
    whole = record.read_bytes()
    record.write_bytes((LEFT[left] or whole[: len(whole) // 2]) + whole)

    done = heapwitness_command("report", record)

    assert done.returncode == ERROR
    assert done.stdout.count("heap-buffer-overflow: ") == 1
    assert "are no record and were passed over" in done.stderr


def test_finding_behind_what_a_program_wrote_to_its_runs_log_is_told() -> None:
    script = f'echo "it was here" >> "$HEAPWITNESS_LOG"; {UNHEARD} "$0"; true'

    result = heapwitness_run("sh", "-c", script, compiled(OVERFLOW))

    assert result.status == FOUND and len(result.report["findings"]) == 1
    assert "the log is damaged: 12 bytes in it are no record and were passed over" in result.stderr


@pytest.mark.parametrize("puts", ["mkfifo", "mkdir", "ln -s /proc/self/mem", "ln -s /dev/zero"])
def test_what_stands_in_the_place_of_the_log_is_not_read_and_that_is_said(tmp_path: Path, puts: str) -> None:
    log = tmp_path / "log"
    script = f'{UNHEARD} "$1"; rm "$0"; {puts} "$0"'

    result = heapwitness_run("sh", "-c", script, log, compiled(OVERFLOW), options=("--log", str(log)))

    assert "the log could not be read to its end: something that is no plain file stands in its place." in result.stderr
