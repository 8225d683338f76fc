"""Which findings a run is asked to accept; nothing that takes time to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple


class Mark(NamedTuple):
    """Why a finding is accepted: by which suppression (an index), or by the baseline."""

    by: Literal["suppression", "baseline"]
    rule: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepting:
    """Files of suppressions, and the report of an earlier run whose findings are known.

    With `at_once` a finding that a baseline may know is judged when it comes, not when all are there.
    """

    suppressions: tuple[Path, ...] = ()
    baseline: Path | None = None
    at_once: bool = False


NONE = Accepting()
"""All findings count."""
