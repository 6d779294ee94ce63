"""The HTML of a mail. Pure. All that is put in is escaped, and nothing is fetched from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable

from server.notify import RESOLVED, TEST, Message
from server.notify.chart import HEIGHT, WIDTH
from server.notify.words import folded, heading, is_link, lines, plain, prose, reach, sign

MAX_TEXT, MAX_CHANGES, MAX_LINES = 4000, 50, 100
"""Characters of the rule's text; changes and groups that are listed."""
_COLOURS = {"critical": "#dc2626", "warning": "#d97706", "ok": "#16a34a", "test": "#2563eb"}

_STYLE = """\
body { margin: 0; padding: 16px; background: #f4f5f7; color: #1f2933; font: 14px/20px system-ui, -apple-system,
  "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
.card { max-width: 600px; margin: 0 auto;
 padding: 20px; border-top: 4px solid; border-radius: 4px; background: #ffffff; }
h1 { margin: 0 0 12px; font-size: 18px; line-height: 24px; }
p, ul, table, img { margin: 0 0 12px; }
td { padding: 2px 12px 2px 0; vertical-align: top; word-break: break-word; }
img { display: block; max-width: 100%; height: auto; border: 0; }
.faint { color: #52606d; }
@media (prefers-color-scheme: dark) {
  body { background: #15191e; color: #e4e7eb; }
  .card { background: #1f252d; color: #e4e7eb; }
  .faint { color: #9aa5b1; }
}
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<div class="card" style="border-top-color: {colour}">
<h1>{sign} {title}</h1>
{parts}
</div>
</body>
</html>
"""
_BUTTON = (
    '<p><a href="{link}" style="display: inline-block; padding: 8px 16px; border-radius: 4px; background: {colour}; '
    'color: #ffffff; text-decoration: none">Open the view</a></p>'
)


def page(message: Message, told: Iterable[tuple[str, str]], content_id: str) -> str:
    """The page. told: the facts; content_id: of the chart that comes with it, "" for none."""
    colour = _COLOURS[message.kind if message.kind == TEST else "ok" if message.kind == RESOLVED else message.level]
    parts = [
        _paragraph(prose(message.text, MAX_TEXT)),
        _table((_html(name), _html(said)) for name, said in told),
        _changes(message),
        _groups(message),
        _chart(message, content_id),
        _paragraph(f"Acknowledged by {plain(message.acknowledged, 100)}" if message.acknowledged else ""),
        _BUTTON.format(link=_html(message.link), colour=colour) if is_link(message.link) else "",
    ]
    return _PAGE.format(
        title=_html(heading(message)), style=_STYLE, colour=colour, sign=sign(message),
        parts="\n".join(filter(None, parts)),
    )  # fmt: skip


def _paragraph(said: str, kind: str = "") -> str:
    shown = "<br>\n".join(_html(line) for line in said.splitlines())
    opened = f'<p class="{kind}">' if kind else "<p>"
    return f"{opened}{shown}</p>" if shown else ""


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    """Of cells that are HTML already."""
    shown = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<table role="presentation">\n{shown}</table>' if shown else ""


def _changes(message: Message) -> str:
    shown = "".join(f"<li>{_html(plain(change, 300))}</li>\n" for change in message.changes[:MAX_CHANGES])
    return f"<p>What has changed:</p>\n<ul>\n{shown}</ul>" if shown else ""


def _groups(message: Message) -> str:
    shown = list(lines(message))[:MAX_LINES]
    table = _table((line.sign, f"<code>{_html(line.name)}</code>", _html(line.said)) for line in shown)
    return table + _paragraph(folded(message, len(shown)) if shown else "", "faint")


def _chart(message: Message, content_id: str) -> str:
    shown = f'<img src="cid:{content_id}" width="{WIDTH}" height="{HEIGHT}" alt="{_html(reach(message))}">'
    return shown if content_id else ""


def _html(said: str) -> str:
    return html.escape(said, quote=True)
