"""What happens after a finding, as the user chose it."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from run_support import FOUND, HEAPWITNESS, OVERFLOW, compiled, environment, heapwitness_run, needs_engine

pytestmark = needs_engine


def test_abort_ends_the_program_where_it_was_found() -> None:
    result = heapwitness_run(compiled(OVERFLOW), options=("--on-error", "abort"))

    assert result.status == FOUND
    assert result.report["program"]["exit_status"] == 128 + signal.SIGABRT
    assert result.stdout == ""
    assert [one["kind"] for one in result.findings] == ["heap-buffer-overflow"]


def stopped() -> tuple["subprocess.Popen[str]", int]:
    """Heapwitness whose program has stopped, and that program's pid as the report says it."""
    process = subprocess.Popen(
        [*HEAPWITNESS, "run", "--on-error", "stop", "--", str(compiled(OVERFLOW))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"gdb -p (\d+)", line):
            return process, int(found[1])
    raise AssertionError("no process was named")


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_stop_waits_until_somebody_continues_it() -> None:
    process, pid = stopped()
    with process:
        until = time.monotonic() + 10
        while not is_stopped(pid) and time.monotonic() < until:
            time.sleep(0.02)
        assert is_stopped(pid)

        os.kill(pid, signal.SIGCONT)
        stdout, _ = process.communicate(timeout=20)

    assert (process.returncode, stdout) == (FOUND, "done\n")


@pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")
def test_command_that_is_named_shows_the_place_in_gdb() -> None:
    process, pid = stopped()
    with process:
        shown = subprocess.run(
            ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "backtrace", "-ex", "detach"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        os.kill(pid, signal.SIGCONT)
        process.communicate(timeout=20)

    assert re.search(r"in main .*source\.c", shown)
    assert process.returncode == FOUND


def test_continue_repairs_and_goes_on() -> None:
    result = heapwitness_run(compiled(OVERFLOW), options=("--on-error", "continue"))

    assert (result.stdout, result.findings[0]["repaired"]) == ("done\n", True)


def test_whole_heap_can_be_checked_every_few_operations() -> None:
    text = OVERFLOW.replace("free(block);", "for (int i = 0; i < 500; i++) free(spoiled(100));").replace(
        "int main(",
        "__attribute__((noinline)) char *spoiled(int n) { char *p = malloc(n); spoil(p); return p; }\nint main(",
    )

    assert heapwitness_run(compiled(text)).findings[0]["detected"]["when"] == "exit"
    result = heapwitness_run(compiled(text), options=("--check-every", "100"))

    assert result.findings[0]["detected"]["when"] == "check"


def test_write_into_a_released_block_is_found_with_poison() -> None:
    text = OVERFLOW.replace("spoil(block);\n    free(block);", "free(block); poke(block);").replace(
        "int main(", "__attribute__((noinline)) void poke(volatile char *p) { p[20] = 1; }\nint main("
    )

    result = heapwitness_run(compiled(text), options=("--poison",))

    assert [one["kind"] for one in result.findings] == ["use-after-free-write"]
    assert result.findings[0]["damage"]["offset"] == 20


@pytest.mark.parametrize("stacks", ["caller", "fast", "full"])
def test_call_stacks_are_kept_as_deep_as_asked(stacks: str) -> None:
    text = OVERFLOW.replace(
        "int main(", "__attribute__((noinline)) char *wrap(void) { char *p = make(); p[0] = 1; return p; }\nint main("
    ).replace("char *block = make()", "char *block = wrap()")

    result = heapwitness_run(compiled(text, "-fno-omit-frame-pointer"), options=("--stacks", stacks))

    names = [one["function"] for one in result.findings[0]["culprit"]["allocated"]["stack"]]
    assert names[0] == "make"
    assert names[:3] == ["make", "wrap", "main"] or stacks == "caller"
