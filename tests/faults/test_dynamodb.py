"""DynamoDB in trouble under a server that lives on: ingest and live queries go on, the history catches up, exactly."""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from engine.levels import HOUR, PACKED, floor
from server.store import Flush, open_snapshot
from server.store.dynamodb.client import Client
from server.store.dynamodb.pages import Pages
from server.store.dynamodb.reader import HEAD, TABLES
from server.store.dynamodb.store import DynamoStore
from tests.dynamodb_support import REGION, SECRETS, Dynalite, FaultProxy, aws_at, make_table
from tests.faults.campaign import START, Campaign
from tests.faults.numbers import KILLS_DYNAMODB, LONG, by_size, pick, result
from tests.faults.senders import Load, under_load
from tests.faults.servers import ClockedServer
from tests.faults.test_clock import leap
from tests.support import Listener, RedisServer, Streamgauge, free_port, wait_until

QUICK = 3.0
"""Seconds an answer to a POST may take on a slow machine whose store does not answer at all."""
GROWTH = 150 << 20
"""Bytes by which the server may grow meanwhile."""
BUDGET = 2.0

IMPATIENT = f"""
import sys
from server.store.dynamodb.client import Client
Client.open.__func__.__kwdefaults__["budget"] = {BUDGET}
from server.cli import main
sys.exit(main())
"""


class ImpatientServer(Streamgauge):
    """A server that gives a request to DynamoDB up after BUDGET seconds instead of 20."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", IMPATIENT, "serve"]


def settings_at(url: str, directory: Path, prefix: str, **more: object) -> dict[str, object]:
    """Of a server whose store is there. EVENT_BUFFER_SIZE: so few events make a flush, whatever the hour."""
    return {
        "DATABASE_URL": f"dynamodb://{REGION}/{prefix}", "CREATE_TABLES": "true", "AWS_ENDPOINT_URL": url,
        **dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), SECRETS, strict=True)),
        "CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "EVENT_BUFFER_SIZE": 30, "DATA_DIR": directory / "data", **more,
    }  # fmt: skip


def new_prefix() -> str:
    return f"f{secrets.token_hex(6)}"


@pytest.fixture
def proxy(dynalite: Dynalite) -> Iterator[FaultProxy]:
    with FaultProxy(dynalite.url, seed=pick("dynamodb proxy").randrange(1 << 30)) as proxy:
        yield proxy


def stored(server: Streamgauge) -> int:
    """Samples that flushes have handed to the store."""
    return int(server.call("GET", "/api/ledger")["in_panes"]["stored"])


def writes(proxy: FaultProxy) -> int:
    """Requests that write which have come."""
    return proxy.seen["BatchWriteItem"] + proxy.seen["PutItem"]


def resident(server: Streamgauge) -> int:
    """Bytes of memory."""
    assert server.child is not None
    [kib] = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.child.pid}/status").read_text())
    return int(kib) << 10


@contextmanager
def watching(server: Streamgauge) -> Iterator[list[float]]:
    """The moments at which a subscriber of a live query gets updates."""
    found: list[float] = []
    stop = threading.Event()
    listener = server.listen("watcher")
    listener.send(type="configure", firehose=False)
    listener.subscribe(query={"query_string": "metric:f_sum", "aggregation": "sum", "time_range": "1m"})
    thread = threading.Thread(target=_watch, args=(listener, found, stop), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(30)
        listener.socket.close(timeout=1)


def _watch(listener: Listener, found: list[float], stop: threading.Event) -> None:
    while not stop.is_set():
        if listener.read()["type"] == "realtime_update":
            found.append(time.monotonic())


def test_ingest_and_live_queries_go_on_while_it_is_in_trouble(proxy: FaultProxy, tmp_path: Path) -> None:
    server = ImpatientServer(tmp_path, settings_at(proxy.url, tmp_path, new_prefix()))
    campaign = Campaign("DynamoDB in trouble", [server], errors=True)
    kinds = ("throughput", "error", "hang", "cut", "unprocessed", "lost", "reset", "garbled", "unavailable")
    short = ("throughput", "hang")
    try:
        campaign.begin()
        before_all, named = resident(server), 0

        def trouble(load: Load) -> None:
            nonlocal named
            wait_until(lambda: stored(server) > 0, START, "a flush")
            with watching(server) as updates:
                for kind in kinds if LONG else short:
                    named += disturb(load, kind, updates)
            # Half of all that is asked fails in some way: what is tried again gets through.
            for kind in kinds:
                proxy.trouble(kind, 0.02 if kind == "hang" else 0.06, times=3 if kind == "hang" else None)
            load.wait(int(by_size(20, 300)))
            proxy.calm()
            load.wait(20)

        def disturb(load: Load, kind: str, updates: list[float]) -> int:
            said, last = 0, stored(server)
            for sender in campaign.senders:
                sender.slowest = 0.0
            proxy.trouble(kind)
            begun, seen = time.monotonic(), len(updates)
            if kind != "unprocessed":  # of which a part gets through each time
                wait_until(lambda: warned(server, kind), START, "a warning")
                said = 1
            load.wait(int(by_size(20, 200)))
            assert len(updates) - seen >= 3 and max(updates) > begun, f"no live updates during {kind}"
            assert max(sender.slowest for sender in campaign.senders) < QUICK, kind
            assert not campaign.refusals(), "nothing was refused"
            proxy.calm()
            wait_until(lambda: stored(server) > last, START, f"a flush after {kind}")
            wait_until(lambda: not server.call("GET", "/api/stats")["warnings"], START, "the end of the warning")
            return said

        under_load(campaign.senders, trouble, patient=True)
        assert resident(server) < before_all + GROWTH
        campaign.settle()
        campaign.check(verify=True)
        server.kill()
        campaign.begin()
        campaign.check()
        made = dict(sorted(proxy.made.items()))
        result(campaign.name, f"made {made}, {named} times named; {campaign.figures()}")
    finally:
        proxy.calm()
        server.kill()


REASONS = {"throughput": "ProvisionedThroughputExceededException", "error": "HTTP 500", "unavailable": "HTTP 503"}


def warned(server: Streamgauge, kind: str) -> bool:
    """Whether `/api/stats` says that the store takes nothing, and why."""
    said = " ".join(server.call("GET", "/api/stats")["warnings"])
    return "the store has taken nothing for" in said and "DynamoDB" in said and REASONS.get(kind, "") in said


def test_kills_at_any_moment_and_in_the_midst_of_flushes(proxy: FaultProxy, tmp_path: Path) -> None:
    server = Streamgauge(tmp_path, settings_at(proxy.url, tmp_path, new_prefix()))
    campaign = Campaign("kills, DynamoDB", [server], thorough=True)
    rng = pick("dynamodb kills")
    in_flushes = 0
    try:
        campaign.begin()
        for number in range(KILLS_DYNAMODB):

            def kill(load: Load, number: int = number) -> None:
                nonlocal in_flushes
                load.wait(15)
                if number % 2 == 0:
                    proxy.trouble("slow", only={"BatchWriteItem", "PutItem"})
                    before = writes(proxy)
                    goal = before + rng.randrange(1, 12)
                    wait_until(lambda: writes(proxy) >= goal, START, "a flush")
                    in_flushes += 1
                time.sleep(rng.random() * 0.1)
                server.kill()
                campaign.kills += 1

            under_load(campaign.senders, kill)
            proxy.calm()
            campaign.begin()
            campaign.settle()
            campaign.check()
        campaign.check(verify=True)
        flushes = f"{in_flushes} kills in the midst of a flush, {writes(proxy)} writing requests"
        result(campaign.name, f"{campaign.kills} kills; {flushes}; {campaign.figures()}")
    finally:
        proxy.calm()
        server.kill()


def test_hours_that_end(dynalite: Dynalite, proxy: FaultProxy, tmp_path: Path) -> None:
    """The clock leaps to the next hour under load: what was staged is put together, and late rows go in there."""
    prefix = new_prefix()
    server = ClockedServer(tmp_path, settings_at(proxy.url, tmp_path, prefix))
    campaign = Campaign("hours that end, DynamoDB", [server], errors=True)
    try:
        campaign.begin()
        hour = floor(campaign.start, HOUR)
        for number in range(1, int(by_size(2, 5))):
            proxy.trouble("error", 0.1)
            under_load(campaign.senders, partial(leap_on, campaign, server, number * HOUR), patient=True)
            proxy.calm()
            campaign.settle()
            wait_until(lambda: packed(dynalite.url, prefix, hour), START, "an hour that is put together")
            campaign.check()
            server.kill()
            campaign.begin()
        campaign.check(verify=True)
        result(campaign.name, campaign.figures())
    finally:
        proxy.calm()
        server.kill()


def leap_on(campaign: Campaign, server: ClockedServer, offset: int, load: Load) -> None:
    leap(load, campaign, server, offset)


def packed(url: str, prefix: str, hour: int) -> bool:
    """Whether the blocks of an hour have been put together."""
    found = open_snapshot(f"dynamodb://{REGION}/{prefix}", aws_at(url))
    try:
        return found is not None and len(found.list_blocks(PACKED, hour, hour + 1)) > 0
    finally:
        if found is not None:
            found.close()


@pytest.mark.parametrize("newcomer_first", [True, False])
def test_of_two_servers_on_one_store_one_ends_and_nothing_is_lost(
    dynalite: Dynalite, redis_server: RedisServer, tmp_path: Path, newcomer_first: bool
) -> None:
    """The one that flushes first goes on, be it the newcomer or not; the other's first flush after that is refused."""
    prefix, stream = new_prefix(), f"taken:{tmp_path.name}"
    redis_server.ask(f"HSET {stream}:cursors one 0 two 0".encode())

    def server_of(name: str, events: int) -> Streamgauge:
        more = {"REDIS_URL": f"{redis_server.url}?stream={stream}&consumer={name}", "EVENT_BUFFER_SIZE": events}
        return Streamgauge(tmp_path / name, settings_at(dynalite.url, tmp_path / name, prefix, **more))

    one, two = server_of("one", 100 if newcomer_first else 30), server_of("two", 1 if newcomer_first else 60)
    campaign = Campaign("two servers on one store in DynamoDB", [one], errors=True)
    try:
        campaign.begin()
        under_load(campaign.senders, lambda load: wait_until(lambda: stored(one) > 0, START, "a flush"))
        if newcomer_first:  # the first one has nothing to flush for a while
            assert one.stop(START) == 0
            one.start(START)
        two.start(START)
        if newcomer_first:
            before = stored(two)
            late = {"name": "f_seen", "metric_type": "gauge", "value": 1, "timestamp": campaign.start - 60_000}
            one.call("POST", "/api/metrics", late, expect=201)
            one.call("POST", "/api/events", {"event_type": "f_seen"}, expect=201)  # too few for the first one to flush
            campaign.account.metrics += 1
            campaign.account.events += 1
            wait_until(lambda: stored(two) > before, START, "a flush of the newcomer")
        children = {server: server.child for server in (one, two)}
        load = Load(campaign.senders, patient=True)

        def ended() -> list[Streamgauge]:
            return [server for server, child in children.items() if child is not None and child.poll() is not None]

        until = time.monotonic() + START
        while not ended():
            assert not (faults := [fault for sender in campaign.senders for fault in sender.faults]), faults
            assert time.monotonic() < until, f"neither ends:\n{one.output[-3000:]}\n{two.output[-3000:]}"
            time.sleep(0.02)
        load.end()
        [ends] = ended()
        stays = two if ends is one else one
        assert children[ends].wait(START) == 1 and (ends is one or not newcomer_first)  # type: ignore[union-attr]
        [sentence] = [line for line in ends.output.splitlines() if line.startswith("streamgauge: ")]
        assert "another server has" in sentence and "prefix of its own" in sentence
        assert "Traceback" not in ends.output, ends.output[-4000:]
        campaign.servers = [stays]
        for sender in campaign.senders:
            sender.server = stays
        campaign.settle()
        campaign.check(verify=True)
        result(campaign.name, f"{'the first' if ends is one else 'the second'} one ended; {campaign.figures()}")
    finally:
        one.kill()
        two.kill()


SENTENCES = {
    "another region": "check the region in DATABASE_URL and AWS_ENDPOINT_URL",
    "no tables": "set CREATE_TABLES=true",
    "denied": "allow dynamodb:DescribeTable for it in the policy of the key or role",
    "another program's table": "use another prefix in DATABASE_URL",
    "another release": "use that one, or a newer",
}


@pytest.mark.parametrize("what", SENTENCES)
def test_a_start_that_cannot_be_says_why_in_one_sentence(
    what: str, dynalite: Dynalite, proxy: FaultProxy, tmp_path: Path
) -> None:
    prefix = new_prefix()
    more: dict[str, object] = {}
    if what == "another region":
        more["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
    elif what == "no tables":
        more["CREATE_TABLES"] = "false"
    elif what == "denied":
        proxy.trouble("denied")
    elif what == "another program's table":
        make_table(dynalite.url, f"{prefix}-blocks", id="S")
    else:
        write_of_another_release(dynalite.url, prefix)
    done = ImpatientServer(tmp_path, settings_at(proxy.url, tmp_path, prefix, **more)).run()
    said = [line for line in done.stderr.splitlines() if " WARNING " not in line and " INFO " not in line]
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert said[0].startswith("streamgauge: ") and SENTENCES[what] in said[0]
    assert not any(secret in done.stderr + done.stdout for secret in SECRETS)


def write_of_another_release(url: str, prefix: str) -> None:
    """A store whose manifest has a format that this release does not know."""
    client = Client.open(REGION, prefix, aws_at(url), TABLES)
    store = DynamoStore(client, "0")
    store.write(Flush(1, 1, [b"state"]))
    head = client.get("state", (HEAD, "0"))
    assert head is not None
    pages = Pages(client, "0")
    pages.fence = 99
    [blob] = pages.write([json.dumps({**json.loads(store._view.manifest.encode()), "format": 99}).encode()])
    client.put("state", head | {"manifest": json.dumps(blob)})
    store.close()
