"""How much of something programs may have done for them: so much at once, and then so much a second."""

import time


class Allowance:
    """So much at once, and then so much a second."""

    def __init__(self, most: float, rate: float) -> None:
        self._most = most
        self._rate = rate
        self._left = most
        self._since = time.monotonic()

    def left(self) -> float:
        """How much there is now."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        return self._left

    def spend(self, amount: float) -> None:
        """Take some, even when there is less."""
        self._left -= amount
