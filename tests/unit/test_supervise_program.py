"""The program as a child: its status, its signals, what it inherits."""

import signal
import subprocess
import sys
import textwrap

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.supervise.program import RunningProgram

WAIT = "select.select([program.finished], [], [], 20)\nprint('status', program.exit_status)"


def inside(body: str, after: str = WAIT, *, send: tuple[signal.Signals, ...] = ()) -> tuple[int, str]:
    """Run `body` and `after` in a Python process of its own, with RunningProgram imported; its status and output.

    The signals are sent when the process prints "ready".
    """
    # Under nohup, and behind a shell's &, tests have some of these ignored.
    start = "import os, signal, select\nfor one in ('HUP', 'INT', 'QUIT'):\n"
    start += "    signal.signal(signal.Signals['SIG' + one], signal.SIG_DFL)\n"
    code = start + "from heapwitness.supervise.program import RunningProgram\n" + textwrap.dedent(body) + after
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            if line == "ready\n":
                for one in send:
                    process.send_signal(one)
            else:
                text += line
        return process.wait(timeout=20), text


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_exit_status_is_the_one_that_a_shell_gives(command: str, status: int) -> None:
    _, text = inside(
        f"""
        program = RunningProgram("/bin/sh", ("sh", "-c", {command!r}), dict(os.environ))
        """
    )

    assert text == f"status {status}\n"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signal_for_us_is_passed_on_and_we_outlive_it(sent: signal.Signals) -> None:
    name = sent.name.removeprefix("SIG")
    status, text = inside(
        f"""
        script = "trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
        program = RunningProgram("/bin/sh", ("sh", "-c", script), dict(os.environ))
        """,
        send=(sent,),
    )

    assert (status, text) == (0, f"got {name}\nstatus 3\n")


def test_extra_signal_is_passed_on() -> None:
    _, text = inside(
        """
        script = "trap 'echo got; exit 3' WINCH; echo ready; while :; do sleep 0.05; done"
        program = RunningProgram("/bin/sh", ("sh", "-c", script), dict(os.environ), frozenset({signal.SIGWINCH}))
        """,
        send=(signal.SIGWINCH,),
    )

    assert text == "got\nstatus 3\n"


def test_program_inherits_no_blocked_signal_and_no_disposition_of_python() -> None:
    _, text = inside(
        """
        program = RunningProgram("/bin/grep", ("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"), dict(os.environ))
        """
    )

    # glibc leaves two signals of its own ignored in every program that is started by posix_spawn.
    assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in text.splitlines()[:2]] == [0, 0]


def test_program_stays_in_the_process_group_and_inherits_no_descriptor() -> None:
    _, text = inside(
        """
        print(os.getpgrp(), flush=True)
        script = "ps -o pgid= -p $$; ls /proc/$$/fd"  # no pipe: its ends would be the shell's for a moment
        program = RunningProgram("/bin/sh", ("sh", "-c", script), dict(os.environ))
        """
    )

    ours, theirs, *files = (line.strip() for line in text.splitlines())
    assert theirs == ours
    assert files == ["0", "1", "2", "status 0"]


def test_signals_do_again_what_they_did_once_the_program_has_ended() -> None:
    status, _ = inside(
        """
        program = RunningProgram("/bin/true", ("true",), dict(os.environ))
        select.select([program.finished], [], [], 20)
        program.release_signals()
        print("ready", flush=True)
        signal.pause()
        """,
        after="",
        send=(signal.SIGTERM,),
    )

    assert status == -signal.SIGTERM


def test_program_that_the_system_does_not_start_is_said_in_a_sentence() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with pytest.raises(HeapwitnessError, match=r"^/nowhere cannot be started: No such file or directory\.$"):
        RunningProgram("/nowhere", ("nowhere",), {})

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_end_of_the_program_can_be_selected_on() -> None:
    _, text = inside(
        """
        program = RunningProgram("/bin/sleep", ("sleep", "0.2"), dict(os.environ))
        print(program.exit_status, select.select([program.finished], [], [], 0)[0])
        """
    )

    assert text == "None []\nstatus 0\n"


def test_signal_that_the_program_sends_to_its_parent_does_not_come_back() -> None:
    _, text = inside(
        """
        script = "trap 'echo came back' USR1; kill -USR1 $PPID; sleep 0.2; exit 4"
        program = RunningProgram("/bin/sh", ("sh", "-c", script), dict(os.environ))
        """
    )

    assert text == "status 4\n"


def test_end_is_noticed_without_the_thread_that_waits_for_it() -> None:
    status, text = inside(
        """
        import _thread
        def none(*_): raise RuntimeError("can't start new thread")
        _thread.start_new_thread = none
        program = RunningProgram("/bin/sh", ("sh", "-c", "exit 7"), dict(os.environ))
        """,
        "program.wait()\nprint('status', program.exit_status)",
    )

    assert (status, text) == (0, "status 7\n")


def test_signals_that_are_held_back_come_behind_and_are_not_the_program_s() -> None:
    status, text = inside(
        """
        from heapwitness.supervise.program import HeldSignals, asked_to_end
        with HeldSignals() as held:
            words = ("grep", "SigBlk", "/proc/self/status")
            program = RunningProgram("/bin/grep", words, dict(os.environ), mask=held.before)
            program.wait()
            print(asked_to_end())
            os.kill(os.getpid(), signal.SIGTERM)
            print(asked_to_end(), flush=True)
        print("not reached")
        """
    )

    assert "SigBlk:\t0000000000000000" in text and "False\nTrue\n" in text
    assert status == -signal.SIGTERM and "not reached" not in text


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_status_is_not_lost_where_memory_runs_out_as_it_is_taken(command: str, status: int) -> None:
    _, text = inside(
        f"""
        take = os.waitpid
        def take_and_fail(*words):
            take(*words)
            raise MemoryError
        os.waitpid = take_and_fail
        signal.alarm(15)
        program = RunningProgram("/bin/sh", ("sh", "-c", {command!r}), dict(os.environ))
        program.wait()
        """
    )

    assert text == f"status {status}\n"
