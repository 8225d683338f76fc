"""What a user must know of a run beside its findings: what was not seen, and why."""

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwitness.supervise.ledger import Ledger
    from heapwitness.supervise.target import Target

_PIDS_SHOWN = 5


_CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")


def crash_remark(ledger: "Ledger", name: str, pid: int, status: int | None) -> Iterator[str]:
    """A sentence for a program that crashed without its engine having looked at the heap.

    Args:
        ledger: what the engines said.
        name: as the user wrote it.
        pid: of the program.
        status: of the program, as a shell gives it.
    """
    by = _signal_name(status) if status is not None else ""
    if by in _CRASHES and ledger.ended_unheard(pid):
        yield (
            f"{name} was ended by {by} without its heap having been checked: it handles that signal itself, or a "
            "thread without a signal stack ran out of stack."
        )


def _signal_name(status: int) -> str:
    try:
        return signal.Signals(status - 128).name
    except ValueError:
        return ""


def remarks(ledger: "Ledger", target: "Target", name: str, senseless: int, logged: bool) -> Iterator[str]:
    """Sentences, each on a line, most runs have none.

    Args:
        ledger: what the engines said.
        target: the program that was started.
        name: as the user wrote it.
        senseless: messages that no engine sends.
        logged: the user asked for a log, which goes on to be written by processes that go on.
    """
    if ledger.loaded == 0:
        yield (
            f"no allocation was seen: {name} ended before the engine was loaded into it, or does not let the "
            "dynamic linker preload it."
        )
    elif target.brings_malloc:
        yield f"{name} brings its own malloc, so what it allocates itself is not checked."
    elif ledger.reported and not ledger.operations:
        yield f"no allocation was seen: {name} allocates nothing, or by other means than malloc."
    left = ledger.running()
    if left:
        pids = ", ".join(map(str, left[:_PIDS_SHOWN])) + (", ..." if len(left) > _PIDS_SHOWN else "")
        which = f"process {pids} still runs" if len(left) == 1 else f"{len(left)} processes ({pids}) still run"
        rest = "the log takes what is found there" if logged else "with --log FILE a file takes what is found there"
        yield f"{name} has ended and {which}; {rest}."
    if ledger.dropped:
        yield f"{ledger.dropped} findings came too fast to be looked at; they are only counted."
    if senseless:
        yield f"{senseless} messages came that no engine sends; a program has damaged its engine, or plays tricks."
