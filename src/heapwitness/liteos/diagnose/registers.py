"""Link registers (LOSCFG_MEM_LEAKCHECK) have no backup; whether they were overwritten shows only by their values.

Code lies together: a value that is far from every return address that intact nodes recorded is none.
This is asked only about registers right beside bytes that are known to be damaged.
"""

import bisect
import itertools
from collections.abc import Iterable

from heapwitness.liteos.diagnose.spot import HeaderSpot
from heapwitness.liteos.heap.walk import Walk
from heapwitness.liteos.layout.layout import Field, Layout

_FAR = 16 << 20
_NEAR = 64 << 10
_SEEN_LIMIT = 4096


class Registers:
    """The return addresses that a pool's intact nodes recorded."""

    def __init__(self, layout: Layout, walk: Walk) -> None:
        self._pointer = layout.pointer
        self._field = layout.control.link_registers
        seen: set[int] = set()
        if self._field is not None:
            for node in walk.nodes:
                if node.own is not None and node.intact:
                    seen.update(node.own.link_registers)
                if len(seen) > _SEEN_LIMIT:
                    break
        self._seen = sorted(seen - {0})

    def touched(self, spot: HeaderSpot, start: int) -> bool:
        """Whether damage of a header that begins at an address begins in its link registers, or right behind them."""
        field = self._field
        return field is not None and spot.address + field.offset <= start <= _behind(field, spot)

    def plausible(self, registers: Iterable[int]) -> tuple[int, ...]:
        """Of the registers of a header that is not whole, the first ones that lie where all other calls do."""
        if not self._seen:
            return ()
        low, high = self._seen[0], self._seen[-1] + _NEAR
        return tuple(itertools.takewhile(lambda one: low <= one <= high, registers))

    def first_wrong(self, spot: HeaderSpot, address: int) -> int:
        """Where damage that begins at an address of a header begins if its link registers before it are wrong too."""
        field = self._field
        if field is None or not self._seen:
            return address
        start = spot.address + field.offset
        if address != _behind(field, spot):
            return address
        at = address
        while at - self._pointer >= start and (wrong := self._wrong_from(spot, at - self._pointer)) is not None:
            at, address = at - self._pointer, wrong
        return address

    def last_wrong(self, spot: HeaderSpot, address: int) -> int:
        """Where damage that ends at an address of a header ends if its link registers behind it are wrong too."""
        field = self._field
        if field is None or not self._seen or address != spot.address + field.offset:
            return address
        while address < _behind(field, spot) and self._wrong_from(spot, address) is not None:
            address += self._pointer
        return address

    def _wrong_from(self, spot: HeaderSpot, address: int) -> int | None:
        """The first byte of a register that no return address near by explains; None when the register can be one."""
        at = address - spot.address
        data = spot.actual[at : at + self._pointer]
        value = int.from_bytes(data, "little")
        place = bisect.bisect_left(self._seen, value)
        nearest = min(self._seen[max(place - 1, 0) : place + 1], key=lambda one: abs(one - value))
        if value == 0 or abs(nearest - value) <= _FAR:
            return None
        # Its low bytes may be left of the register that was there.
        known = {one.to_bytes(self._pointer, "little") for one in self._seen}
        kept = max((_common(data, one) for one in known), default=0)
        return address + kept


def _behind(field: Field, spot: HeaderSpot) -> int:
    return spot.address + field.offset + field.size


def _common(one: bytes, other: bytes) -> int:
    return next((at for at, (left, right) in enumerate(zip(one, other, strict=True)) if left != right), len(one))
