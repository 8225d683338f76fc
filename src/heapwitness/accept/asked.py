"""Which findings a run is asked to accept; nothing that takes time to import."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from heapwitness.findings.model import Accepted


class Mark(NamedTuple):
    """Why a finding is accepted: by which suppression (an index), or by the baseline."""

    by: Literal["suppression", "baseline"]
    rule: int | None = None


class Accepting(NamedTuple):
    """Files of suppressions, and the report of an earlier run whose findings are known.

    With `at_once` a finding that a baseline may know is judged when it comes, not when all are there.
    """

    suppressions: tuple[Path, ...] = ()
    baseline: Path | None = None
    at_once: bool = False


NONE = Accepting()
"""All findings count."""


def with_accepting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by names, of which those that `Accepting` has are together in `accepting`, where they are there."""
    if "suppressions" not in values:
        return dict(values)
    accepting = Accepting(tuple(values["suppressions"]), values["baseline"])
    rest = {name: value for name, value in values.items() if name not in Accepting._fields}
    return {**rest, "accepting": accepting}


def counts(accepted: "Iterable[Accepted]") -> dict[str, int]:
    """How many findings were suppressed, and how many known, as a summary calls them."""
    numbers = {"suppressed": 0, "known": 0}
    for one in accepted:
        numbers["suppressed" if one.by == "suppression" else "known"] += one.finding.count
    return numbers
