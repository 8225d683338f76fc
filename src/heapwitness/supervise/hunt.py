"""Running a program again and again, each time with the traps that the evidence so far asks for, until the stores
that damaged its heap are caught."""

import contextlib
import os
import shlex
import signal
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heapwitness.errors import HeapwitnessError, each
from heapwitness.findings.model import Accepted, Crash, Finding, Report, Suppression
from heapwitness.findings.sites import SITES_LIMIT, TrappedSite
from heapwitness.findings.words import count
from heapwitness.report.folding import alike, as_reading, same
from heapwitness.report.text import place
from heapwitness.supervise.limits import OwnLimits
from heapwitness.supervise.options import Options
from heapwitness.supervise.output import write_reports
from heapwitness.supervise.program import HeldSignals, asked_to_end, passed_on
from heapwitness.supervise.screen import Screen
from heapwitness.supervise.supervisor import Plan, held_signals, plan_for, status_of, watch
from heapwitness.supervise.traps import catches, is_hunted, may_pass_a_guard, numbered_traps_for, traps_for, watches_for

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance

_SITES_SHOWN = 4
_SEEN_LIMIT, _WATCHPOINTS = 64, 4
_ENDS = (128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGQUIT, 128 + signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """How to hunt: at most `tries` runs, `source` is the report of an earlier one, `before` a shell command that is run
    before each repetition. `look_inside`: without such a report runs are with poison, so that writes anywhere in
    released blocks are seen."""

    tries: int = 5
    source: Path | None = None
    before: str | None = None
    look_inside: bool = True


class _Trail:
    """What is known after some runs: findings whose store was caught, those whose store is hunted, and all others.

    `in_vain`: runs since anything new was known. `seen`: what is hunted as it was in the last run whose blocks lay as
    without traps, and in those before. `silent`: runs in which nothing went wrong though something had before.
    `crashed`: some run did. `counted`: what is hunted as a run found it that counted the blocks of its sites.
    """

    def __init__(self) -> None:
        self.in_vain = self.silent = self.numbered_runs = 0
        self._was_numbered = False
        self.crashed = False
        self.caught: list[Finding] = []
        self.hunted: list[Finding] = []
        self.others: list[Finding] = []
        self.seen: list[Finding] = []
        self.counted: list[Finding] = []
        self.accepted: list[Accepted] = []
        self.suppressions: tuple[Suppression, ...] = ()

    def take(self, report: Report, *, moved: bool = False) -> list[Finding]:
        """Add what a run found; gives what it caught.

        Args:
            moved: blocks lay at guards, which changes where others lie.
        """
        if not report.findings and not report.crashes and (self.hunted or self.crashed):
            self.silent += 1
        self.crashed |= bool(report.crashes)
        new = [one for one in report.findings if one.store is not None and not _has(self.caught, one)]
        known = len(self.hunted)
        written = [as_reading(one) for one in new]
        self.caught = [one for one in self.caught if same(one) not in written] + new
        self.hunted = [one for one in self.hunted if not self._is_caught(one)]
        for finding in report.findings:
            kept = self.hunted if is_hunted(finding) else self.others
            if finding.store is None and not _has(kept, finding) and not self._is_caught(finding):
                kept.append(finding)
        if not moved:
            self.seen = [one for one in report.findings if is_hunted(one)] + self.seen
        self.seen = [one for one in self.seen if not self._is_caught(one)][:_SEEN_LIMIT]
        self.counted = [one for one in report.findings if is_hunted(one) and not self._is_caught(one)]
        self.in_vain = self.in_vain + 1 if len(self.hunted) == known else 0
        self._take_accepted(report)
        return new

    def _take_accepted(self, report: Report) -> None:
        """What does not count, over all runs; a suppression fired as often as in the run in which it did most."""
        kept = [one.finding for one in self.accepted]
        self.accepted += [one for one in report.accepted if not _has(kept, one.finding)]
        fired = {(one.file, one.line): one.fired for one in self.suppressions}
        self.suppressions = tuple(
            msgspec.structs.replace(one, fired=max(one.fired, fired.get((one.file, one.line), 0)))
            for one in report.suppressions
        )

    def next_seen(self) -> list[Finding]:
        """As many different ones of those as there can be watchpoints, others after each run in vain."""
        different = list(dict.fromkeys(map(same, self.seen)))
        start = _WATCHPOINTS * self.in_vain % len(different) if len(different) > _WATCHPOINTS else 0
        chosen = (different + different)[start : start + _WATCHPOINTS]
        return [one for one in self.seen if same(one) in chosen]

    def next_numbered(self) -> tuple[TrappedSite, ...]:
        """Traps for the blocks that the last run counted and did not trap, with those for what else is hunted; () where
        there are none, or the last run had such."""
        # What may pass a guard is left to watchpoints, which need their tries.
        counted = [one for one in self.counted if not may_pass_a_guard(one)]
        traps = () if self._was_numbered else numbered_traps_for(counted)
        self._was_numbered = bool(traps)
        self.numbered_runs += bool(traps)
        known = [same(one) for one in counted]
        rest = traps_for([one for one in self.hunted if same(one) not in known]) if traps else ()
        return (*traps, *rest)[:SITES_LIMIT]

    def moved(self, report: Report) -> str:
        """What to say where the program did not repeat itself: blocks of one site with other numbers were hit."""
        for finding in filter(is_hunted, report.findings):
            for before in self.seen:
                then, now = _number(before), _number(finding)
                if then and now and then != now and same(before) == same(finding):
                    return (
                        f"the program does not repeat itself: of {_where(finding)} it was block {then:,} that was hit "
                        f"before, and block {now:,} now; those next to both are watched, too."
                    )
        return ""

    def findings(self) -> tuple[Finding, ...]:
        return (*self.caught, *self.hunted, *self.others)

    def is_cold(self, last: Report, *, everything: bool) -> bool:
        """Whether another run would tell nothing more. A crash that no finding explains is one that no damage near a
        block explains: then every block is trapped, until it came again in spite of that."""
        riddle = self.crashed and not self.findings() and not (everything and last.crashes)
        return not (self.hunted or riddle)

    def _is_caught(self, finding: Finding) -> bool:
        return is_hunted(finding) and any(catches(one, finding) for one in self.caught)


class _Quietly:
    """Shows no finding before the hunt is over; the sentences of each run are kept for then."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def finding(self, finding: Finding) -> None:
        pass

    def crash(self, crash: Crash) -> None:
        pass

    def sentence(self, text: str) -> None:
        self.sentences.append(text)


def hunt(options: Options, how: Hunt) -> int:
    """Hunt for the stores behind a program's findings, and report them.

    Returns:
        as `supervisor.run`, after the last run.

    Raises:
        HeapwitnessError: as `supervisor.run`; the report of an earlier run cannot be read or has nothing to hunt; the
            command before a repetition failed.
    """
    limits = OwnLimits()
    with limits.telling(), held_signals(options) as held:
        return _hunt(options, how, limits, held)


def _hunt(options: Options, how: Hunt, limits: OwnLimits, held: HeldSignals) -> int:
    plan = plan_for(options)
    trail = _Trail()
    if how.source is not None:
        _take_source(trail, how.source, plan.acceptance)
    elif how.look_inside:  # in all runs: what is held back changes where blocks lie
        options = options._replace(poison=True)
    with Screen.to(options.output, options.advice, quiet=options.quiet, format=options.format) as screen:
        tries = _Tries(options, how, plan, trail, screen)
        failure: Exception | None = None
        try:
            tries.run(limits, held)
        except Exception as error:  # raised when what was found before is told
            failure = error
        report = _summed_up(tries.last, trail, tries.quietly)
        if failure is None or report.summary.findings:
            _show(report, screen, options)
    if failure is None or report.summary.findings:
        each(partial(write_reports, report, options.json, options.outputs), screen.check, partial(_raise, failure))
    _raise(failure)
    status = report.program.exit_status if report.program is not None else None
    return status_of(report.summary.findings, status, options)


def _raise(failure: Exception | None) -> None:
    if failure is not None:
        raise failure


class _Tries:
    """The runs of a hunt.

    Attributes:
        last: the report of the last that came to its end.
        quietly: has what was said in all of them.
    """

    def __init__(self, options: Options, how: Hunt, plan: Plan, trail: _Trail, screen: Screen) -> None:
        self.last = Report()
        self.quietly = _Quietly()
        self._options, self._how, self._plan = options, how, plan
        self._trail, self._screen = trail, screen

    def run(self, limits: OwnLimits, held: HeldSignals) -> None:
        """Run the program until there is nothing more to be learnt, or it was run often enough."""
        options, how, trail, screen = self._options, self._how, self._trail, self._screen
        start = _offset_of_input()
        can_watch = True
        for number in range(1, how.tries + 1):
            traps = _traps(trail, options, can_watch)
            watches = any(one.how == "watch" for one in traps)
            guards = any(one.how != "watch" for one in traps)
            if number > 1:
                _reset(how.before, start, held)
                if asked_to_end():
                    break
            if not options.quiet:
                screen.sentence(_announced(options, how, number, traps, trail))
                if number == 2 and start is None:
                    screen.sentence(_PIPED)
            everything = number > 1 and not watches and (not trail.hunted or trail.in_vain > 1)
            sample = 1 if everything else options.trap_sample
            # Without traps in the list trapped blocks have no stand-ins, and what is watched would lie elsewhere.
            found = options.trap_found and (guards or not watches)
            now = options._replace(traps=traps, trap_sample=sample, trap_found=found)
            self.last = report = watch(now, self._plan, self.quietly, limits, held).report()
            other = trail.moved(report) if watches else ""
            caught = trail.take(report, moved=bool(traps) and not watches)
            can_watch = can_watch and not (watches and not report.summary.watched)
            if not options.quiet:
                for finding in caught:
                    screen.sentence(f"caught: {_caught(finding)}")
                if other and trail.hunted:
                    screen.sentence(other)
            if trail.is_cold(report, everything=everything) or _is_over(report) or asked_to_end():
                break


_PIPED = (
    "its standard input is no file, so it gets what is left there; give the input as a file (< FILE) to have it read "
    "from its start each time."
)


def _traps(trail: _Trail, options: Options, can_watch: bool) -> tuple[TrappedSite, ...]:
    """What to trap next: by guards, and watchpoints where these may not do; after a run in vain by watchpoints alone.
    Or by those that were asked for."""
    seen = trail.next_seen()
    watches = watches_for(seen) if can_watch and options.trap_kind in ("auto", "watch") else ()
    attempt, alone = divmod(trail.in_vain, 2) if watches else (trail.in_vain, 0)
    if watches and (alone or options.trap_kind == "watch"):
        return watches
    numbered = trail.next_numbered()
    if numbered:
        return numbered
    attempt = max(0, attempt - trail.numbered_runs)
    beside = watches_for([one for one in seen if may_pass_a_guard(one)]) if watches and not attempt else ()
    return (*traps_for(trail.hunted, attempt), *beside)[:SITES_LIMIT]


def _number(finding: Finding) -> int:
    block = finding.victim or finding.culprit
    return block.number if block is not None else 0


def _take_source(trail: _Trail, source: Path, acceptance: "Acceptance | None") -> None:
    from heapwitness.report.json import load

    report = load(source)
    if acceptance is not None:
        from heapwitness.accept.acceptance import applied

        report = applied(report, acceptance.fresh())
    # What was caught there is to be caught here, too.
    findings = tuple(msgspec.structs.replace(one, store=None) for one in report.findings)
    trail.take(msgspec.structs.replace(report, findings=findings))
    if not traps_for(trail.hunted):
        raise HeapwitnessError(
            f"{source} has no finding whose store could be hunted; it takes the JSON report of a run in which one was "
            "found."
        )


def _offset_of_input() -> int | None:
    """Where standard input is read from now; None where it cannot be read twice."""
    try:
        return os.lseek(0, 0, os.SEEK_CUR) if stat.S_ISREG(os.fstat(0).st_mode) or os.isatty(0) else _null_input()
    except OSError:
        return 0 if os.isatty(0) else None


def _null_input() -> int | None:
    return 0 if os.path.samestat(os.fstat(0), os.stat(os.devnull)) else None


def _reset(before: str | None, start: int | None, held: HeldSignals) -> None:
    if before is not None:
        status = passed_on("/bin/sh", ("sh", "-c", before), held)
        if status != 0 and not asked_to_end():
            raise HeapwitnessError(f"the command before a repetition ended with status {status}: {before}.")
    if start is not None:
        with contextlib.suppress(OSError):
            os.lseek(0, start, os.SEEK_SET)


def _announced(options: Options, how: Hunt, number: int, traps: tuple[TrappedSite, ...], trail: _Trail) -> str:
    """What is about to be run, and what is hunted in it."""
    again = " again" if number > 1 else ""
    reset = f" after `{how.before}`" if how.before is not None and number > 1 else ""
    words = f"try {number} of {how.tries}: runs `{shlex.join(options.command)}`{again}{reset}"
    watched = [one for one in traps if one.how == "watch"]
    if not traps:
        return f"{words} {'with traps on all blocks' if number > 1 else 'to see what is overwritten'}."
    shown = list(dict.fromkeys(filter(None, (_where(one) for one in trail.hunted))))
    more = ", ..." if len(shown) > _SITES_SHOWN else ""
    named = f": {', '.join(shown[:_SITES_SHOWN])}{more}" if shown else ""
    if watched and len(watched) == len(traps):
        # Python lines that reach one C call are different sites, trapped by one name.
        sites = count(max(len({one.site for one in watched}), len(shown)), "allocation site")
        return f"{words} with watchpoints beside blocks of {sites}{named}."
    rest = ", and on all other blocks" if trail.in_vain > 1 else ""
    guarded = [one for one in traps if one.how != "watch"]
    trapped = count(max(len({one.site for one in guarded}), len(shown)), "allocation site")
    if all(one.number for one in guarded):
        trapped = f"{count(len(guarded), 'block')} of {trapped}"
    beside = ", and watchpoints beside some of their blocks" if watched else ""
    return f"{words} with traps on {trapped}{named}{beside}{rest}."


def _where(finding: Finding) -> str:
    blocks = (finding.culprit, finding.suspect, finding.victim)
    site = next((block.allocated for block in blocks if block is not None and block.allocated is not None), None)
    return place(site.stack) if site is not None else ""


def _caught(finding: Finding) -> str:
    store = finding.store
    verb = "a read" if finding.access == "read" else "a store"
    return f"{verb} by {place(store.stack)}" if store is not None and store.stack else verb


def _has(kept: list[Finding], finding: Finding) -> bool:
    return any(same(one) in alike(finding) for one in kept)


def _is_over(report: Report) -> bool:
    """Whether the user ended the program, and so the hunt."""
    return report.program is not None and report.program.exit_status in _ENDS


def _summed_up(report: Report, trail: _Trail, quietly: _Quietly) -> Report:
    """The report of the whole hunt: of the last run but for its findings."""
    findings = trail.findings()
    total = sum(one.count for one in findings) + report.summary.dropped + report.summary.missing
    summary = msgspec.structs.replace(
        report.summary,
        findings=total,
        repaired=sum(one.count for one in findings if one.repaired),
        suppressed=sum(one.finding.count for one in trail.accepted if one.by == "suppression"),
        known=sum(one.finding.count for one in trail.accepted if one.by == "baseline"),
    )
    warnings = [*report.warnings, *quietly.sentences]
    if trail.hunted:
        left = count(len(trail.hunted), "finding")
        trapped = report.summary.trapped or report.summary.watched
        why = "" if trapped else ": no block of the trapped sites was allocated in the last run"
        warnings.append(f"the store of {left} was not caught{why}.")
    if trail.silent and not trail.caught:
        warnings.append(
            f"in {count(trail.silent, 'run')} nothing went wrong: it may happen now and then only; --tries N runs the "
            "program more often."
        )
    return msgspec.structs.replace(
        report,
        findings=findings,
        summary=summary,
        warnings=tuple(dict.fromkeys(warnings)),
        accepted=tuple(trail.accepted),
        suppressions=trail.suppressions,
    )


def _show(report: Report, screen: Screen, options: Options) -> None:
    for finding in report.findings:
        screen.finding(finding)
    for crash in report.crashes:
        screen.crash(crash)
    if report.summary.findings or not options.quiet:
        screen.end(report)
