"""A picture (SVG) of lines over two logarithmic axes."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#0072b2", "#d55e00", "#999999", "#009e73", "#cc79a7")
_LEFT, _TOP, _WIDTH, _HEIGHT = 50, 34, 460, 240


def svg(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Each line with its name at its end; ticks at the powers of ten."""
    points = [point for line in lines.values() for point in line]
    low_x, high_x = (limit(math.log10(x) for x, _ in points) for limit in (min, max))
    low_y = math.floor(math.log10(min(y for _, y in points)))
    high_y = math.ceil(math.log10(max(y for _, y in points)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / max(high_x - low_x, 1e-9)
        up = (math.log10(y) - low_y) / (high_y - low_y)
        return _LEFT + across * _WIDTH, _TOP + (1 - up) * _HEIGHT

    shapes = [_text(_LEFT, 18, title, weight="bold")]
    for power in range(low_y, high_y + 1):
        _, y = place(points[0][0], 10.0**power)
        shapes.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        shapes.append(_text(_LEFT - 6, y + 4, f"{10**power:,}" if power >= 0 else str(10.0**power), "end"))
    for power in range(math.ceil(low_x), math.floor(high_x) + 1):
        x, _ = place(10.0**power, points[0][1])
        shapes.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_TOP + _HEIGHT}" stroke="#ddd"/>')
        shapes.append(_text(x, _TOP + _HEIGHT + 16, f"{10**power:,}", "middle"))
    for (name, line), colour in zip(lines.items(), _COLOURS, strict=False):
        places = [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), (_, value) in zip(places, line, strict=True):
            shapes.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{value:.1f}</title></circle>'
            )
        shapes.append(_text(places[-1][0] + 8, places[-1][1] + 4, name, colour=colour))
    width, height = _LEFT + _WIDTH + 70, _TOP + _HEIGHT + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="sans-serif" font-size="10"><rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal", colour: str = "#000") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
