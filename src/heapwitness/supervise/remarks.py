"""What a user must know of a run beside its findings: what was not seen, and why."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from signal import Signals
from typing import TYPE_CHECKING

from heapwitness.layout.events import Stranger
from heapwitness.supervise.modules import is_python, is_python_program, is_static_program, is_there

if TYPE_CHECKING:
    from heapwitness.supervise.ledger import Ledger
    from heapwitness.supervise.program import RunningProgram
    from heapwitness.supervise.target import Target

_INTERPRETER = re.compile(r"/(?:lib)?python3\.(\d{1,4})(t?)d?(?:\.so[.\d]{0,16})?$")
_PIDS_SHOWN = 5
_FILES_SHOWN = 5
_ASKED_LIMIT = 64
_ARROW, _ARROW_POOL = "libarrow.so", "ARROW_DEFAULT_MEMORY_POOL"

_PAST_US = "by a system call past the C library (exit_group), or as another program without the engine"
_CRASHES = (Signals.SIGSEGV, Signals.SIGBUS, Signals.SIGILL, Signals.SIGFPE, Signals.SIGABRT)
_CRASHED = ", which it handles itself, or a thread without a signal stack ran out of stack"
_UNWATCHED = {
    errno.EPERM: "the kernel does not permit it (kernel.perf_event_paranoid, or what the program is confined to)",
    errno.EBUSY: "a debugger is attached to the program",
    errno.ENOSPC: "others use the processor's watchpoints, such as a debugger or a virtual machine's host",
    errno.EBADF: "the program closed files that are not its own, by which the processor was asked for it",
    errno.EMFILE: "the program may have no more files, or has too many threads",
    errno.ENOSYS: "this kernel or processor has none that can be used for it (Linux 5.13 on x86-64 has)",
}
_SAME_ERROR = {errno.EACCES: errno.EPERM, errno.ENFILE: errno.EMFILE}
_WHY = {
    Stranger.STATIC: "statically linked",
    Stranger.MUSL: "linked with musl",
    Stranger.OTHER_MACHINE: "built for another machine",
    Stranger.PRIVILEGED: "set-user-id or set-group-id",
    Stranger.OUT_OF_REACH: "started where the engine's file cannot be read, as in a sandbox or by another user",
}


def remarks(
    ledger: "Ledger",
    target: "Target",
    program: "RunningProgram",
    heaps: Iterable[tuple[str, tuple[str, ...]]],
    name: str,
    senseless: int,
    logged: bool,
) -> Iterator[str]:
    """Sentences, each on a line, most runs have none.

    Args:
        ledger: what the engines said.
        target: the program that was started.
        program: the same, as it ended.
        heaps: files that have allocators of their own in them, and which.
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
    elif ledger.reported == ledger.loaded and not ledger.operations:
        yield f"no allocation was seen: {name} allocates nothing, or by other means than malloc."
    left = ledger.running()
    if left:
        pids = ", ".join(map(str, left[:_PIDS_SHOWN])) + (", ..." if len(left) > _PIDS_SHOWN else "")
        which = f"process {pids} still runs" if len(left) == 1 else f"{len(left)} processes ({pids}) still run"
        rest = "the log takes what is found there" if logged else "with --log FILE a file takes what is found there"
        yield f"{name} has ended and {which}; {rest}."
    yield from _unchecked(ledger, program)
    yield from _private({os.path.basename(file): names for file, names in heaps})
    yield from _strangers(ledger)
    yield from _untrapped(ledger)
    yield from missing(ledger)
    if ledger.left:
        places = "1 place" if ledger.left == 1 else f"{ledger.left:,} places"
        yield (
            "an operation of the heap was left in the middle, by a jump out of a signal handler or as its thread was "
            f"cancelled; what was wrong in {places} was put right, and may have been its doing or damage."
        )
    if ledger.dropped:
        yield f"{ledger.dropped} findings came too fast to be looked at; they are only counted."
    if senseless:
        yield f"{senseless} messages came that no engine sends; a program has damaged its engine, or plays tricks."


def _private(heaps: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """What allocators of their own hide, and how they are turned off where they can be."""
    arrow = any(file.startswith(_ARROW) for file in heaps)
    asks_malloc = os.environ.get(_ARROW_POOL) == "system"
    own = [f"{file} ({' and '.join(names)})" for file, names in heaps.items()]
    own = [one for one in own if not (asks_malloc and one.startswith(_ARROW))]
    if own:
        shown = ", ".join(own[:_FILES_SHOWN]) + (", ..." if len(own) > _FILES_SHOWN else "")
        hint = f" {_ARROW_POOL}=system makes Arrow ask malloc, which is." if arrow and not asks_malloc else ""
        yield f"memory that allocators inside of these files hand out is not checked: {shown}.{hint}"


def _untrapped(ledger: "Ledger") -> Iterator[str]:
    """How many blocks were not trapped though their sites are."""
    if ledger.too_often:
        watched = f", and {ledger.watched:,} were watched" if ledger.watched else ""
        yield (
            "not all blocks of trapped sites were trapped, because these allocate too often; "
            f"{ledger.trapped:,} were{watched}."
        )
    if ledger.too_many:
        yield (
            f"{ledger.too_many:,} blocks of trapped sites were not trapped, because too many were in use at once; "
            f"{ledger.trapped:,} were."
        )
    for number in sorted({_SAME_ERROR.get(one, one) for one in ledger.unwatched}):
        why = _UNWATCHED.get(number, _UNWATCHED[errno.ENOSYS])
        what = "not all bytes beside blocks" if ledger.watched else "no bytes beside blocks"
        yield f"{what} that were to be watched were, because {why}; guard pages and checks are used all the same."


def missing(ledger: "Ledger") -> Iterator[str]:
    """How many findings were counted and never came, if there are any."""
    count, processes = ledger.missing()
    if count:
        which = _processes(processes) if processes else "processes that have ended"
        what = "1 finding is" if count == 1 else f"{count} findings are"
        yield (
            f"{what} missing that {which} counted: neither the socket nor the log could be reached "
            "(--log FILE, with a file that can be), or the log was full."
        )


def unseen_objects(files: Iterable[str], allocator: str) -> Iterator[str]:
    """What PYTHONMALLOC, as the user set it, hides where Python ran.

    Args:
        files: of which processes ran code.
        allocator: the variable's value.
    """
    if allocator and not allocator.startswith("malloc") and any(is_python(file) for file in files):
        yield (
            f"PYTHONMALLOC={allocator} gives Python an allocator of its own, so its small objects were "
            "not checked; unset it, and they are."
        )


def without_lines(files: Iterable[str]) -> Iterator[str]:
    """Which interpreters' blocks have C stacks alone.

    Args:
        files: of which processes ran code, in findings.
    """
    names = sorted({f"3.{found[1]}{found[2]}" for file in files if (found := _INTERPRETER.search(file))})
    unread = [name for name in names if name.endswith("t") or not 11 <= int(name[2:]) <= 14]
    if unread:
        yield (
            f"Blocks of CPython {', '.join(unread)} have C stacks: which Python lines allocated and released them is "
            "known of 3.11 to 3.14 with the GIL."
        )


def _unchecked(ledger: "Ledger", program: "RunningProgram") -> Iterator[str]:
    """Which processes ended without a last check, or without all of it."""
    rest = []
    for pid, name in ledger.unchecked():
        if pid != program.pid:
            rest.append((pid, name))
        elif program.ended_by is not None:
            why = _CRASHED if program.ended_by in _CRASHES else ""
            yield f"{_processes([(pid, name)])} ended unchecked: {program.ended_by.name} ended it{why}."
        else:
            yield f"{_processes([(pid, name)])} ended unchecked: {_PAST_US}."
    if rest:
        yield f"{_processes(rest)} ended unchecked: by SIGKILL, {_PAST_US}."
    cut = ledger.cut_short()
    if cut:
        yield f"{_processes(cut)} ended before the last check was done; a signal asked for it."


def _processes(which: Sequence[tuple[int, str]]) -> str:
    """Processes by their numbers and names, the first of many."""
    shown = [f"{pid} ({name})" if name else str(pid) for pid, name in which[:_PIDS_SHOWN]]
    if len(which) == 1:
        return f"process {shown[0]}"
    return f"{len(which)} processes ({', '.join(shown)}{', ...' if len(which) > len(shown) else ''})"


def _strangers(ledger: "Ledger") -> Iterator[str]:
    """Which programs ran without the engine, and why."""
    untold = {file: times for (file, why), times in ledger.strangers.items() if why is Stranger.NOT_TOLD}
    # Who looks for a name in one directory after the other tells of each.
    there = {file: times for file, times in islice(untold.items(), _ASKED_LIMIT) if is_there(file)}
    known = Counter({one: times for one, times in ledger.strangers.items() if one[1] in _WHY})
    known.update({(file, Stranger.STATIC): there.pop(file) for file in list(there) if is_static_program(file)})
    files = list(known)
    shown = [f"{file} ({_WHY[why]})" for file, why in files[:_FILES_SHOWN]]
    if len(files) == 1:
        file, why = files[0]
        yield f"{file} ran without the engine{_times(known[files[0]])}: it is {_WHY[why]}."
    elif files:
        more = ", ..." if len(files) > len(shown) else ""
        yield f"{len(files)} programs ran without the engine: {', '.join(shown)}{more}."
    pythons = {file: times for file, times in there.items() if is_python_program(file)}
    if pythons:
        yield (
            f"{_cleared(pythons)}: let LD_PRELOAD, PYTHONMALLOC and HEAPWITNESS_* through (tox: pass_env), or start "
            "`heapwitness run` there."
        )
    others = {file: times for file, times in there.items() if file not in pythons}
    if others:
        yield f"{_cleared(others)}: let LD_PRELOAD and HEAPWITNESS_* through, and it is watched."


def _cleared(programs: dict[str, int]) -> str:
    """That programs had no word of the engine."""
    which = " and ".join(list(programs)[:2]) + (", ..." if len(programs) > 2 else "")
    times = _times(sum(programs.values()))
    return f"{which} ran without the engine{times}, in an environment that what started it had cleared"


def _times(count: int) -> str:
    return f", {count:,} times" if count > 1 else ""
