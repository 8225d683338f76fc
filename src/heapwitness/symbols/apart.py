"""Processes of one's own in which files that may be made to attack their reader are read: how they start, and what they
may take."""

import os
import resource
import signal
import sys
from pathlib import Path

import heapwitness

DESCRIPTORS_LIMIT = 1024
PROCESSOR_LIMIT = 600
"""Seconds of the processor's time, if its owner is not there to end it."""


def confine(memory: int) -> None:
    """Let this process have no more than is good for its owner: so many bytes of address space, among others."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, DESCRIPTORS_LIMIT),
        (resource.RLIMIT_CPU, PROCESSOR_LIMIT),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    # What would end our owner ends it first; it decides about us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def command(call: str) -> list[str]:
    """How to start Python with the modules that are here, and none from the directory in which the user happens to be.

    Args:
        call: a module of this folder, a function of it, and what it is given.
    """
    paths = [one for one in sys.path if os.path.isabs(one)]
    paths.append(str(Path(heapwitness.__file__).absolute().parents[1]))
    module = call[: call.index(".")]
    code = f"import sys; sys.path[:] = {paths!r}; from heapwitness.symbols import {module}; {call}"
    return [sys.executable, "-P", "-c", code]
