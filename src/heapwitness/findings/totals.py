"""The numbers of a run, apart from the model of reports, which takes a while to be loaded."""

from typing import NamedTuple


class Totals(NamedTuple):
    """The numbers of a `model.Summary`, which is only made for a report."""

    operations: int = 0
    nodes: int = 0
    findings: int = 0
    repaired: int = 0
    backup_bytes: int = 0
    processes: int = 0
    dropped: int = 0
    trapped: int = 0
    missing: int = 0
    watched: int = 0
    suppressed: int = 0
    known: int = 0
    interpreters: int = 0
