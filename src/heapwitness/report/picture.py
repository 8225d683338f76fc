"""The picture of damaged bytes, as rows of text: where, in which part of a node, what is there, what should be.

Damaged bytes stand in brackets, so that nothing depends on colour.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from heapwitness.findings.model import Damage, Stretch
from heapwitness.findings.words import count

BYTES = 8
"""Bytes in a row: a row fits into 80 columns."""

_UNKNOWN = ".."


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `cells` has a pair for each byte: its two hexadecimal digits, and whether it is damaged.

    `expected` is what should be there, "" when nothing is damaged or nothing vouches for it. A row
    without cells only has a `note`.
    """

    place: str
    part: str
    cells: tuple[tuple[str, bool], ...] = ()
    text: str = ""
    expected: str = ""
    note: str = ""

    @property
    def bytes(self) -> str:
        """The bytes with brackets around what is damaged, always of the same width."""
        before = False
        parts: list[str] = []
        for digits, damaged in self.cells:
            parts.append("[" if damaged and not before else "]" if before and not damaged else " ")
            parts.append(digits)
            before = damaged
        parts.append("]" if before else " ")
        return "".join(parts).ljust(3 * BYTES + 1)


def rows(damage: Damage) -> Iterator[Row]:
    """The rows of a damage's picture; where none was taken, of the damaged bytes alone."""
    stretches = damage.picture or (
        Stretch(
            copy=damage.copies[0] if damage.copies else "payload",
            address=damage.address,
            expected=damage.expected,
            actual=damage.actual,
            missing=damage.length - damage.shown,
        ),
    )
    origin = damage.address - damage.offset if damage.offset is not None else None
    for stretch in stretches:
        yield from _stretch(damage, stretch, origin)


def _stretch(damage: Damage, stretch: Stretch, origin: int | None) -> Iterator[Row]:
    size = len(stretch.actual) // 2
    marks = [_is_damaged(damage, stretch, number) for number in range(size)]
    part = stretch.copy
    known = all(
        _pair(stretch.expected, number) != _UNKNOWN or _pair(stretch.actual, number) == _UNKNOWN
        for number in range(size)
    )
    if part != "payload" and known and not any(marks):
        yield Row(_place(stretch.address, origin), part, note="as it should be")
    else:
        for start in range(0, size, BYTES):
            yield _row(stretch, start, min(size, start + BYTES), marks, part if start == 0 else "", origin)
    if stretch.missing > 0:
        yield Row("", "", note=f"... {count(stretch.missing, 'byte')} ...")


def _is_damaged(damage: Damage, stretch: Stretch, number: int) -> bool:
    at = stretch.address + number
    if not damage.address <= at < damage.address + damage.length:
        return False
    return _pair(stretch.expected, number) != _pair(stretch.actual, number)


def _pair(digits: str, number: int) -> str:
    return digits[2 * number : 2 * number + 2]


def _row(stretch: Stretch, start: int, stop: int, marks: list[bool], part: str, origin: int | None) -> Row:
    digits = [_pair(stretch.actual, number) for number in range(start, stop)]
    should = [_pair(stretch.expected, number) for number in range(start, stop)]
    damaged = marks[start:stop]
    vouched = any(mark and one != _UNKNOWN for mark, one in zip(damaged, should, strict=True))
    return Row(
        place=_place(stretch.address + start, origin),
        part=part,
        cells=tuple(zip(digits, damaged, strict=True)),
        text="".join(_character(one) for one in digits),
        expected=" ".join(should) if vouched else "",
    )


def _place(address: int, origin: int | None) -> str:
    if origin is None:
        return f"{address:#x}"
    return f"{address - origin:+,}" if address != origin else "0"


def _character(digits: str) -> str:
    if digits == _UNKNOWN:
        return "."
    try:
        value = int(digits, 16)
    except ValueError:  # a document from elsewhere
        return "."
    return chr(value) if 0x20 <= value < 0x7F else "."
