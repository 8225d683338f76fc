"""How often the whole heap is checked between tests.

A check takes some 16 ns for each block, which is more than many a small test takes. So checks have a budget: part
of a second at first, in which there is one after each phase of each test, and a share of the time that goes by.
Beyond it several phases share a check, and what it finds is bounded by the last one before.
"""

import math
import time

from heapwitness import inside

FREE_SECONDS = 0.6
SHARE = 0.1
"""Of the processor time that all else takes. A check costs up to twice what it takes itself: it leaves headers in the
processor's caches."""


class Pace:
    """Looks for findings.

    Args:
        each: always check.
    """

    def __init__(self, *, each: bool) -> None:
        self._each = each
        self._began = time.process_time()
        self._spent = 0.0
        self._cost = 0.0
        self._extra = 0.0
        # By the clock on the wall, which is cheap to ask: until then the budget cannot be there.
        self._not_before = 0.0
        # The first phase since the last check of everything.
        self._since = ""

    def look(self, place: str, known: int, *, surely: bool = False) -> tuple[int, str]:
        """Look for findings: in all of the heap, if that is due, `surely` wanted, or something was noticed anyway.

        Args:
            place: what has just ended, in words.
            known: how many findings there were at the last look.

        Returns:
            how many there are, and the first phase in which those that are new may have been made; "" for the one that
            has just ended.
        """
        is_due = self._each or surely or self._is_due()
        if not is_due and inside.noticed() == known:
            self._since = self._since or place
            return known, ""
        now = time.process_time()
        count = inside.total()
        self._cost = time.process_time() - now
        self._spent += self._cost
        since, self._since = self._since, ""
        if since and count != known:
            # They are told apart again for a while.
            self._extra += FREE_SECONDS
            self._not_before = 0.0
        return count, since

    def _is_due(self) -> bool:
        """Whether the budget is there. The processor's time is asked for seldom: a process that asks for it may have to
        let others go first. It goes by no faster than the clock's while one thread runs."""
        clock = time.monotonic()
        if clock < self._not_before:
            return False
        budget = FREE_SECONDS + self._extra + SHARE * (time.process_time() - self._began - self._spent)
        missing = self._spent + self._cost - budget
        if missing <= 0:
            return True
        self._not_before = clock + missing / SHARE if SHARE else math.inf
        return False
