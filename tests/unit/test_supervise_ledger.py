"""What is counted of processes."""

from engine_messages import COMMAND, HELLO, message, section

from heapwitness.layout.decode import parse_event
from heapwitness.report.plain import summed_up
from heapwitness.supervise.ledger import Ledger


def ran(*programs: bytes) -> Ledger:
    """Processes of such programs, one after another."""
    ledger = Ledger()
    for pid, program in enumerate(programs, 1000):
        ledger.note(parse_event(message(HELLO, section(COMMAND, program), pid=pid)), pid)
    return ledger


def test_interpreters_among_processes_of_a_shell_are_told_apart() -> None:
    totals = ran(b"/bin/sh", b"/usr/bin/env", b"/opt/bin/python3.12", b"/bin/sed").totals((), 0, 0)

    assert (totals.processes, totals.interpreters) == (4, 1)
    assert "4 processes (1 of Python)" in summed_up(totals)


def test_processes_of_python_alone_are_only_counted() -> None:
    totals = ran(b"/usr/bin/python3", b"/usr/bin/python3.13t").totals((), 0, 0)

    assert summed_up(totals).endswith("2 processes")
