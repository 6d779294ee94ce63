"""The table of figures."""

from __future__ import annotations

from dataclasses import dataclass

WIDTHS = (62, 12, 12, 22, 7)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what, how much, in which unit, what it should be, and what a peer makes of the same."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    """The target is a floor; else a ceiling."""
    peer: float | None = None
    peer_name: str = ""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


HEADER = ("figure", "value", "target", "peer", "ratio")


def line(cells: tuple[str, ...]) -> str:
    """One line of the table."""
    name, *rest = cells
    return f"{name:<{WIDTHS[0]}}" + "".join(f" {cell:>{width}}" for cell, width in zip(rest, WIDTHS[1:], strict=True))


def render(figure: Figure) -> str:
    """The line of a figure, and its note below."""
    mark = {None: "", True: "", False: " !"}[figure.holds]
    target = "" if figure.target is None else ("≥ " if figure.at_least else "≤ ") + number(figure.target) + mark
    peer = "" if figure.peer is None else f"{figure.peer_name} {number(figure.peer)}"
    ratio = "" if not figure.peer else f"{figure.value / figure.peer:.2f}"
    text = line((f"{figure.name}, {figure.unit}", number(figure.value), target, peer, ratio))
    return f"{text}\n    {figure.note}" if figure.note else text
