"""Runs on the engine: forked processes that damage their own heap, watched from outside.

The part of the supervisor is played here by its channel and its diagnosis, without the names of symbols, so that there
are hundreds of runs a second. `heapwitness run` as a whole is used by `whole.py`.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from truth import Judgement, Mode, Repair, Result, Truth, judge

from heapwitness.diagnose import with_outcome
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding, Kind
from heapwitness.layout.decode import parse_event
from heapwitness.layout.events import Event, Type
from heapwitness.memory import ProcessMemory
from heapwitness.native import library
from heapwitness.supervise import Options
from heapwitness.supervise.channel import Channel, Peer
from heapwitness.supervise.environment import environment
from heapwitness.supervise.examine import diagnosed

ROWS = {
    "overflow-fill": "overflow: a fill (memset)",
    "overflow-text": "overflow: text (strcpy)",
    "overflow-words": "overflow: words (structs, arrays)",
    "overflow-big": "overflow of a big block",
    "skipping": "overflow that leaves bytes out",
    "slack": "slack, one byte",
    "underflow": "underflow",
    "bit": "header or backup, one bit",
    "word": "header or backup, 1 to 8 bytes",
    "header": "header, whole",
    "backup": "backup, whole",
    "both": "header and its backup",
    "links": "use after free: links",
    "poison": "use after free: poison",
    "control-fixed": "control block, fixed part",
    "control-derived": "control block, derived part",
    "control-copy": "control block, its copy",
    "run-edge": "sentinel, END or tail of a run",
    "double": "double free",
    "double-big": "double free of a big block",
    "interior": "free inside of a block",
    "in-header": "free of a header",
    "misaligned": "free of no multiple of 16",
    "outside": "free of what is not on the heap",
    "family": "released by another family",
}
LINEAR = ("overflow-fill", "overflow-text", "overflow-words", "overflow-big")
POISON_EVERY = 6
"""Every so many chunks are run with --poison."""

_KINDS: tuple[Kind, ...] = (
    "heap-buffer-overflow",
    "heap-buffer-underflow",
    "header-overwrite",
    "use-after-free-write",
    "double-free",
    "invalid-free",
    "mismatched-free",
)
_LINEAR, _TERMINATED, _NO_CULPRIT = 1, 2, 8
_NOTHING_DONE = 4
_SOURCES = sorted(Path(__file__).with_name("target").glob("*.c"))


def build(directory: Path) -> Path:
    """The program, compiled."""
    program = directory / "target"
    flags = ("-std=gnu11", "-O2", "-g", "-w", "-fno-omit-frame-pointer", "-pthread")
    subprocess.run(["gcc", *flags, "-o", program, *_SOURCES], check=True)
    return program


@dataclass(slots=True)
class _Process:
    """What was heard of a process."""

    findings: list[Finding] = field(default_factory=list)
    waiting: int = 0


class _Supervisor:
    """Answers every finding after its diagnosis (a `channel.Handler`)."""

    def __init__(self) -> None:
        self.processes: dict[int, _Process] = {}

    def message(self, peer: Peer, message: bytes) -> bytes | None:
        """See `channel.Handler.message`."""
        event = parse_event(message)
        process = self.processes.setdefault(peer.pid, _Process())
        if event.type is Type.OUTCOME and event.outcome is not None:
            outcome = event.outcome
            first = len(process.findings) - process.waiting
            process.findings[first:] = [with_outcome(one, outcome) for one in process.findings[first:]]
            process.waiting = 0
        elif event.type is Type.FINDING:
            found = self._diagnose(event, peer.pid)
            process.findings.extend(found)
            process.waiting += len(found)
            return b"g"
        return None

    def unheard(self) -> None:
        """See `channel.Handler.unheard`."""

    @staticmethod
    def _diagnose(event: Event, pid: int) -> tuple[Finding, ...]:
        try:
            with ProcessMemory(pid) as memory:
                return diagnosed(event, memory, Path(f"/proc/{pid}/maps").read_text())
        except HeapwitnessError:
            return ()


def runs(program: Path, seed: int, first: int, count: int, poison: bool) -> Iterator[tuple[int, Result]]:
    """Runs `first` to before `first + count`, each with its number."""
    supervisor = _Supervisor()
    options = Options(command=(str(program),), poison=poison, check_signal=signal.SIGUSR2)
    with Channel() as channel, tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        made = environment(options, library("preload").absolute(), channel.path, log, os.environ)
        command = [str(program), str(seed), str(first), str(count), "poison" if poison else "plain"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=made) as process:
            assert process.stdout is not None
            channel.wake_on(process.stdout.fileno())
            truths: dict[int, tuple[int, Mode, Truth, int]] = {}
            notes: dict[int, str] = {}
            for line in _lines(process.stdout, channel, supervisor):
                words = line.split()
                number = int(words[1])
                if words[0] == "run":
                    truths[number] = truth_of(words)
                elif words[0] == "note":
                    notes[number] = " ".join(words[2:])
                elif number in truths:
                    pid, mode, truth, lost = truths.pop(number)
                    findings = supervisor.processes.pop(pid, _Process()).findings
                    yield number, result(findings, mode, truth, lost, int(words[2]), notes.pop(number, ""))
                elif int(words[2]) != _NOTHING_DONE:
                    raise AssertionError(f"run {number} ended with status {words[2]} before it did anything")
            channel.sleep_through(process.stdout.fileno())


def _lines(stream: IO[bytes], channel: Channel, supervisor: _Supervisor) -> Iterator[str]:
    """The program's lines, each when everything that was sent before it has been heard."""
    os.set_blocking(stream.fileno(), False)
    rest = b""
    while True:
        channel.serve(supervisor, 1.0)
        part = _read(stream.fileno())
        if part is None:
            continue
        while channel.serve(supervisor, 0.0):
            pass
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode() for line in lines)


def _read(file: int) -> bytes | None:
    try:
        return os.read(file, 1 << 16)
    except BlockingIOError:
        return None


def truth_of(words: Sequence[str]) -> tuple[int, Mode, Truth, int]:
    """What a line of the program says it is about to do: process, mode, truth, whether something is lost."""
    pid, row, mode = int(words[2]), words[3], words[4]
    block, size, maker, start, stop, wrote, wrote_end, seen, seen_end, _ = (_number(one) for one in words[5:15])
    kinds, alike, lost, flags = map(int, words[15:19])
    truth = Truth(
        row=ROWS[row],
        kinds=_kinds(kinds),
        block=0 if flags & _NO_CULPRIT else block,
        size=size,
        start=start,
        stop=stop,
        wrote=(wrote, wrote_end),
        seen=(seen, seen_end),
        linear=bool(flags & _LINEAR),
        terminated=bool(flags & _TERMINATED),
        alike=_kinds(alike),
        measured=row != "both",
        maker=maker,
    )
    return pid, "check" if mode == "check" else "operations", truth, lost


def _number(word: str) -> int:
    return 0 if word == "(nil)" else int(word, 0)


def _kinds(bits: int) -> frozenset[Kind]:
    return frozenset(kind for number, kind in enumerate(_KINDS) if bits >> number & 1)


def result(findings: Sequence[Finding], mode: Mode, truth: Truth, lost: int, status: int, note: str = "") -> Result:
    """What came of a run.

    Args:
        lost: something had nothing left to restore it from.
        status: with which the program ended.
        note: what it says of bytes that were not restored.
    """
    at_once = mode == "check" and bool(findings) and findings[0].detected.when == "check"
    judged: Judgement = judge(truth, findings, extents=at_once)
    remark = {0: "", 1: f"not restored: {note}", 2: "a payload is wrong"}.get(
        status, f"the program ended with {status}"
    )
    repair: Repair = ""
    if truth.stop > truth.start:
        repair = "lost" if lost else "yes" if status == 0 and all(one.repaired for one in findings) else "no"
    return Result(
        truth=truth,
        mode=mode,
        when=findings[0].detected.when if findings else "",
        told=tuple(one.kind for one in findings),
        right=judged.right,
        culprit=judged.culprit,
        extent=judged.extent,
        repair=repair,
        finished=status in (0, 1),
        remark="; ".join(filter(None, (*judged.remarks, remark))),
    )
