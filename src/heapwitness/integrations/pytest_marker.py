"""`@pytest.mark.heapwitness(poison=True)`: what can be switched for one test while the program runs."""

from dataclasses import dataclass, field

import pytest

from heapwitness import inside
from heapwitness.integrations.pytest_names import MARKER

_SWITCHED = ("poison", "check_every", "check")


@dataclass(slots=True)
class Switches:
    """What a test wants; None for as it is."""

    check: bool = True
    poison: bool | None = None
    check_every: int | None = None
    _before: list[tuple[str, int]] = field(default_factory=list)

    def on(self) -> None:
        """Switch, before the test."""
        for name, wanted in (("poison", self.poison), ("check_every", self.check_every)):
            if wanted is not None:
                self._before.append((name, inside.switch(name, int(wanted))))

    def off(self) -> None:
        """Switch back, behind it."""
        while self._before:
            inside.switch(*self._before.pop())


def switches(item: pytest.Item) -> Switches | None:
    """What the markers of a test ask for, the nearest first; None for nothing.

    Raises:
        pytest.UsageError: one asks for what cannot be switched while the program runs.
    """
    markers = list(item.iter_markers(MARKER))
    if not markers:
        return None
    wanted: dict[str, object] = {}
    for marker in reversed(markers):
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: the heapwitness marker takes names only, as in poison=True.")
        wanted.update(marker.kwargs)
    for name, value in wanted.items():
        _require(item, name, value)
    return Switches(**wanted)  # type: ignore[arg-type]


def _require(item: pytest.Item, name: str, value: object) -> None:
    if name not in _SWITCHED:
        raise pytest.UsageError(
            f"{item.nodeid}: {name} cannot be switched for one test; {', '.join(_SWITCHED)} can. Options of "
            "`heapwitness run` are for all tests: --heapwitness-options."
        )
    if name == "check_every":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise pytest.UsageError(f"{item.nodeid}: check_every must be a number of operations, 0 for never.")
    elif not isinstance(value, bool):
        raise pytest.UsageError(f"{item.nodeid}: {name} must be True or False.")
