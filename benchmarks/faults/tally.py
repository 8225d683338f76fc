"""Results counted, kept, and shown as tables."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from truth import Result
from why import reason

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
_REASONS = ("headers", "slack", "links", "poison", "control block")
_EXTENTS = {"extent exact": "exact", "at least": "bounded", "look-alikes": "alike", "extent wrong": "wrong"}
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

    def add(self, number: str, result: Result) -> None:
        """Count one run; `number` is its name in lists of misses."""
        row = self.rows.setdefault(result.truth.row, Row())
        told = result.told[0] if len(set(result.told)) == 1 else "several" if result.told else "nothing"
        labels = ["runs", f"told {told}", f"when {result.when or 'never'}"]
        labels += ["diagnosed"]
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
                case = f"{what}: {reason(what, result)}"
                row.counts.update((what, f"why {case}"))
                known = row.misses.setdefault(case, [])
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
    """What came of each row, in percent of its runs; columns that nobody asked for are left out."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("runs", lambda row: f"{row.counts['runs']:,}"),
        ("detected", lambda row: row.share("detected", "runs")),
        ("right kind", lambda row: row.share("right", "diagnosed")),
        ("culprit named", lambda row: row.share("named", "asked")),
        *((title, _extent(one)) for title, one in _EXTENTS.items()),
        ("restored", lambda row: row.share("repair yes", "mended")),
        ("nothing left", lambda row: f"{row.counts['repair lost']:,}" if row.counts["repair lost"] else ""),
        ("finished", lambda row: row.share("finished", "runs")),
    ]
    cells = [[show(row) for row in tally.rows.values()] for _, show in columns]
    kept = [number for number, column in enumerate(cells) if any(column)]
    body = [[name, *(cells[number][place] for number in kept)] for place, name in enumerate(tally.rows)]
    return _markdown(["damage", *(columns[number][0] for number in kept)], body)


def _extent(label: str) -> Callable[[Row], str]:
    return lambda row: row.share(f"extent {label}", "measured")


def moments(tally: Tally) -> str:
    """When each row's damage was detected, in runs."""
    names = sorted({one for row in tally.rows.values() for one in row.counts if one.startswith("when ")})
    body = [[name, *(f"{row.counts[one]:,}" for one in names)] for name, row in tally.rows.items()]
    return _markdown(["damage", *(one.removeprefix("when ") for one in names)], body)


def confusion(tally: Tally) -> str:
    """As what each row's damage was told, in runs; empty for 0. Without a diagnosis, as which reason."""
    diagnosed = any(row.counts["diagnosed"] for row in tally.rows.values())
    columns = (*KINDS, "several", "nothing") if diagnosed else (*_REASONS, "several", "nothing")
    titles = (*_SHORT, "several kinds", "nothing") if diagnosed else columns
    body = []
    for name, row in tally.rows.items():
        cells = [f"{row.counts[f'told {one}']:,}" if row.counts[f"told {one}"] else "" for one in columns]
        if any(cells):
            body.append([name, *cells])
    return _markdown(["damage", *titles], body)


def misses(tally: Tally) -> str:
    """How many runs are of each class of misses, which rows have them, and an example."""
    classes: dict[str, list[tuple[str, int, str]]] = {}
    for name, row in tally.rows.items():
        for case, examples in row.misses.items():
            classes.setdefault(case, []).append((name, row.counts[f"why {case}"], examples[0] if examples else ""))
    body = []
    for case, parts in sorted(classes.items()):
        parts.sort(key=lambda part: -part[1])
        number = sum(count for _, count, _ in parts)
        rows = ", ".join(f"{name} {count:,}" for name, count, _ in parts)
        body.append([*case.split(": ", 1), f"{number:,}", rows, parts[0][2].split(":", 2)[1] if parts[0][2] else ""])
    return _markdown(["miss", "class", "runs", "of", "for example run"], body) if body else "none\n"


def _markdown(heading: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [heading, ["---", *["---:"] * (len(heading) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
