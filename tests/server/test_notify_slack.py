"""Slack by bot token and by webhook, against a server that plays it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from server.notify import REPEAT, RESOLVED, UPDATE, NotSent
from server.notify.over_http import Caller
from server.notify.slack import SlackBot, SlackHook
from tests.notify_examples import FIRST, MESSAGES
from tests.notify_support import OK, Act, HttpSink, busy, cuts, fails, hangs
from tests.slack_support import TOKEN


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with HttpSink() as running:
        yield running


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    made = Caller(None, (5.0, 5.0))
    yield made
    await made.close()


@pytest.fixture
def bot(sink: HttpSink, caller: Caller) -> SlackBot:
    return SlackBot("slack", caller, TOKEN, "#ops", sink.slack_api + "/")


def thread(sink: HttpSink) -> list[dict[str, Any]]:
    return [message for message in sink.slack.channel("#ops") if "thread_ts" in message]


def roots(sink: HttpSink) -> list[dict[str, Any]]:
    return [message for message in sink.slack.channel("#ops") if "thread_ts" not in message]


async def test_an_incident_is_one_message_that_changes_and_a_thread(sink: HttpSink, bot: SlackBot) -> None:
    ids = await bot.send(MESSAGES["firing"], {})
    assert set(ids) == {"ts", "channel", "level"} and ids["channel"] == "COPS"
    for name in ("update", "repeat", "resolved"):
        ids = {**ids, **await bot.send(MESSAGES[name], ids)}
    (root,) = roots(sink)
    assert root["edits"] == 3 and "Resolved" in root["text"] and "42 ms" in str(root["blocks"])
    assert root["metadata"]["event_payload"] == {"id": "i7-4-slack", "incident": "i7", "kind": RESOLVED}
    replies = thread(sink)
    assert [reply["metadata"]["event_payload"]["id"][:4] for reply in replies] == ["i7-2", "i7-3", "i7-4"]
    assert [reply["reply_broadcast"] for reply in replies] == [False, True, False], "a repeat is seen in the channel"
    assert all(reply["thread_ts"] == root["ts"] for reply in replies)
    assert "web-1 fires" in replies[0]["text"] and "recovered" in replies[2]["text"]


async def test_a_level_that_rises_is_told_in_the_channel_and_an_update_without_changes_only_in_place(
    sink: HttpSink, bot: SlackBot
) -> None:
    ids = await bot.send(replace(FIRST, level="warning"), {})
    quiet = replace(FIRST, level="warning", kind=UPDATE, changes=(), acknowledged="Ada")
    ids = await bot.send(quiet, ids)
    assert thread(sink) == [] and "Acknowledged by Ada" in str(roots(sink)[0]["blocks"])
    await bot.send(replace(FIRST, level="critical", kind=UPDATE, changes=("worse",)), ids)
    assert [reply["reply_broadcast"] for reply in thread(sink)] == [True]


async def test_a_try_that_ends_between_the_two_calls_repeats_nothing_that_is_seen(
    sink: HttpSink, bot: SlackBot
) -> None:
    ids = await bot.send(FIRST, {})
    sink.script(OK, busy("7"))
    with pytest.raises(NotSent) as caught:
        await bot.send(MESSAGES["update"], ids)
    assert caught.value.again and caught.value.after == 7 and not caught.value.unknown
    await bot.send(MESSAGES["update"], ids)
    assert len(roots(sink)) == len(thread(sink)) == 1


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed", "is_archived"])
async def test_a_message_that_cannot_be_changed_any_more_is_posted_anew(
    sink: HttpSink, bot: SlackBot, error: str
) -> None:
    ids = await bot.send(FIRST, {})
    sink.slack.errors.append(error)
    again = await bot.send(MESSAGES["resolved"], ids)
    assert again["ts"] != ids["ts"] and len(roots(sink)) == 2 and thread(sink) == []
    await bot.send(MESSAGES["resolved"], again)
    assert roots(sink)[1]["edits"] == 1, "what is changed from then on is the new one"


@pytest.mark.parametrize(
    ("error", "again", "hint"),
    [
        ("invalid_auth", False, "SLACK_BOT_TOKEN"),
        ("channel_not_found", False, "no such channel"),
        ("missing_scope", False, "chat:write"),
        ("something_new", False, "something_new"),
        ("ratelimited", True, "ratelimited"),
        ("internal_error", True, "internal_error"),
    ],
)
async def test_what_slack_declines(sink: HttpSink, bot: SlackBot, error: str, again: bool, hint: str) -> None:
    sink.slack.errors.append(error)
    with pytest.raises(NotSent, match=hint) as caught:
        await bot.send(FIRST, {})
    assert caught.value.again is again and not caught.value.unknown


async def test_blocks_that_slack_does_not_take_are_left_out(sink: HttpSink, bot: SlackBot, caller: Caller) -> None:
    sink.slack.errors.append("invalid_blocks")
    ids = await bot.send(FIRST, {})
    assert roots(sink)[0]["blocks"] == [] and "latency is high" in roots(sink)[0]["text"]
    sink.slack.errors.extend(["", "msg_blocks_too_long"])
    await bot.send(replace(FIRST, kind=REPEAT), ids)
    assert thread(sink)[0]["blocks"] == [] and "Still critical" in thread(sink)[0]["text"]
    sink.script(fails(400, "invalid_blocks"))
    await SlackHook("slack", caller, sink.url).send(FIRST, {})
    assert "blocks" not in sink.taken[-1].body


@pytest.mark.parametrize(
    ("act", "unknown", "after"),
    [
        (busy("3"), False, 3.0),
        (fails(500), False, None),
        (cuts(), True, None),
        (cuts(takes=True, half=True), True, None),
        (Act(200, "<html>a proxy</html>"), True, None),
    ],
)
async def test_a_first_message_without_an_answer_is_tried_again_under_its_id(
    sink: HttpSink, bot: SlackBot, act: Act, unknown: bool, after: float | None
) -> None:
    sink.script(act)
    with pytest.raises(NotSent) as caught:
        await bot.send(FIRST, {})
    assert (caught.value.again, caught.value.unknown, caught.value.after) == (True, unknown, after)
    await bot.send(FIRST, {})
    assert {root["metadata"]["event_payload"]["id"] for root in roots(sink)} == {FIRST.id}
    assert len(roots(sink)) == (2 if act.taken else 1)


async def test_a_hang_ends(sink: HttpSink) -> None:
    caller = Caller(None, (5.0, 0.5))
    sink.script(hangs())
    with pytest.raises(NotSent, match="no answer within") as caught:
        await SlackBot("slack", caller, TOKEN, "#ops", sink.slack_api).send(FIRST, {})
    assert caught.value.again and caught.value.unknown
    await caller.close()


async def test_a_webhook_posts_a_new_message_each_time(sink: HttpSink, caller: Caller) -> None:
    hook = SlackHook("slack", caller, sink.url)
    assert await hook.send(FIRST, {}) == {} == await hook.send(MESSAGES["update"], {})
    first, second = sink.taken
    assert "web-1 fires" in str(second.body["blocks"]) and set(first.body) == {"text", "blocks"}
    sink.script(fails(404, "no_service"), busy("2"))
    with pytest.raises(NotSent, match="404: no_service") as caught:
        await hook.send(FIRST, {})
    assert not caught.value.again
    with pytest.raises(NotSent) as caught:
        await hook.send(FIRST, {})
    assert caught.value.again and caught.value.after == 2


async def test_no_token_stands_in_a_reason(sink: HttpSink, caller: Caller) -> None:
    sink.refuse()
    with pytest.raises(NotSent, match="could not be connected") as caught:
        await SlackHook("slack", caller, f"{sink.url}/T0/B0/very-secret").send(FIRST, {})
    assert "secret" not in str(caught.value) and caught.value.again and not caught.value.unknown
