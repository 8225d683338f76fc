"""Signals and the terminal: the program is where it would be without us, and we outlive it to report."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from run_support import FOUND, HEAPWITNESS, OVERFLOW, compiled, environment, heapwitness_run, needs_engine

pytestmark = needs_engine

LIMIT = 20.0
RUN = (*HEAPWITNESS, "run", "--")
WAITS = ("sh", "-c", "trap 'echo caught; exit 3' {0}; echo ready; while :; do sleep 0.05; done")


@pytest.fixture(autouse=True)
def signals_as_usual() -> Iterator[None]:
    """What is ignored where the tests are started (nohup) could not be trapped in what they start."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Terminal:
    """A terminal in whose foreground a command runs."""

    def __init__(self, *words: str) -> None:
        self.text = ""
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(words[0], words, environment(TERM="dumb", PS1="$ "))
            finally:
                os._exit(127)  # else the child would go on with the tests

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._file, keys.encode())

    def read_until(self, text: str) -> str:
        """Read until the text was shown; all that was shown so far."""
        until = time.monotonic() + LIMIT
        while text not in self.text:
            assert time.monotonic() < until, self.text
            if select.select([self._file], [], [], 0.2)[0]:
                self._read()
        return self.text

    def finish(self) -> int:
        """Read to the end; the exit status."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            if select.select([self._file], [], [], 0.2)[0] and not self._read():
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self._file)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        try:
            part = os.read(self._file, 1 << 16)
        except OSError:
            return False
        self.text += part.decode()
        return bool(part)


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Heapwitness with a program that has printed its first line."""
    command = [*HEAPWITNESS, "run", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_interrupt_key_ends_the_program_and_the_report_still_comes() -> None:
    terminal = Terminal(*RUN, "sh", "-c", "echo ready; exec sleep 60")
    terminal.read_until("ready")

    terminal.type("\x03")

    assert terminal.finish() == 130
    assert "checked" in terminal.text


def test_interrupt_key_is_the_program_s_to_handle() -> None:
    terminal = Terminal(*RUN, *(word.format("INT") for word in WAITS))
    terminal.read_until("ready")

    terminal.type("\x03")

    assert terminal.finish() == 3
    assert terminal.text.count("caught\r\n") == 1


def test_program_reads_the_terminal() -> None:
    terminal = Terminal(*RUN, "sh", "-c", "stty -echo; echo ready; read line; echo got $line")
    terminal.read_until("ready")

    terminal.type("hello\n")

    assert terminal.finish() == 0
    assert "got hello" in terminal.text


def test_suspend_key_stops_both_and_both_go_on() -> None:
    terminal = Terminal("bash", "--norc", "--noprofile", "-i")
    terminal.type(" ".join(HEAPWITNESS) + """ run -- sh -c 'echo re""ady; sleep 0.5; echo went "on"'\n""")
    terminal.read_until("ready")

    terminal.type("\x1a")
    terminal.read_until("Stopped")
    terminal.type("fg\n")
    terminal.read_until("went on")
    terminal.type("exit $?\n")

    assert terminal.finish() == 0


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "USR1"])
def test_signal_that_is_sent_to_heapwitness_reaches_the_program(name: str) -> None:
    with running("--", *(word.format(name) for word in WAITS)) as process:
        process.send_signal(signal.Signals[f"SIG{name}"])
        stdout, stderr = process.communicate(timeout=LIMIT)

    assert (process.returncode, stdout) == (3, "caught\n")
    assert "checked" in stderr


def test_finding_is_reported_while_the_program_runs_on() -> None:
    text = OVERFLOW.replace('puts("done");', 'puts("done"); getchar();')
    with running("--", str(compiled(text)), "wait") as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert "heap-buffer-overflow" in process.stderr.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        process.communicate(timeout=LIMIT)

    assert process.returncode == FOUND


def test_check_signal_checks_the_whole_heap() -> None:
    text = """
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    __attribute__((noinline)) void spoil(char *block) { memset(block, 'x', 27); }
    int main(void) {
        char *block = malloc(24);
        spoil(block);
        setvbuf(stdout, NULL, _IONBF, 0);
        puts("ready");
        getchar();
        for (int i = 0; i < 100; i++) free(malloc(1000));
        getchar();
        _exit(0);
    }
    """
    with running("--check-signal", "USR2", "--", str(compiled(text))) as process:
        assert process.stdin is not None and process.stderr is not None
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.3)
        process.stdin.write("\n")
        process.stdin.flush()
        assert "heap-buffer-overflow" in process.stderr.readline()
        process.communicate("\n", timeout=LIMIT)

    assert process.returncode == FOUND


JUMPS = """
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
static sigjmp_buf out;
static volatile int inside;
static void leave(int number) { if (inside) { inside = 0; siglongjmp(out, 1); } }
int main(void) {
    static volatile int left;
    struct itimerval often = {{0, 400}, {0, 400}}, never = {{0, 0}, {0, 0}};
    signal(SIGALRM, leave);
    setitimer(ITIMER_REAL, &often, NULL);
    while (left < 100) {
        if (sigsetjmp(out, 1)) { left++; continue; }
        inside = 1;
        for (;;) { volatile char *block = malloc(24); block[24] = 1; free((void *)block); }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    return 0;
}
"""


def test_finding_that_a_handler_interrupts_is_told_before_the_handler_leaves() -> None:
    result = heapwitness_run(compiled(JUMPS))

    summary = result.report["summary"]
    assert summary["findings"] >= 10
    assert summary["missing"] == 0
    assert {finding["kind"] for finding in result.findings} == {"heap-buffer-overflow"}


LEAVES_ONE_THAT_SENDS = (
    OVERFLOW.replace("int main(", "#include <signal.h>\n#include <unistd.h>\nstatic int wrong(", 1)
    + """
int main(int count, char **words) {
    int parent = getppid();
    wrong(count, words);
    if (fork() == 0) {
        usleep(100000);
        kill(parent, atoi(words[1]));
        _exit(0);
    }
    return 0;
}
"""
)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_behind_the_program_s_end_waits_until_its_findings_are_told(
    tmp_path: Path, sent: signal.Signals
) -> None:
    words = [*HEAPWITNESS, "run", "--json", "report.json", "--", compiled(LEAVES_ONE_THAT_SENDS), str(int(sent))]

    done = subprocess.run(words, cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), capture_output=True, timeout=60)

    # On a busy machine it comes while the program is not quite gone.
    assert done.returncode in (FOUND, 130 if sent is signal.SIGINT else -sent)
    assert b"1 finding, 1 repaired" in done.stderr
    assert [one["kind"] for one in json.loads((tmp_path / "report.json").read_bytes())["findings"]] == [
        "heap-buffer-overflow"
    ]
    assert os.listdir(tmp_path) == ["report.json"]
