"""Webhooks: the signature, the key of repeats, faults, and addresses that are not reached."""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

from server.notify import NotSent
from server.notify.over_http import LONGEST_WAIT, Caller, retry_after
from server.notify.places import networks
from server.notify.webhook import Webhook
from tests.notify_examples import FIRST
from tests.notify_support import Act, HttpSink, busy, cuts, fails, hangs

LOOPBACK = networks("127.0.0.0/8")


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with HttpSink() as running:
        yield running


@pytest.fixture
async def call() -> AsyncIterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def make(*given: Any) -> Caller:
        made.append(Caller(*given))
        return made[-1]

    yield make
    for caller in made:
        await caller.close()


async def test_what_arrives_is_signed_and_has_a_key(sink: HttpSink, call: Callable[..., Caller]) -> None:
    assert await Webhook("webhook", call(LOOPBACK), sink.url, "a secret").send(FIRST, {}) == {}
    (found,) = sink.taken
    stamp, _, code = found.headers["Streamgauge-Signature"].partition(",v1=")
    wanted = hmac.new(b"a secret", stamp.removeprefix("t=").encode() + b"." + found.raw, hashlib.sha256).hexdigest()
    assert code == wanted and abs(int(stamp.removeprefix("t=")) - found.at) < 60
    assert found.headers["Idempotency-Key"] == FIRST.id == found.body["id"] and found.body["version"] == 1
    await Webhook("webhook", call(LOOPBACK), sink.url).send(FIRST, {})
    assert "Streamgauge-Signature" not in sink.taken[1].headers


@pytest.mark.parametrize(
    ("act", "again", "unknown", "after"),
    [
        (busy("120"), True, False, 120.0),
        (Act(503, headers={"Retry-After": "9"}), True, False, 9.0),
        (fails(500), True, False, None),
        (fails(504), True, True, None),
        (fails(409), True, False, None),
        (fails(400, "no such hook"), False, False, None),
        (fails(410), False, False, None),
        (Act(302, headers={"Location": "http://127.0.0.1:1/"}), False, False, None),
        (cuts(), True, True, None),
    ],
)
async def test_faults(
    sink: HttpSink, call: Callable[..., Caller], act: Act, again: bool, unknown: bool, after: float | None
) -> None:
    sink.script(act)
    with pytest.raises(NotSent) as caught:
        await Webhook("webhook", call(LOOPBACK), sink.url + "/secret").send(FIRST, {})
    assert (caught.value.again, caught.value.unknown, caught.value.after) == (again, unknown, after)
    assert "secret" not in caught.value.reason and act.text in caught.value.reason
    assert len(sink.deliveries) == 1, "no redirect is followed, nothing is tried again here"


async def test_a_hang_ends_and_a_status_counts_although_the_body_does_not_come(
    sink: HttpSink, call: Callable[..., Caller]
) -> None:
    sink.script(hangs(), cuts(takes=True, half=True))
    with pytest.raises(NotSent) as caught:
        await Webhook("webhook", call(LOOPBACK, (5.0, 0.5)), sink.url).send(FIRST, {})
    assert caught.value.again and caught.value.unknown
    assert await Webhook("webhook", call(LOOPBACK), sink.url).send(FIRST, {}) == {}


async def test_a_long_answer_is_not_read_to_its_end(sink: HttpSink, call: Callable[..., Caller]) -> None:
    sink.script(fails(400, "x" * 5_000_000))
    with pytest.raises(NotSent) as caught:
        await Webhook("webhook", call(LOOPBACK), sink.url).send(FIRST, {})
    assert len(caught.value.reason) < 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001"])
async def test_a_private_address_is_not_reached(sink: HttpSink, call: Callable[..., Caller], host: str) -> None:
    with pytest.raises(NotSent) as caught:
        await Webhook("webhook", call(()), f"http://{host}:{sink.port}/").send(FIRST, {})
    assert not caught.value.again and sink.deliveries == []


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example.com", "...", "256.1.1.1"])
async def test_what_is_no_host_is_said(call: Callable[..., Caller], host: str) -> None:
    with pytest.raises(NotSent, match="is no URL that can be called") as caught:
        await Webhook("webhook", call(()), f"http://{host}/").send(FIRST, {})
    assert not caught.value.again


async def test_a_name_that_leads_elsewhere_when_it_is_connected_to_is_refused(
    sink: HttpSink, call: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://hooks.example.com:{sink.port}/"
    with pytest.raises(NotSent, match=r"127\.0\.0\.1 is no public address, and ALERT_NETWORKS") as caught:
        await Webhook("webhook", call(()), url).send(FIRST, {})
    assert not caught.value.again and sink.deliveries == [] and asked == ["hooks.example.com"]
    await Webhook("webhook", call(LOOPBACK), url).send(FIRST, {})
    assert len(sink.taken) == 1


def test_the_loop_that_serves_guards_as_well(sink: HttpSink) -> None:
    async def send(*allowed: Any) -> None:
        caller = Caller(allowed)
        try:
            await Webhook("webhook", caller, sink.url).send(FIRST, {})
        finally:
            await caller.close()

    uvloop.run(send(*LOOPBACK))
    with pytest.raises(NotSent, match="no public address"):
        uvloop.run(send())
    assert len(sink.taken) == 1


async def test_a_refused_connection_is_tried_again(sink: HttpSink, call: Callable[..., Caller]) -> None:
    hook = Webhook("webhook", call(LOOPBACK), sink.url)
    sink.refuse()
    with pytest.raises(NotSent, match="could not be connected") as caught:
        await hook.send(FIRST, {})
    assert caught.value.again and not caught.value.unknown
    sink.listen()
    await hook.send(FIRST, {})
    assert len(sink.taken) == 1


def test_how_long_to_wait() -> None:
    date = "Sat, 31 Jan 2026 12:00:00 GMT"
    assert [retry_after(text) for text in ("5", " 0 ", "1.5", "", "soon", "-5", "99999999")] == [
        5.0, 0.0, 1.5, None, None, None, LONGEST_WAIT,
    ]  # fmt: skip
    assert retry_after("Sat, 31 Jan 2026 12:01:30 GMT", date) == 90
    assert retry_after(date, "", now=1_769_860_790.0) == 10
    assert retry_after(date, "Sat, 31 Jan 2026 13:00:00 GMT") == 0
