"""One run from start to end: start the program, take what its engines say, sum up."""

import contextlib
import os
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heapwitness import native
from heapwitness.accept.asked import NONE
from heapwitness.errors import each
from heapwitness.supervise import places
from heapwitness.supervise.channel import Channel
from heapwitness.supervise.environment import environment
from heapwitness.supervise.limits import OwnLimits
from heapwitness.supervise.log import Log, open_log
from heapwitness.supervise.options import Options
from heapwitness.supervise.output import check_apart, check_log, check_writable, write_reports
from heapwitness.supervise.program import HeldSignals, RunningProgram
from heapwitness.supervise.python_command import python_command
from heapwitness.supervise.screen import Screen
from heapwitness.supervise.target import Target, check_program, check_system, find_program

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.supervise.ending import Ending
    from heapwitness.supervise.reporter import Shower
    from heapwitness.supervise.session import Session

_TICK = 0.25
_AT_REST = 0.05
"""Seconds without a message, after which what a finding would need is loaded, piece by piece."""

_YOUNG = 1.0
"""Seconds in which a program loads its libraries: it is looked at more often, so that a short one is, too."""

_DRAIN_LIMIT = 10.0
"""Seconds in which what was sent before the program's end is taken in, once it has ended."""

_FOR_A_RUN = tuple(f"heapwitness.supervise.{name}" for name in ("modules", "remarks", "session"))

_LINGER = 0.2
"""Seconds in which processes that the program has left may end, too, or say that they are there."""


class Plan(NamedTuple):
    """What is started: the file, its arguments, and what is known of it and of its findings beforehand."""

    file: str
    arguments: tuple[str, ...]
    target: Target
    engine: Path
    acceptance: "Acceptance | None" = None


def run(options: Options) -> int:
    """Run a program with the engine inside and report what is found.

    Returns:
        the exit status for heapwitness itself: the program's own (128 + signal if one ended it), or
        `options.error_exitcode` when there was a finding.

    Raises:
        HeapwitnessError: the program cannot be run under heapwitness, or a report could not be written; where
            it was the JSON report, everything was shown before.
    """
    plan = plan_for(options)
    limits = OwnLimits()
    with limits.telling(), held_signals(options) as held:
        return _run(options, plan, limits, held)


def held_signals(options: Options) -> HeldSignals:
    """Those that are held back from a run's start until its end is told."""
    return HeldSignals(frozenset({options.check_signal} if options.check_signal is not None else ()))


def _run(options: Options, plan: Plan, limits: OwnLimits, held: HeldSignals) -> int:
    with Screen.to(options.output, options.advice, quiet=options.quiet, format=options.format) as screen:
        ending = watch(options, plan, screen, limits, held)
        limits.put_back()
        documents = options.json is not None or options.outputs.are_wanted or plan.acceptance is not None
        report = ending.report() if ending.inquired.findings or documents else None
        if ending.totals.findings or not options.quiet:
            if report is not None:
                screen.end(report)
            else:
                screen.sum(ending.totals, ending.warnings, python=ending.python)
    written = [] if report is None else [partial(write_reports, report, options.json, options.outputs)]
    each(*written, screen.check)
    return status_of(ending.totals.findings, ending.status, options)


def status_of(findings: int, status: int | None, options: Options) -> int:
    """The exit status of heapwitness after a program that ended with `status`."""
    return options.error_exitcode if findings and options.error_exitcode else status or 0


def watch(options: Options, plan: Plan, screen: "Shower", limits: OwnLimits, held: HeldSignals) -> "Ending":
    """Run the program once.

    Args:
        options: of the run.
        plan: for its command.
        screen: shows the findings as they come.
        limits: of this process; they are put back when they are lowered meanwhile.
        held: signals that are held back until all is told.

    Raises:
        HeapwitnessError: the program cannot be started.
        OutOfMeans: after the program's end, where lowered limits kept from doing what is necessary.
    """
    with Channel() as channel, open_log(options.log, channel.directory) as log:
        made = environment(options, plan.engine, channel.path, log.path, os.environ)
        extra = frozenset({options.check_signal}) if options.check_signal is not None else frozenset()
        program = RunningProgram(plan.file, plan.arguments, made, extra, held.before)
        try:
            return _watched(options, plan, screen, limits, channel, log, program)
        except Exception as error:
            channel.stop()
            program.wait()
            told = limits.out_of_means(error, _kept(log))
            if told is None:
                raise
            raise told from error


def _watched(
    options: Options,
    plan: Plan,
    screen: "Shower",
    limits: OwnLimits,
    channel: Channel,
    log: Log,
    program: RunningProgram,
) -> "Ending":
    # What is needed when there is something to hear is loaded while the program starts.
    for name in _FOR_A_RUN:
        limits.retried(partial(import_module, name))
    from heapwitness.supervise.modules import is_python, private_heaps
    from heapwitness.supervise.remarks import remarks, unseen_objects, without_lines
    from heapwitness.supervise.session import Session

    places.sweep()
    mapper = None
    if options.map:
        from heapwitness.supervise.mapping import Mapper

        mapper = Mapper(program.pid, options.wait_ms / 2000)
    acceptance = plan.acceptance.fresh() if plan.acceptance is not None else None
    session = Session(
        options.on_error, screen, mapper, trap_found=options.trap_found, acceptance=acceptance, limits=limits
    )
    try:
        _serve(channel, session, program, limits)
        session.take_records(log.path, log.start)
    except Exception:
        # What was heard is shown, as far as it can be.
        channel.stop()
        limits.put_back()
        with contextlib.suppress(Exception):
            session.end(options.command, program.pid, program.exit_status)
        raise
    channel.stop()
    program.release_signals()
    senseless = session.malformed + channel.refused
    own = os.path.realpath(plan.target.file) if plan.target.file else None
    files = {**({own: None} if own else {}), **session.modules.files(but=own)}
    heaps, name = private_heaps(files), options.command[0]
    said = [
        *remarks(session.ledger, plan.target, program, heaps, name, senseless, log.kept),
        *unseen_objects(files, os.environ.get("PYTHONMALLOC", "")),
        *(() if options.no_python_lines else without_lines(files)),
    ]
    ending = session.end(options.command, program.pid, program.exit_status, said)
    return ending._replace(python=any(map(is_python, files)))


def _kept(log: Log) -> Path | None:
    """The log, if anything was written to it in this run."""
    with contextlib.suppress(OSError):
        return log.path if log.path.stat().st_size > log.start else None
    return None


def plan_for(options: Options) -> Plan:
    """What is started for a run, and what of it can be known beforehand.

    Raises:
        HeapwitnessError: the program cannot be run under heapwitness, a file that is asked for cannot be written, or
            one of what is accepted cannot be read.
    """
    check_system()
    engine = native.library("preload").absolute()
    arguments = python_command(options.command) or options.command
    file = find_program(arguments[0])
    target = check_program(file, engine)
    written = (options.json, options.output, *(path for _, path in options.outputs.files))
    for path in written:
        check_writable(path)
    check_log(options.log)
    check_apart(written, (options.log,))
    return Plan(file, arguments, target, engine, _acceptance(options))


def _acceptance(options: Options) -> "Acceptance | None":
    if options.accepting == NONE:
        return None
    from heapwitness.accept.acceptance import load

    return load(options.accepting)


def _serve(channel: Channel, session: "Session", program: RunningProgram, limits: OwnLimits) -> None:
    """Answer until the program has ended and nothing that was said before is left unheard."""
    channel.wake_on(program.finished)
    began = ticked = time.monotonic()
    ended: float | None = None
    wait, starved = _AT_REST, False
    while True:
        busy = channel.serve(session, wait)
        now = time.monotonic()
        limits.put_back()
        if channel.starved is not None:
            if starved:
                raise channel.starved
            time.sleep(_AT_REST)
        starved = channel.starved is not None
        tick = _TICK if now - began > _YOUNG else _AT_REST
        if not busy and program.exit_status is None:
            wait = 0.0 if limits.retried(session.prepare) else tick
        if now - ticked >= tick and not channel.behind:
            program.look()
            session.tick()
            ticked = now
        if program.exit_status is None:
            continue
        if ended is None:
            channel.sleep_through(program.finished)
            ended, wait = now, 0.0
        elif now - ended > (_DRAIN_LIMIT if busy else _LINGER) or not (busy or session.ledger.running()):
            break
        elif not busy:
            wait = _LINGER / 4
    session.ledger.settle()
    while channel.serve(session, 0.0) and time.monotonic() - now < _DRAIN_LIMIT:
        pass
