"""The damaged bytes for a page: every byte with what it is part of, what it was and what it should be."""

from collections.abc import Iterator
from dataclasses import dataclass

from heapwitness.findings.model import Damage, Finding
from heapwitness.report import picture, text

_PARTS = {
    "slack": "slack: bytes behind the requested size, with a known pattern",
    "backup": "backup of the next block's header",
    "header": "header of a block",
    "links": "links of a released block",
    "payload": "payload: the block's own data",
    "control": "control block of the heap",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One byte: its digits, what it should be ("" where it is right or nothing tells), and whether it is damaged."""

    digits: str
    should: str
    damaged: bool


@dataclass(frozen=True, slots=True)
class ByteRow:
    """A row of bytes. `place` is where the first one lies, `at` the same as a number for counting on."""

    place: str
    at: int
    part: str
    named: bool
    cells: tuple[Cell, ...]
    characters: str
    should: str
    note: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All rows, what places count from (short and long), whether they are addresses, and what each part is."""

    origin: str
    counted: str
    absolute: bool
    rows: tuple[ByteRow, ...]
    parts: tuple[tuple[str, str], ...]


def picture_of(finding: Finding) -> Picture | None:
    """The picture of a finding's damage; None where it has none."""
    damage = finding.damage
    if damage is None:
        return None
    rows = tuple(_rows(damage))
    parts = dict.fromkeys(row.part for row in rows if row.part)
    edge = "end" if finding.kind == "heap-buffer-overflow" else "start"
    origin = "address" if damage.offset is None else f"from {edge}"
    meanings = tuple((part, _PARTS.get(part, part)) for part in parts)
    return Picture(origin, f"from the block's {edge}", damage.offset is None, rows, meanings)


def _rows(damage: Damage) -> Iterator[ByteRow]:
    """The rows of the terminal's picture, each with its part and the number of its first byte."""
    part = ""
    for row in picture.rows(damage):
        part = row.part or part
        should = row.expected.split()
        cells = tuple(
            Cell(digits, should[number] if should and damaged else "", damaged)
            for number, (digits, damaged) in enumerate(row.cells)
        )
        yield ByteRow(
            place=row.place,
            at=_number(row.place),
            part=part if row.place else "",
            named=bool(row.part),
            cells=cells,
            characters=row.text,
            should=row.expected,
            note=text.harmless(row.note),
        )


def _number(place: str) -> int:
    return int(place.replace(",", ""), 0) if place else 0
