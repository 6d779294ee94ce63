"""The channels that the settings make, their names, the chart and the heartbeat."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from server.config import ConfigError, Settings, load_settings
from server.notify.channels import MAX_TARGETS, open_channels
from server.notify.chart import HEIGHT, WIDTH, draw
from server.notify.heartbeat import Heartbeat
from server.notify.places import SmtpPlace, mail_addresses, mail_sender, smtp_place, web_url, without_secrets
from tests.notify_examples import FIRST, HOSTILE, MESSAGES, OPENED
from tests.notify_support import HttpSink, SmtpSink, fails
from tests.slack_support import TOKEN

MAIL = {"smtp_url": "smtp://me:secret@mail.example.com", "alert_email_from": "a@example.com"}


def made(**given: Any) -> Settings:
    return load_settings(_env_file=None, **given)


@pytest.mark.parametrize(
    ("given_settings", "name", "problem"),
    [
        ({}, "slack", "slack is not configured: set SLACK_BOT_TOKEN and SLACK_CHANNEL, or SLACK_WEBHOOK_URL"),
        ({"slack_bot_token": "t"}, "slack", "slack is not configured: set SLACK_CHANNEL"),
        ({"slack_webhook_url": "https://h/"}, "slack:#ops", "needs SLACK_BOT_TOKEN"),
        ({"slack_bot_token": "t"}, "slack:" + "x" * 101, "takes a #channel or its id"),
        ({}, "email", "email is not configured: set SMTP_URL and ALERT_EMAIL_FROM and ALERT_EMAIL_TO"),
        (MAIL, "email", "email is not configured: set ALERT_EMAIL_TO"),
        ({"smtp_url": "smtp://h"}, "email:a@b.example", "set ALERT_EMAIL_FROM"),
        (MAIL, "email:nobody", "email:nobody is no address of mail"),
        (MAIL, "email:a@example.com\r\nBcc: x@example.com", "is no address of mail"),
        ({}, "webhook", "webhook is not configured: set ALERT_WEBHOOK_URL"),
        ({}, "webhook:ftp://example.com", "must be http:// or https://"),
        ({}, "webhook:https://me:secret@example.com/", "cannot hold a user and password"),
        ({}, "pager", "'pager' is no channel: write slack, slack:#channel, email"),
        ({}, "webhook:", "'webhook:' is no channel"),
        ({}, "webhook:https://example.com/" + "x" * 2000, "is no channel"),
        ({}, "", "'' is no channel"),
    ],
)
def test_names_that_cannot_be_used(given_settings: dict[str, Any], name: str, problem: str) -> None:
    channels = open_channels(made(**given_settings))
    said = channels.problem(name)
    assert said is not None and problem in said and "secret" not in said.replace(name, "")
    assert channels.find(name) is None
    (listed,) = channels.listed([name])
    assert (listed.configured, listed.target, listed.problem) == (False, "", said)


@pytest.mark.parametrize(
    ("given_settings", "name", "target"),
    [
        ({"slack_bot_token": "t", "slack_channel": "#ops"}, "slack", "#ops"),
        ({"slack_bot_token": "t", "slack_channel": "#ops"}, "slack:#db", "#db"),
        ({"slack_webhook_url": "https://hooks.slack.example/T/B/key"}, "slack", "https://hooks.slack.example/…"),
        ({**MAIL, "alert_email_to": "b@example.com, c@example.com"}, "email",
         "b@example.com, c@example.com by mail.example.com:587"),
        (MAIL, "email:d@example.com", "d@example.com by mail.example.com:587"),
        ({"smtp_url": "smtps://me%40example.com:secret@h"}, "email:d@example.com", "d@example.com by h:465"),
        ({"alert_webhook_url": "https://me:secret@example.com/key?a=b"}, "webhook", "https://example.com/…"),
        ({}, "webhook:https://example.com:8443/key", "https://example.com:8443/…"),
        ({}, "webhook:https://example.com", "https://example.com"),
    ],
)  # fmt: skip
async def test_names_that_can(given_settings: dict[str, Any], name: str, target: str) -> None:
    channels = open_channels(made(**given_settings))
    assert channels.problem(name) is None
    channel = channels.find(name)
    assert channel is not None and (channel.name, channel.kind) == (name, name.partition(":")[0])
    assert channels.find(name) is channel
    assert [(one.name, one.configured, one.target) for one in channels.listed([name, name])] == [(name, True, target)]
    await channels.close()


async def test_all_kinds_are_listed_and_few_targets_are_kept() -> None:
    channels = open_channels(made(**MAIL))
    assert [one.name for one in channels.listed()] == ["slack", "email", "webhook"]
    first = channels.find("email:0@example.com")
    for i in range(MAX_TARGETS):
        channels.find(f"email:{i + 1}@example.com")
    assert len(channels._ready) == MAX_TARGETS and channels.find("email:0@example.com") is not first
    await channels.close()


async def test_messages_arrive_by_all_channels() -> None:
    with HttpSink() as web, SmtpSink() as mail:
        channels = open_channels(
            made(
                slack_bot_token=TOKEN, slack_channel="#ops", slack_api_url=web.slack_api, smtp_url=mail.url,
                alert_email_from="Gauge <a@example.com>", alert_email_to="b@example.com", alert_webhook_url=web.url,
                alert_networks="127.0.0.1", alert_webhook_secret="secret",
            )
        )  # fmt: skip
        for name in ("slack", "slack:#db", "email", "email:c@example.com", "webhook", f"webhook:{web.url}/other"):
            channel = channels.find(name)
            assert channel is not None, channels.problem(name)
            ids = await channel.send(FIRST, {})
            await channel.send(MESSAGES["resolved"], ids)
        assert [len(web.slack.channel(name)) for name in ("#ops", "#db")] == [2, 2]
        assert [mail.recipients for mail in mail.taken] == [["b@example.com"]] * 2 + [["c@example.com"]] * 2
        hooks = [taken for taken in web.taken if taken.path.startswith("/hook")]
        assert [taken.path for taken in hooks] == ["/hook", "/hook", "/hook/other", "/hook/other"]
        assert all("Streamgauge-Signature" in taken.headers for taken in hooks)
        await channels.close()


def test_a_server_that_tells_nobody_does_not_load_what_telling_takes() -> None:
    asked = "import sys, server.notify.channels, server.notify.heartbeat; print([m for m in ('aiohttp', 'PIL', "
    asked += "'aiosmtplib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given_settings", "fault"),
    [
        ({"smtp_url": "http://me:secret@h"}, "SMTP_URL"),
        ({"smtp_url": "smtp://me:sec/ret@h"}, "SMTP_URL"),
        ({"smtp_url": "smtp://me:secret@a..b"}, "SMTP_URL"),
        ({"smtp_url": "smtp://me:secret@h?starttls=perhaps"}, "SMTP_URL"),
        ({"smtp_url": "smtps://me:secret@h?starttls=off"}, "SMTP_URL"),
        ({"alert_networks": "10.0.0.0/8, 10.0.0.1/8"}, "ALERT_NETWORKS"),
        ({"alert_networks": "everywhere"}, "ALERT_NETWORKS"),
        ({"alert_email_to": "a@example.com; b@example.com"}, "ALERT_EMAIL_TO"),
        ({"alert_email_from": "A <a@exam\nple.com>"}, "ALERT_EMAIL_FROM"),
        ({"slack_webhook_url": "hooks.slack.com/secret"}, "SLACK_WEBHOOK_URL"),
        ({"alert_webhook_url": "https://"}, "ALERT_WEBHOOK_URL"),
        ({"heartbeat_url": "https://h:99999/secret"}, "HEARTBEAT_URL"),
        ({"public_url": "gauge.example.com"}, "PUBLIC_URL"),
        ({"alert_flood": 0}, "ALERT_FLOOD"),
    ],
)
def test_settings_that_cannot_be(given_settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=f"^{fault} ") as caught:
        made(**given_settings)
    assert "secret" not in str(caught.value)


def test_places() -> None:
    assert smtp_place("smtp://h") == SmtpPlace("h", 25)
    assert smtp_place("smtp://u%40x:p%2Fw@h:2525?starttls=required") == SmtpPlace(
        "h", 2525, "u@x", "p/w", starttls="required"
    )
    assert smtp_place("smtps://[::1]") == SmtpPlace("::1", 465, tls=True)
    assert "secret" not in repr(smtp_place("smtp://me:secret@h"))
    assert mail_addresses(" a@b.c, d+e@f-g.h ,a@b.c") == ("a@b.c", "d+e@f-g.h")
    assert mail_sender('"A, B" <a@b.c>') == ("A, B", "a@b.c") and mail_sender("a@b.c") == ("", "a@b.c")
    assert without_secrets("https://u:p@h:1/x?y") == "https://h:1/…"
    for good in ("http://h", "https://h:1/ä?b=c#d", "http://[::1]:8000/"):
        assert web_url(good) == good
    faulty = ["http:///x", "http://h:x/", "http://h/a b", "http://h/\r\nX: y", "http://[::1", "//h", "http://h:0/"]
    for bad in [*faulty, "http://a..b"]:
        with pytest.raises(ValueError, match="must be http"):
            web_url(bad)


def _picture(values: list[float | None], threshold: float | None = None) -> Image.Image:
    png = draw([(i * 60_000, value) for i, value in enumerate(values)], threshold, "ms")
    return Image.open(io.BytesIO(png)).convert("RGB")


def _columns(picture: Image.Image, colour: tuple[int, int, int]) -> set[int]:
    """The columns with a dot of that colour."""
    dots = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, 3)
    return set(np.nonzero((dots == colour).all(axis=2).any(axis=0))[0].tolist())


BLUE, RED = (0x25, 0x63, 0xEB), (0xDC, 0x26, 0x26)


def test_charts() -> None:
    assert draw([], 1.0) == draw([(1, None), (2, float("nan")), (3, float("inf"))], 1.0) == b""
    whole = _picture([1.0, 5.0, 2.0, 8.0, 3.0], 4.0)
    assert whole.size == (2 * WIDTH, 2 * HEIGHT) and _columns(whole, RED) and len(_columns(whole, BLUE)) > 900
    broken = _columns(_picture([1.0, 2.0, None, None, None, None, 3.0, 4.0]), BLUE)
    assert max(b - a for a, b in zip(sorted(broken), sorted(broken)[1:], strict=False)) > 300, "a gap stays one"
    assert not _columns(_picture([1.0, 2.0]), RED)
    for values in ([7.0], [0.0, 0.0, 0.0], [None, 5.0, None], [-1e308, 1e308], [0.0, 5e-324]):
        assert _columns(_picture(values, 0.0), BLUE)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.none() | st.floats(), max_size=8), st.none() | st.floats(), st.sampled_from(["ms", *HOSTILE.values()])
)
def test_charts_of_anything(values: list[float | None], threshold: float | None, unit: str) -> None:
    png = draw([(OPENED + i * 1000, value) for i, value in enumerate(values)], threshold, unit)
    assert bool(png) == any(value is not None and math.isfinite(value) for value in values)


async def test_a_heartbeat_while_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    with HttpSink() as sink, caplog.at_level(logging.INFO, "streamgauge.heartbeat"):
        beats: list[int] = []

        def well() -> str | None:
            beats.append(len(sink.deliveries))
            return "the store stands still" if len(beats) in (3, 4) else None

        sink.script(fails(200), fails(500))
        beat = Heartbeat(sink.url + "/secret", 0.01, well)
        running = asyncio.create_task(beat.run())
        await asyncio.to_thread(sink.wait, 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert beats[:6] == [0, 1, 2, 2, 2, 3], "nothing is called while something is not well"
        assert beat.trouble is None and {delivery.path for delivery in sink.deliveries} == {"/hook/secret"}
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2 and "answered 500" in said[0] and "goes on" in said[1] and "secret" not in str(said)
