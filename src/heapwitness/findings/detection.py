"""How it is told that something was noticed."""

from collections.abc import Iterable

import msgspec

from heapwitness.findings.model import Detected, Finding, Frame, When


def detection(when: When, *, thread: int = 0, thread_name: str = "", pid: int = 0, pcs: Iterable[int] = ()) -> Detected:
    """A detection, of which no more may be known than its occasion.

    Args:
        pcs: the stack as bare addresses, innermost first.
    """
    return Detected(when=when, thread=thread, thread_name=thread_name, pid=pid, stack=bare_stack(pcs))


def bare_stack(pcs: Iterable[int]) -> tuple[Frame, ...]:
    """A stack of which only the addresses are known."""
    return tuple(Frame(pc=pc) for pc in pcs)


def with_lines(finding: Finding, frames: tuple[Frame, ...]) -> Finding:
    """The finding with Python frames behind the C frames of its detection."""
    detected = finding.detected
    return msgspec.structs.replace(
        finding, detected=msgspec.structs.replace(detected, stack=(*detected.stack, *frames))
    )
