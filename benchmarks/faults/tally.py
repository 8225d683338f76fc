"""Results counted, kept, and shown as tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from truth import Result

KINDS = (
    "heap-buffer-overflow",
    "heap-buffer-underflow",
    "header-overwrite",
    "use-after-free-write",
    "double-free",
    "invalid-free",
    "mismatched-free",
)
_SHORT = ("overflow", "underflow", "header", "after free", "double", "invalid", "mismatched")
_EXAMPLES = 4


@dataclass(slots=True)
class Row:
    """One row's counts, and some runs that were not as they should be."""

    counts: Counter[str] = field(default_factory=Counter)
    misses: dict[str, list[str]] = field(default_factory=dict)

    def share(self, part: str, whole: str) -> str:
        """A percentage that is 100 only when nothing is missing."""
        of = self.counts[whole]
        if not of:
            return ""
        missing = of - self.counts[part]
        if not missing:
            return "100"
        shown = 100 * self.counts[part] / of
        return f"{min(shown, 99.999):.{3 if shown > 99 else 1}f}"


class Tally:
    """Counts by row, in the order of the rows' first results."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(self, number: int, result: Result) -> None:
        """Count one run."""
        row = self.rows.setdefault(result.truth.row, Row())
        told = result.told[0] if len(set(result.told)) == 1 else "several" if result.told else "nothing"
        labels = ["runs", f"told {told}", f"when {result.when or 'never'}"]
        labels += ["detected"] if result.told else []
        labels += ["right"] if result.right else []
        labels += ["once"] if len(result.told) == 1 else []
        labels += ["asked"] if result.culprit is not None else []
        labels += ["named"] if result.culprit else []
        labels += ["measured", f"extent {result.extent}"] if result.extent else []
        labels += [f"repair {result.repair}"] if result.repair else []
        labels += ["mended"] if result.repair in ("yes", "no") else []
        labels += ["finished"] if result.finished else []
        row.counts.update(labels)
        for what, wrong in (
            ("not detected", not result.told),
            ("another kind", bool(result.told) and not result.right),
            ("culprit not named", result.culprit is False),
            ("another extent", result.extent == "wrong"),
            ("not restored", result.repair == "no"),
            ("not finished", not result.finished),
        ):
            if wrong:
                row.counts[what] += 1
                known = row.misses.setdefault(what, [])
                if len(known) < _EXAMPLES:
                    known.append(f"{number}: {result.remark}")

    def merge(self, other: "Tally") -> None:
        """Add what another one counted."""
        for name, theirs in other.rows.items():
            row = self.rows.setdefault(name, Row())
            row.counts.update(theirs.counts)
            for what, examples in theirs.misses.items():
                known = row.misses.setdefault(what, [])
                known.extend(examples[: _EXAMPLES - len(known)])

    def encode(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: {"counts": dict(row.counts), "misses": row.misses} for name, row in self.rows.items()}

    @classmethod
    def decode(cls, data: dict[str, Any]) -> Self:
        """From what `encode` gave."""
        tally = cls()
        tally.rows = {name: Row(Counter(one["counts"]), one["misses"]) for name, one in data.items()}
        return tally

    def total(self, names: Iterable[str]) -> Row:
        """Several rows as one."""
        row = Row()
        for name in names:
            row.counts.update(self.rows[name].counts if name in self.rows else {})
        return row

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(row.counts["runs"] for row in self.rows.values())


def outcome(tally: Tally) -> str:
    """What came of each row, in percent of its runs."""
    body = []
    for name, row in tally.rows.items():
        words = [f"{row.counts['runs']:,}", row.share("detected", "runs"), row.share("right", "runs")]
        words += [row.share("named", "asked")]
        words += [row.share(f"extent {one}", "measured") for one in ("exact", "bounded", "alike", "wrong")]
        words += [row.share("repair yes", "mended"), f"{row.counts['repair lost']:,}", row.share("finished", "runs")]
        body.append([name, *words])
    heading = ["damage", "runs", "detected", "right kind", "culprit named", "extent exact", "at least", "look-alikes"]
    return _markdown([*heading, "extent wrong", "restored", "nothing left", "finished"], body)


def moments(tally: Tally) -> str:
    """When each row's damage was detected, in runs."""
    names = sorted({one for row in tally.rows.values() for one in row.counts if one.startswith("when ")})
    body = [[name, *(f"{row.counts[one]:,}" for one in names)] for name, row in tally.rows.items()]
    return _markdown(["damage", *(one.removeprefix("when ") for one in names)], body)


def confusion(tally: Tally) -> str:
    """As what each row's damage was told, in runs; empty for 0."""
    columns = [*KINDS, "several", "nothing"]
    body = []
    for name, row in tally.rows.items():
        body.append([name, *(f"{row.counts[f'told {one}']:,}" if row.counts[f"told {one}"] else "" for one in columns)])
    return _markdown(["damage", *_SHORT, "several kinds", "nothing"], body)


def misses(tally: Tally) -> str:
    """Some runs of each kind of miss, with their numbers."""
    lines = []
    for name, row in tally.rows.items():
        for what, examples in row.misses.items():
            lines += [f"* {name}: {what}, {row.counts[what]:,} runs", *(f"  * run {one}" for one in examples)]
    return "\n".join(lines) + "\n" if lines else "none\n"


def _markdown(heading: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [heading, ["---", *["---:"] * (len(heading) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
