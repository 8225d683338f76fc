"""One run from start to end: start the program, take what its engines say, sum up."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heapwitness import native
from heapwitness.supervise import places
from heapwitness.supervise.channel import Channel
from heapwitness.supervise.environment import environment
from heapwitness.supervise.log import open_log
from heapwitness.supervise.modules import private_heaps
from heapwitness.supervise.options import Options
from heapwitness.supervise.output import check_log, check_writable, write_documents, write_json
from heapwitness.supervise.program import RunningProgram
from heapwitness.supervise.python_command import python_command
from heapwitness.supervise.remarks import remarks, unseen_objects, without_lines
from heapwitness.supervise.screen import Screen
from heapwitness.supervise.target import Target, check_program, check_system, find_program

if TYPE_CHECKING:
    from heapwitness.findings.model import Report
    from heapwitness.supervise.reporter import Shower
    from heapwitness.supervise.session import Session

_TICK = 0.25
_DRAIN_LIMIT = 10.0
"""Seconds in which what was sent before the program's end is taken in, once it has ended."""

_LINGER = 0.2
"""Seconds in which processes that the program has left may end, too, or say that they are there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is started: the file, its arguments, and what is known of it beforehand."""

    file: str
    arguments: tuple[str, ...]
    target: Target
    engine: Path


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
    with Screen.to(options.output, options.advice, quiet=options.quiet, format=options.format) as screen:
        report = watch(options, plan, screen)
        if report.summary.findings or not options.quiet:
            screen.end(report)
    write_json(report, options.json)
    write_documents(report, options.outputs)
    screen.check()
    return status_of(report, options)


def status_of(report: "Report", options: Options) -> int:
    """The exit status of heapwitness after a report."""
    if report.summary.findings and options.error_exitcode:
        return options.error_exitcode
    return (report.program.exit_status if report.program is not None else None) or 0


def watch(options: Options, plan: Plan, screen: "Shower") -> "Report":
    """Run the program once.

    Args:
        options: of the run.
        plan: for its command.
        screen: shows the findings as they come.

    Raises:
        HeapwitnessError: the program cannot be started.
    """
    with Channel() as channel, open_log(options.log, channel.directory) as log:
        made = environment(options, plan.engine, channel.path, log.path, os.environ)
        extra = frozenset({options.check_signal}) if options.check_signal is not None else frozenset()
        program = RunningProgram(plan.file, plan.arguments, made, extra)
        # What is needed when there is something to hear is loaded while the program starts.
        from heapwitness.supervise.mapping import Mapper
        from heapwitness.supervise.session import Session

        places.sweep()
        mapper = Mapper(program.pid, options.wait_ms / 2000) if options.map else None
        session = Session(options.on_error, screen, mapper, trap_found=options.trap_found)
        _serve(channel, session, program)
        session.take_records(log.path, log.start)
    program.release_signals()
    senseless = session.malformed + channel.refused
    files = dict.fromkeys([*((plan.target.file,) if plan.target.file else ()), *sorted(session.modules.files)])
    heaps, name = private_heaps(files), options.command[0]
    said = [
        *remarks(session.ledger, plan.target, program, heaps, name, senseless, log.kept),
        *unseen_objects(files, os.environ.get("PYTHONMALLOC", "")),
        *(() if options.no_python_lines else without_lines(files)),
    ]
    return session.report(options.command, program.pid, program.exit_status, said)


def plan_for(options: Options) -> Plan:
    """What is started for a run, and what of it can be known beforehand.

    Raises:
        HeapwitnessError: the program cannot be run under heapwitness, or a file that is asked for cannot be written.
    """
    check_system()
    engine = native.library("preload").absolute()
    arguments = python_command(options.command) or options.command
    file = find_program(arguments[0])
    target = check_program(file, engine)
    for written in (options.json, options.output, *(path for _, path in options.outputs.files)):
        check_writable(written)
    check_log(options.log)
    return Plan(file, arguments, target, engine)


def _serve(channel: Channel, session: "Session", program: RunningProgram) -> None:
    """Answer until the program has ended and nothing that was said before is left unheard."""
    channel.wake_on(program.finished)
    ticked = time.monotonic()
    ended: float | None = None
    wait = _TICK
    while True:
        busy = channel.serve(session, wait)
        now = time.monotonic()
        if now - ticked >= _TICK and not channel.behind:
            session.tick()
            ticked = now
        if program.exit_status is None:
            continue
        if ended is None:
            channel.sleep_through(program.finished)
            ended, wait = now, 0.0
        elif now - ended > (_DRAIN_LIMIT if busy else _LINGER) or not (busy or session.ledger.running()):
            return
        elif not busy:
            wait = _LINGER / 4
