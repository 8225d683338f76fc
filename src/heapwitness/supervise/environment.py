"""The environment with which the engine is loaded into a program, and told what to do there."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from heapwitness.errors import HeapwitnessError
from heapwitness.supervise.options import Options

if TYPE_CHECKING:
    from heapwitness.findings.sites import How, TrappedSite

_SEPARATORS = frozenset(" :\t\n")
PREFIX = "HEAPWITNESS_"
_OURS = (
    "SOCKET",
    "LOG",
    "STACKS",
    "ON_ERROR",
    "WAIT_MS",
    "POISON",
    "CHECK_EVERY",
    "CHECK_SIGNAL",
    "TRAPS",
    "TRAP_FOUND",
    "TRAP_SAMPLE",
    "MAP",
)
_NAMES = frozenset(PREFIX + name for name in _OURS)


def environment(
    options: Options, engine: Path, socket: Path, log: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the program.

    What was preloaded before is still preloaded, after the engine. Python programs ask malloc for every
    block, unless PYTHONMALLOC says otherwise; other programs don't look at that variable.

    Args:
        options: of the run.
        engine: the library to load.
        socket: where a supervisor listens.
        log: the file for records when nobody answers, an absolute path.
        inherited: the environment of heapwitness itself; what it tells an engine is left out.

    Raises:
        HeapwitnessError: the dynamic linker could not be given the engine's path.
    """
    library = str(engine)
    if _SEPARATORS & set(library):
        raise HeapwitnessError(
            f"heapwitness is installed as {library!r}, and LD_PRELOAD can hold no path with a space or a colon; "
            "install it in another directory."
        )
    made = {name: value for name, value in inherited.items() if name not in _NAMES}
    made.setdefault("PYTHONMALLOC", "malloc")
    others = [one for one in made.get("LD_PRELOAD", "").replace(":", " ").split() if one != library]
    made["LD_PRELOAD"] = ":".join([library, *others])
    made[f"{PREFIX}SOCKET"] = str(socket)
    made[f"{PREFIX}LOG"] = str(log)
    made[f"{PREFIX}STACKS"] = options.stacks
    made[f"{PREFIX}ON_ERROR"] = options.on_error
    made[f"{PREFIX}WAIT_MS"] = str(options.wait_ms)
    if options.poison:
        made[f"{PREFIX}POISON"] = "1"
    if options.check_every:
        made[f"{PREFIX}CHECK_EVERY"] = str(options.check_every)
    if options.check_signal is not None:
        made[f"{PREFIX}CHECK_SIGNAL"] = str(int(options.check_signal))
    if options.no_python_lines:
        made[f"{PREFIX}PYTHON_LINES"] = "0"
    if options.map:
        made[f"{PREFIX}MAP"] = "1"
    if options.trap_sample:
        made[f"{PREFIX}TRAP_SAMPLE"] = str(options.trap_sample)
    if options.trap_found:
        made[f"{PREFIX}TRAP_FOUND"] = "1"
    if options.traps:
        from heapwitness.findings.sites import encoded

        made[f"{PREFIX}TRAPS"] = encoded(_of_kind(one, options.trap_kind) for one in options.traps)
    return made


def _of_kind(trap: "TrappedSite", kind: "How | Literal['auto']") -> "TrappedSite":
    return trap if kind == "auto" or kind == trap.how else trap._replace(how=kind, offset=0, place=None)
