"""How often the heap is checked between tests, by clocks that the test sets."""

from dataclasses import dataclass

import pytest

from heapwitness.integrations import pytest_pace
from heapwitness.integrations.pytest_pace import FREE_SECONDS, SHARE, Pace


@dataclass
class Clock:
    """Time on the wall and of the processor, in seconds; a check takes `cost` of both."""

    now: float = 100.0
    cost: float = FREE_SECONDS / 2
    asked: int = 0
    checks: int = 0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        self.asked += 1
        return self.now

    def total(self) -> int:
        self.checks += 1
        self.now += self.cost
        return 0

    def noticed(self) -> int:
        return 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pytest_pace, "time", made)
    monkeypatch.setattr(pytest_pace, "inside", made)
    return made


def test_once_the_budget_is_spent_the_processors_time_is_asked_for_once(clock: Clock) -> None:
    pace = Pace(each=False)
    for _ in range(5):
        pace.look("a test", 0)
    before = clock.asked

    for _ in range(100):
        pace.look("a test", 0)

    assert (clock.asked - before, clock.checks) == (0, 2)


def test_when_a_share_of_the_time_has_gone_by_there_is_a_check_again(clock: Clock) -> None:
    pace = Pace(each=False)
    for _ in range(5):
        pace.look("first", 0)
    clock.now += 1.01 * clock.cost / SHARE

    found = pace.look("second", 0)

    assert (clock.checks, found) == (3, (0, "first"))
