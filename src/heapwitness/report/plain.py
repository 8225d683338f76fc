"""What can be said without knowing what a finding is: names that are harmless, sizes, and the sum of a run.

Small and without imports of weight: of a run in which nothing is found nothing more is said.
"""

from typing import TYPE_CHECKING

from heapwitness.findings.words import count

if TYPE_CHECKING:
    from heapwitness.findings.model import Summary
    from heapwitness.findings.totals import Totals

_LONGEST = 300


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


def summed_up(summary: "Summary | Totals", *, insides: bool = True) -> str:
    """A summary in one line.

    Args:
        insides: with what the heap is made of, which somebody who writes Python need not know.
    """
    words = [
        f"{count(summary.findings, 'finding')}{_mended(summary)}; {count(summary.operations, 'operation')} checked",
        *([count(summary.nodes, "node"), f"{amount(summary.backup_bytes)} of backups"] if insides else []),
    ]
    counted = ("suppressed", summary.suppressed), ("known", summary.known), ("missing", summary.missing)
    if summary.processes > 1:
        some = 0 < summary.interpreters < summary.processes
        words.append(f"{summary.processes:,} processes{f' ({summary.interpreters:,} of Python)' if some else ''}")
    words += [f"{number:,} {name}" for name, number in counted if number]
    if summary.dropped:
        words.append(f"{summary.dropped:,} not shown")
    return ", ".join(words)


def _mended(summary: "Summary | Totals") -> str:
    """How many were repaired; of those that nobody looked at it is not known."""
    unknown = summary.dropped + summary.missing
    if not unknown:
        return f", {summary.repaired:,} repaired"
    return f" ({summary.repaired:,} repaired, {unknown:,} not looked at)"
