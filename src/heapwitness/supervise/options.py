"""What a run is asked to do."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from heapwitness.accept.asked import NONE, Accepting
from heapwitness.findings.status import FINDINGS_EXIT
from heapwitness.outputs import NOTHING, Outputs, TextFormat

if TYPE_CHECKING:
    from heapwitness.findings.sites import How, TrappedSite
    from heapwitness.report.advice import Advice

OnError = Literal["continue", "abort", "stop"]
Stacks = Literal["caller", "fast", "full"]

WAIT_MS = 10_000
TRAP_KINDS = ("end", "start", "tight", "watch")
OFTEN = 1000
"""Operations between checks, as a first try."""


class Options(NamedTuple):
    """The options of a run.

    `traps` are the allocation sites whose blocks are trapped; `trap_found`: those at which damage is found, too, from
    then on; `trap_sample`: of all blocks one in so many, 0 for none; `trap_kind` is where trapped blocks lie, if not
    where each site says. `command` is program and arguments; `check_every` in operations, 0 for never; `wait_ms` is how
    long a thread of the program waits for an answer; `error_exitcode` 0 keeps the program's own status.
    With `no_python_lines` blocks of Python programs have C stacks only.
    `accepting` says which findings do not count. `outputs` are the documents beside JSON, `map` adds the heap's map to
    them.
    """

    command: tuple[str, ...]
    on_error: OnError = "continue"
    stacks: Stacks = "fast"
    poison: bool = False
    check_every: int = 0
    check_signal: signal.Signals | None = None
    traps: "tuple[TrappedSite, ...]" = ()
    trap_found: bool = False
    trap_sample: int = 0
    trap_kind: "How | Literal['auto']" = "auto"
    wait_ms: int = WAIT_MS
    json: Path | None = None
    output: Path | None = None
    log: Path | None = None
    error_exitcode: int = FINDINGS_EXIT
    quiet: bool = False
    accepting: Accepting = NONE
    outputs: Outputs = NOTHING
    map: bool = False
    no_python_lines: bool = False
    format: TextFormat = "auto"

    def advice(self) -> "Advice":
        """How a user of this run can see more."""
        from heapwitness.report.advice import Advice

        return Advice(
            stacks="" if self.stacks == "full" else "--stacks full",
            full="--format full",
            checks="" if self.check_every else f"--check-every {OFTEN}",
            poison="" if self.poison else "--poison",
            lines="NUMBA_DEBUGINFO=1 in the environment",
        )
