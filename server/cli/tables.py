"""Tables, sparklines and a bar chart made of characters."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from server.cli.terminal import number, safe

BARS = " ▁▂▃▄▅▆▇█"
HEIGHT = 8
"""Lines of a chart."""
Values = Sequence[float | None]


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table; columns that hold numbers are aligned on the right."""
    cells = [[number(value) for value in row] for row in rows]
    right = [
        all(row[i] is None or isinstance(row[i], int | float) for row in rows) and bool(rows)
        for i in range(len(header))
    ]
    names = [safe(name) for name in header]
    widths = [max(columns_of(row[i]) for row in (names, *cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = []
        for text, wide, is_right in zip(row, widths, right, strict=True):
            gap = " " * (wide - columns_of(text))
            padded.append(gap + text if is_right else text + gap)
        return "  ".join(padded).rstrip()

    return [line(names), "  ".join("─" * wide for wide in widths), *(line(row) for row in cells)]


def squeeze(values: Values, most: int) -> tuple[list[float | None], int]:
    """(at most so many values, how many of the given ones each stands for); means of neighbours, None where all are."""
    per = max(1, math.ceil(len(values) / max(1, most)))
    squeezed: list[float | None] = []
    for start in range(0, len(values), per):
        known = [value for value in values[start : start + per] if value is not None]
        squeezed.append(math.fsum(known) / len(known) if known else None)
    return squeezed, per


def span(values: Values) -> tuple[float, float]:
    """(bottom, top) of an axis for the values: from zero, unless they lie close together and far from it."""
    known = [value for value in values if value is not None]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if low > 0 and high - low < high / 4 and high > low:
        return low - (high - low) / 4, high
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low, low + 1.0)


def sparkline(values: Values, bottom: float, top: float) -> str:
    """One line; a blank where there is no value."""
    return "".join(" " if value is None else BARS[1 + _level(value, bottom, top, 7)] for value in values)


def chart(values: Values, first: str, last: str, wide: int) -> list[str]:
    """The lines of a bar chart; `first` and `last` stand below its ends. wide: columns in all."""
    bottom, top = span(values)
    marks = {HEIGHT - 1: number(top, 4), 0: number(bottom, 4), HEIGHT // 2: number((top + bottom) / 2, 4)}
    edge = max(map(len, marks.values()))
    shown, per = squeeze(values, max(10, wide - edge - 3))
    room = max(10, wide - edge - 3)
    stretch = max(1, min(6, room // max(1, len(shown))))
    levels = [None if value is None else _level(value, bottom, top, HEIGHT * 8) for value in shown]
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        cells = [" " if level is None else BARS[min(8, max(0, level - row * 8))] for level in levels]
        body = "".join(cell * (stretch - (stretch > 2)) + " " * (stretch > 2) for cell in cells)
        lines.append(f"{marks.get(row, ''):>{edge}} ┤{body}".rstrip())
    length = len(shown) * stretch
    lines.append(f"{'':>{edge}} └{'─' * length}")
    gap = max(1, length - len(first) - len(last))
    lines.append(f"{'':>{edge}}  {first}{' ' * gap}{last}" + (f"   (a bar is the mean of {per} steps)" * (per > 1)))
    return lines


def _level(value: float, bottom: float, top: float, steps: int) -> int:
    return max(0, min(steps, round((value - bottom) / (top - bottom) * steps)))
