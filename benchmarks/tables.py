"""Results as a table for the terminal, as Markdown and as a picture (SVG)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from measure import Cell

Results = dict[str, dict[str, Cell]]  # row -> column -> cell


@dataclass(frozen=True, slots=True)
class Table:
    """Results with a heading; `unit` is that of the first column's times."""

    title: str
    unit: str
    columns: tuple[str, ...]
    results: Results

    def ratios(self, column: str, peak: bool) -> list[float]:
        """The ratios of a column to the first, over the rows that have both."""
        cells = [row[column] for row in self.results.values() if column in row and not math.isnan(row[column].time)]
        return [cell.peak_ratio if peak else cell.time_ratio for cell in cells]


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; NaN for no values."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else math.nan


def lines(table: Table, peak: bool = False) -> list[list[str]]:
    """The table as words: a heading, a row each, geometric mean and worst."""
    base, *others = table.columns
    heading = ["", f"{base}, {'MiB' if peak else table.unit}", *others]
    body = []
    for name, row in table.results.items():
        first = row[base].peak / 1024 if peak else row[base].time
        words = [name, _figure(first)]
        for column in others:
            cell = row.get(column)
            words.append("-" if cell is None else _ratio(cell.peak_ratio if peak else cell.time_ratio))
        body.append(words)
    means = [_ratio(geometric_mean(table.ratios(column, peak)), "-") for column in others]
    worst = [_ratio(max(table.ratios(column, peak), default=math.nan), "-") for column in others]
    return [heading, *body, ["geometric mean", "", *means], ["worst", "", *worst]]


def text(table: Table, peak: bool = False) -> str:
    """The table with aligned columns."""
    words = lines(table, peak)
    widths = [max(len(line[i]) for line in words) for i in range(len(words[0]))]
    title = f"{table.title}: {'peak memory' if peak else 'time'}, ratio to {table.columns[0]}"
    out = [title, "-" * len(title)]
    for line in words:
        rest = [word.rjust(width) for word, width in zip(line[1:], widths[1:], strict=True)]
        out.append("  ".join([line[0].ljust(widths[0]), *rest]).rstrip())
    return "\n".join(out) + "\n"


def markdown(table: Table, peak: bool = False) -> str:
    """The table as Markdown, under a heading of its own."""
    heading, *body = lines(table, peak)
    title = f"### {table.title}: {'peak memory' if peak else 'time'}, ratio to {table.columns[0]}"
    rows = [heading, ["---", *["---:"] * (len(heading) - 1)], *body]
    return "\n".join([title, "", *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


# Colours that stay apart in grey and for the colour-blind (Okabe and Ito).
_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442"),
    *("#7a4fa3", "#8c6d31", "#444444"),
)
_ROW, _BAR, _LEFT, _WIDTH = 7, 6, 190, 560
_LETTER = 6  # about the width of one


def svg(tables: Sequence[Table]) -> str:
    """All tables' time ratios as horizontal bars, a line at 1; a column has one colour in all of them."""
    shapes: list[str] = []
    order = list(dict.fromkeys(column for table in tables for column in table.columns[1:]))
    colours = {column: _COLOURS[index % len(_COLOURS)] for index, column in enumerate(order)}
    y = 20
    for table in tables:
        others = table.columns[1:]
        limit = max([2.0, *(min(ratio, 4.0) for column in others for ratio in table.ratios(column, False))])
        unit = _WIDTH / limit
        shapes.append(_text(8, y, f"{table.title}: time, ratio to {table.columns[0]}", weight="bold"))
        x = float(_LEFT)
        for column in others:
            shapes.append(f'<rect x="{x:.0f}" y="{y + 6}" width="10" height="10" fill="{colours[column]}"/>')
            shapes.append(_text(x + 13, y + 15, column))
            x += 27 + _LETTER * len(column)
        top = y = y + 26
        for name, row in table.results.items():
            shapes.append(_text(_LEFT - 6, y + len(others) * _ROW / 2 + 4, name, anchor="end"))
            for index, column in enumerate(others):
                if column in row and not math.isnan(row[column].time):
                    ratio = row[column].time_ratio
                    width = min(ratio, limit) * unit
                    at = y + index * _ROW
                    shapes.append(
                        f'<rect x="{_LEFT}" y="{at}" width="{width:.1f}" height="{_BAR}" fill="{colours[column]}">'
                        f"<title>{escape(column)} {ratio:.2f}</title></rect>"
                    )
                    if ratio > limit:
                        shapes.append(_text(_LEFT + _WIDTH + 4, at + 6, f"{ratio:.1f}", size=_BAR + 1))
            y += len(others) * _ROW + 6
        x = _LEFT + unit
        shapes.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{y}" stroke="#000" stroke-dasharray="3 3"/>')
        y += 24
    width = _LEFT + _WIDTH + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}"'
        f' font-family="sans-serif" font-size="10"><rect width="{width}" height="{y}" fill="#fff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal", size: int = 10) -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def _ratio(value: float, nothing: str = "failed") -> str:
    return nothing if math.isnan(value) else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
