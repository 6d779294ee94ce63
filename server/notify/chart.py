"""A small chart of a message's points, as PNG. Pillow is imported when the first one is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.notify.words import amount

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT = 560, 160
"""Of the picture where it is shown; it has twice as many pixels each way."""
_SCALE = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 76, 12, 24
_PAPER, _INK, _GRID, _LINE, _LIMIT = "#ffffff", "#52606d", "#e4e7eb", "#2563eb", "#dc2626"

Points = Sequence[tuple[int, float | None]]
_Place = tuple[float, float]


def draw(points: Points, threshold: float | None, unit: str = "") -> bytes:
    """PNG of (ms, value) points and a dashed line at the threshold; a gap where a value is None. b"" where none is
    known. Blocks for some 20 ms."""
    known = [(at, value) for at, value in points if value is not None and math.isfinite(value)]
    if not known:
        return b""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _PAPER)
    pen = ImageDraw.Draw(image)
    pen.font = ImageFont.load_default(11 * _SCALE)
    limit = threshold if threshold is not None and math.isfinite(threshold) else None
    axes = _Axes(points[0][0], points[-1][0], [value for _, value in known], limit)
    _frame(pen, axes, unit)
    for run in _runs(points):
        places = [axes.place(at, value) for at, value in run]
        if len(places) > 1:
            pen.line(places, fill=_LINE, width=2 * _SCALE, joint="curve")
        else:
            pen.circle(places[0], 3 * _SCALE, fill=_LINE)
    if limit is not None:
        _dashes(pen, axes.place(axes.begin, limit)[1], amount(limit, unit)[:14])
    pen.circle(axes.place(*known[-1]), 3 * _SCALE, fill=_LINE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


class _Axes:
    """Where a time and a value lie on the picture."""

    def __init__(self, begin: int, end: int, values: list[float], limit: float | None) -> None:
        self.begin, self.end = begin, end
        self.low, self.high = min(values), max(values)
        shown = [*values, *([] if limit is None else [limit])]
        self._base = min(shown)
        self._height = max(shown) / 2 - self._base / 2  # halved: the whole may be infinite

    def place(self, at: int, value: float) -> _Place:
        """In pixels."""
        width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        right = (at - self.begin) / (self.end - self.begin) if self.end > self.begin else 0.5
        up = (value / 2 - self._base / 2) / self._height if self._height > 0 else 0.5
        return (_LEFT + right * width) * _SCALE, (_TOP + (1 - up) * height) * _SCALE


def _frame(pen: ImageDraw, axes: _Axes, unit: str) -> None:
    """Lines at the lowest and highest value, and what they are; the first and the last time."""
    edge = (WIDTH - _RIGHT) * _SCALE
    for value in dict.fromkeys((axes.high, axes.low)):
        height = axes.place(axes.begin, value)[1]
        pen.line([(_LEFT * _SCALE, height), (edge, height)], fill=_GRID, width=_SCALE)
        pen.text((edge + 6 * _SCALE, height), amount(value, unit)[:14], fill=_INK, anchor="lm")
    floor = (HEIGHT - 6) * _SCALE
    for at, left, anchor in ((axes.begin, _LEFT * _SCALE, "ls"), (axes.end, edge, "rs")):
        text = datetime.fromtimestamp(at // 1000, UTC).strftime("%d %b %H:%M")
        pen.text((left, floor), text, fill=_INK, anchor=anchor)


def _dashes(pen: ImageDraw, height: float, name: str) -> None:
    pen.text((_LEFT * _SCALE, height - 3 * _SCALE), name, fill=_LIMIT, anchor="ls")
    for left in range(_LEFT, WIDTH - _RIGHT, 8):
        pen.line([(left * _SCALE, height), ((left + 5) * _SCALE, height)], fill=_LIMIT, width=_SCALE)


def _runs(points: Points) -> list[list[tuple[int, float]]]:
    """The stretches of known values."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in points:
        if value is not None and math.isfinite(value):
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
