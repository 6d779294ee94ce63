"""What messages say: the golden files, and that no text of others does harm."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.notify import Message
from server.notify.mail_parts import Envelope, mail
from server.notify.slack_blocks import blocks, fallback, reply
from server.notify.webhook import body
from server.notify.words import BARS, amount, heading, plain, reach, span, sparkline
from tests.notify_examples import FIRST, GOLDEN, HOSTILE, MESSAGES, MINUTE, OPENED, RECIPIENTS, SENDER, many, rendered
from tests.slack_support import blocks_fault, texts_of


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_look_as_they_did(name: str) -> None:
    for file, text in rendered(name):
        assert text == file.read_text(), f"{file} differs: look, and run python -m tests.notify_examples"


def test_no_golden_file_is_left_over() -> None:
    assert {file for name in MESSAGES for file, _ in rendered(name)} == set(GOLDEN.iterdir())


nasty = st.one_of(st.text(max_size=200), st.sampled_from([*HOSTILE.values(), "&" * 3000, "<" * 3000, "`" * 50]))
messages = st.builds(
    lambda title, text, condition, unit, labels, changes, count, by: replace(
        FIRST, title=title, rule=title, text=text, condition=condition, unit=unit, severity=unit, acknowledged=by,
        changes=tuple(changes), firing=count, groups=count + 3,
        lines=tuple(replace(line, labels={**line.labels, **labels}) for line in many(count, 300)),
    ),
    nasty, nasty, nasty, nasty, st.dictionaries(nasty, nasty, max_size=5), st.lists(nasty, max_size=30),
    st.sampled_from([0, 1, 10, 200]), nasty,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(messages)
def test_slack_takes_all_and_finds_no_markup(message: Message) -> None:
    for shown in (blocks(message), blocks(message, changes=True)):
        assert blocks_fault(shown) == ""
        for text in (text for block in shown for text in texts_of(block)):
            assert not re.search(r"@(channel|here|everyone)", text["text"])
            if text["type"] == "mrkdwn":
                assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", text["text"])
                inside = re.sub(r"`[^`\n]+`", "", text["text"])
                inside = re.sub(r"^\*\w+\*\n", "", inside)
                assert not set(inside) & set("*_~`"), "nothing of it is bold, struck or code but what is meant to be"
            else:
                assert not re.search("<(?![\u2060…])", text["text"])
    assert not re.search(r"[<>]|@(channel|here|everyone)", fallback(message)) and len(fallback(message)) < 3000
    assert 0 < len(reply(message)) <= 3000


class _Tags(HTMLParser):
    """The tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src")}


OURS = "html head meta title style body div h1 p br table tr td code ul li img a"


def read(message: Message) -> tuple[EmailMessage, str, str]:
    """(mail, text, page) as a reader gets them."""
    raw = bytes(mail(message, Envelope(SENDER, RECIPIENTS), b"a chart"))
    assert max(map(len, raw.split(b"\r\n"))) <= 998 and b"\n" not in raw.replace(b"\r\n", b"") and raw.isascii()
    found = message_from_bytes(raw, policy=policy.default)
    assert isinstance(found, EmailMessage)
    text, page = found.get_body(("plain",)), found.get_body(("html",))
    assert text is not None and page is not None
    return found, text.get_content().replace("\r\n", "\n"), page.get_content()


@settings(max_examples=60, deadline=None)
@given(messages)
def test_mail_holds_no_tag_header_or_address_of_others(message: Message) -> None:
    found, text, page = read(message)
    assert [name for name in found if name.lower() in ("bcc", "cc", "reply-to")] == []
    assert found["To"] == ", ".join(RECIPIENTS) and len(found["Subject"]) < 200
    tags = _Tags()
    tags.feed(page)
    assert tags.tags <= set(OURS.split())
    assert {address.partition(":")[0] for address in tags.addresses} <= {"cid", "https"}
    assert tags.addresses >= {message.link}
    for shown in (text, found["Subject"]):
        assert not [c for c in shown if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
                    and c not in "\u200c\u200d"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(messages)
def test_a_webhook_gets_everything(message: Message) -> None:
    said = json.loads(body(message))
    assert [dict(line.labels) for line in message.lines] == [line["labels"] for line in said["lines"]]
    assert set(said) > set(Message.__dataclass_fields__)


def test_text_is_cut_and_cleaned() -> None:
    assert plain("a\x00b\r\n c\u202ed", 20) == "a b c d"
    assert plain("x" * 10_000, 10) == "x" * 9 + "…" and len(plain(" " * 100 + "y" * 100, 10)) <= 10
    assert plain("👩\u200d💻 שלום", 20) == "👩\u200d💻 שלום"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (123.25, "123.25"), (-2.5, "-2.5"), (float("inf"), "infinity"), (float("nan"), "no data"),
        (None, "no data"),
    ],
)  # fmt: skip
def test_amounts(value: float | None, text: str) -> None:
    assert amount(value) == text == amount(value, "\n").strip()
    assert amount(value, "ms") == (text if text == "no data" else f"{text} ms")


def test_a_heading_says_once_how_it_stands() -> None:
    assert heading(replace(MESSAGES["resolved"], title="Resolved: x")) == "Resolved: x"
    assert heading(replace(MESSAGES["repeat"], title="x: Resolved: y")) == "Still critical: x: Resolved: y"


def test_spans() -> None:
    seconds = [0, 59, 60, 3599, 3600, 5400, 86_400, 90_000, 8 * 86_400]
    wanted = ["0 s", "59 s", "1 min", "59 min", "1 h", "1 h 30 min", "1 d", "1 d 1 h", "8 d"]
    assert [span(each * 1000) for each in seconds] == wanted


def _line(*values: float | None) -> str:
    return sparkline(replace(FIRST, points=tuple((OPENED + i * MINUTE, value) for i, value in enumerate(values))))


def test_sparklines() -> None:
    assert _line() == _line(None, None) == _line(float("nan")) == ""
    assert _line(5.0) == "▄" and _line(5.0, 5.0, None) == "▄▄·"
    assert _line(*map(float, range(8))) == BARS
    assert _line(-1e308, float("inf"), 1e308) == "▁·█"
    assert _line(0.0, 5e-324) == "▄▄", "values that are hardly different are drawn as one"
    peak = _line(*([1.0] * 500), 9.0, *([1.0] * 499))
    assert len(peak) == 40 and peak.count("█") == 1 and set(peak) == {"▁", "█"}
    dip = _line(*([9.0] * 500), 1.0, *([9.0] * 499))
    assert dip.count("▁") == 1 and set(dip) == {"▁", "█"}
    assert reach(replace(FIRST, points=())) == ""
