"""Messages to look at: what each channel makes of them lies in tests/golden/notify.

`python -m tests.notify_examples` writes those files anew; look at the difference before it is committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from server.notify import FIRING, REPEAT, RESOLVED, TEST, UPDATE, GroupLine, Message
from server.notify.mail_parts import Envelope, mail, message_id, subject
from server.notify.slack_blocks import blocks, fallback, reply
from server.notify.webhook import body

GOLDEN = Path(__file__).parent / "golden" / "notify"
OPENED = 1_769_860_800_000
"""2026-01-31 12:00:00 UTC."""
SENDER = ("Streamgauge", "alerts@example.com")
RECIPIENTS = ("ops@example.org", "night@example.org")
MINUTE = 60_000

FIRST = Message(
    id="i7-1-slack", kind=FIRING, incident="i7", rule_id="r3", rule="latency is high", severity="page",
    level="critical", title="latency is high on 2 hosts", text="Look at the runbook: https://runbooks.example.com/latency",
    condition="average of latency over 5m > 100 for 2m, by host", threshold=100.0, unit="ms", value=123.25,
    fired_value=123.25, peak=123.25, opened=OPENED, at=OPENED + 5_000, labels={"team": "web"},
    lines=(
        GroupLine({"host": "web-2", "region": "eu"}, "critical", "condition", 123.25, 123.25, OPENED),
        GroupLine({"host": "web-7", "region": "us"}, "warning", "condition", 95.0, 98.5, OPENED - 90_000),
    ),
    firing=2, groups=40,
    points=tuple((OPENED - (30 - i) * MINUTE, None if i in (9, 10) else 60.0 + i * i * 0.07) for i in range(31)),
    link="https://gauge.example.com/?alert=r3&from=1769859000000&to=1769860805000",
)  # fmt: skip


def many(count: int, of: int, begin: int = 1) -> tuple[GroupLine, ...]:
    """Lines of as many groups, the worst first."""
    return tuple(
        GroupLine({"host": f"web-{i}"}, "critical", "condition", 900.0 - i, 950.0 - i, OPENED - i * 1000)
        for i in range(begin, begin + min(count, of))
    )


SPOILT = "a\x00b\x1b[31m\u202egnp.exe\u2066\u200bz\ud800\u2028end"
"""Controls, marks that turn direction, what cannot be seen, half a character, another end of line."""
HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;",
    "markup": "*bold* _it_ ~no~ `code` ```\nblock``` <!here> <!channel> <@U1> <#C1|x> <https://evil.example|your bank>",
    "mention": "@channel @here @everyone",
    "link": "https://evil.example/?a=1&b=2",
    "spoilt": SPOILT,
    "headers": "a\r\nBcc: everyone@example.com\r\n\r\nbody",
    "long": "x" * 10_240,
    "n" * 10_240: "v",
}

MESSAGES: dict[str, Message] = {
    "firing": FIRST,
    "update": replace(
        FIRST, id="i7-2-slack", kind=UPDATE, title="latency is high on 37 hosts", value=899.0, peak=949.0,
        at=OPENED + 4 * MINUTE, lines=many(10, 37), firing=37,
        changes=("host=web-1 fires: 899 ms", "host=web-3 fires: 897 ms", "web-9 and 33 more fire"),
        acknowledged="Ada",
    ),
    "repeat": replace(FIRST, id="i7-3-slack", kind=REPEAT, at=OPENED + 240 * MINUTE),
    "resolved": replace(
        FIRST, id="i7-4-slack", kind=RESOLVED, level="ok", title="latency is high: all is well again", value=42.0,
        peak=949.0, at=OPENED + 312 * MINUTE, closed=OPENED + 312 * MINUTE, firing=0,
        lines=(GroupLine({"host": "web-2"}, "ok", "condition", 42.0, 949.0, OPENED, OPENED + 310 * MINUTE),),
        changes=("host=web-2, region=eu recovered: 42 ms",),
    ),
    "no_data": replace(
        FIRST, id="i8-1-slack", incident="i8", rule="heartbeat of billing", title="heartbeat of billing is silent",
        text="", condition="no data of billing_beat for 2m", threshold=None, unit="", value=None, fired_value=None,
        peak=None, labels=None, lines=(GroupLine({}, "critical", "no_data", None, None, OPENED),), firing=1, groups=1,
        points=tuple((OPENED - i * MINUTE, None) for i in range(5, 0, -1)), link="",
    ),
    "hostile": replace(
        FIRST, id="i9-1-slack", incident="i9", rule=" ".join(HOSTILE.values()), title=f"title {HOSTILE['markup']}",
        text="\n".join(HOSTILE.values()), condition=HOSTILE["markup"], unit="*<ms>*`" + SPOILT,
        severity=HOSTILE["html"],
        lines=(
            GroupLine(HOSTILE, "critical", "condition", float("inf"), None, OPENED),
            *(GroupLine({name[:9]: value}, "warning", "error", 1e300, -0.0, OPENED) for name, value in HOSTILE.items()),
        ),
        firing=9, groups=9, changes=tuple(HOSTILE.values()), link="javascript:alert(1)",
        acknowledged=HOSTILE["markup"],
        points=((OPENED, float("nan")), (OPENED + MINUTE, 1e308), (OPENED + 2 * MINUTE, -1e308)),
    ),
    "many": replace(FIRST, id="i10-1-slack", incident="i10", lines=many(200, 200), firing=250, groups=1000),
    "test": replace(
        FIRST, id="t1", kind=TEST, incident="", rule_id="", rule="", title="a test of this channel",
        text="Ada has asked whether messages arrive. Nothing is wrong.", condition="", threshold=None, value=None,
        fired_value=None, peak=None, lines=(), firing=0, groups=0, points=(), labels=None,
    ),
}  # fmt: skip


def rendered(name: str) -> Iterator[tuple[Path, str]]:
    """(file, text) of what the channels make of a message."""
    message = MESSAGES[name]
    slack = {"text": fallback(message), "blocks": blocks(message, changes=True), "reply": reply(message)}
    yield GOLDEN / f"{name}.slack.json", json.dumps(slack, indent=1, ensure_ascii=False) + "\n"
    domain, first = SENDER[1].partition("@")[2], MESSAGES["firing"]
    is_first = message.incident != first.incident or message is first
    thread = ("", "") if is_first else (message_id(first, domain), subject(first))
    made = bytes(mail(message, Envelope(SENDER, RECIPIENTS, *thread), b"a chart" if message.points else b""))
    yield GOLDEN / f"{name}.eml", made.decode("ascii").replace("\r\n", "\n")
    yield GOLDEN / f"{name}.webhook.json", json.dumps(json.loads(body(message)), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for example in MESSAGES:
        for file, text in rendered(example):
            file.write_text(text)
            print(file)
