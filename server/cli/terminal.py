"""Writing to a terminal: safe text, colours where they are wanted, one line that changes, numbers and times."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime, tzinfo
from typing import TextIO

DIM, BOLD, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = 2, 1, 31, 32, 33, 34, 35, 36


def safe(text: object) -> str:
    """Text from elsewhere without what a terminal would obey: control characters are shown as escapes."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


def has_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows colours and nobody said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, *codes: int, on: bool) -> str:
    """The text in a colour or weight where `on`."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if on and codes else text


def width(default: int = 80) -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size((default, 24)).columns


def number(value: object, digits: int = 6) -> str:
    """A number as people read it; `–` for none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return safe(value)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    if abs(value) < 1e-4 or abs(value) >= 1e15:
        return f"{value:.4g}"
    decimals = max(0, digits - len(str(int(abs(value)))))
    return f"{value:,.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:,.0f}"


def local_time(iso: str, dated: bool = False, zone: tzinfo | None = None) -> str:
    """An ISO time of the server's as local time, or that of a zone: of the day with ms, or with the date."""
    try:
        moment = datetime.fromisoformat(iso).astimezone(zone)
    except ValueError:
        return safe(iso)
    if dated:
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


class StatusLine:
    """A line on a terminal that is written over again and again, at most ten times a second; silent elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._next = 0.0
        self._shown = False

    def show(self, text: str, now: bool = False) -> None:
        """Replace the line."""
        moment = time.monotonic()
        if not self._live or (moment < self._next and not now):
            return
        self._next = moment + 0.1
        self._shown = True
        self._stream.write("\r" + text[: width() - 1] + "\x1b[K")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be written."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
