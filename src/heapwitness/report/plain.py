"""What can be said without knowing what a finding is: names that are harmless, sizes, and the sum of a run.

Small and without imports of weight: of a run in which nothing is found nothing more is said.
"""

from typing import Protocol

from heapwitness.findings.words import count

_LONGEST = 300


class Summed(Protocol):
    """The numbers of a `findings.model.Summary`."""

    @property
    def operations(self) -> int:
        """Allocations and releases that were checked."""
        ...

    @property
    def nodes(self) -> int:
        """See `Summary`."""
        ...

    @property
    def findings(self) -> int:
        """See `Summary`."""
        ...

    @property
    def repaired(self) -> int:
        """See `Summary`."""
        ...

    @property
    def backup_bytes(self) -> int:
        """See `Summary`."""
        ...

    @property
    def processes(self) -> int:
        """See `Summary`."""
        ...

    @property
    def dropped(self) -> int:
        """See `Summary`."""
        ...

    @property
    def suppressed(self) -> int:
        """See `Summary`."""
        ...

    @property
    def known(self) -> int:
        """See `Summary`."""
        ...

    @property
    def missing(self) -> int:
        """See `Summary`."""
        ...


def clean(text: str) -> str:
    """Text of the target's, on one line, without anything that a terminal would obey; cut when very long."""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return harmless(text)


def harmless(text: str) -> str:
    """The same without a cut, for sentences of our own that hold names."""
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def amount(size: int) -> str:
    """A size in bytes for people: "96 bytes", "1.5 KiB"."""
    if size < 10_000:
        return count(size, "byte")
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min((size.bit_length() - 1) // 10, len(units))
    return f"{size / 1024**power:,.1f} {units[power - 1]}"


def summed_up(summary: Summed) -> str:
    """A summary in one line."""
    words = [
        f"{count(summary.findings, 'finding')}, {summary.repaired:,} repaired; "
        f"{count(summary.operations, 'operation')} checked",
        count(summary.nodes, "node"),
        f"{amount(summary.backup_bytes)} of backups",
    ]
    if summary.processes > 1:
        words.append(f"{summary.processes:,} processes")
    if summary.suppressed:
        words.append(f"{summary.suppressed:,} suppressed")
    if summary.known:
        words.append(f"{summary.known:,} known")
    if summary.missing:
        words.append(f"{summary.missing:,} missing")
    if summary.dropped:
        words.append(f"{summary.dropped:,} not shown")
    return ", ".join(words)
