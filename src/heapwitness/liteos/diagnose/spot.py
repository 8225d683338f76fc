"""One copy of one node's header with what its bytes should be, and a stretch of damage over such copies."""

from typing import Literal

import msgspec

SpotCopy = Literal["backup", "header"]


class HeaderSpot(msgspec.Struct, frozen=True):
    """One copy of a header: `owner` is the node whose header it is, `place` the node it lies in.

    `address` is its first byte's. `known` has a 1 for each byte of `expected` that something vouches for.
    """

    copy: SpotCopy
    owner: int
    place: int
    address: int
    expected: bytes
    known: bytes
    actual: bytes

    @property
    def stop(self) -> int:
        """The address behind its last byte."""
        return self.address + len(self.actual)

    @property
    def fill(self) -> int | None:
        """The value of all of its bytes, where they have the same; None where they don't."""
        return self.actual[0] if self.actual == self.actual[:1] * len(self.actual) else None


class HeaderRun(msgspec.Struct, frozen=True):
    """Damage from `start` to before `stop`, over `spots` in order of address.

    `certain` is the end of what something vouches for; from there on bytes only continue what was
    written. `exact` is False where the damage may go on unseen.
    """

    start: int
    certain: int
    stop: int
    exact: bool
    spots: tuple[HeaderSpot, ...]
