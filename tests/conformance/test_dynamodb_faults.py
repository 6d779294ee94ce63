"""The client of DynamoDB when DynamoDB throttles, fails, hangs, loses answers, or takes only part of a batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.store import Aws, StoreClosed, StoreError, StoreUnavailable
from server.store.dynamodb import transport
from server.store.dynamodb.client import Client, Item, Stale
from tests.dynamodb_support import REGION, SECRETS, FaultProxy, MotoServer, aws_at
from tests.support import free_port, wait_until

PASSING = ["throughput", "throttling", "limit", "error", "unavailable", "cut", "lost", "reset", "garbled"]


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[FaultProxy]:
    with FaultProxy(moto.url, seed=5) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: FaultProxy, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Opens clients on a table of this test's own."""
    opened: list[Client] = []

    def connect(budget: float = 20.0) -> Client:
        opened.append(Client.open(REGION, tmp_path.name, aws_at(proxy.url), ["a"], budget=budget))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.001)


def row(sk: str, **more: str | int | float | bytes) -> Item:
    return {"pk": "p", "sk": sk, "text": "aaa", **more}


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_tried_again(kind: str, proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.trouble(kind, times=2)
    client.put("a", row("1"))
    proxy.trouble(kind, times=2)
    assert client.get("a", ("p", "1")) == row("1")
    proxy.trouble(kind, times=1)
    assert client.query("a", "p") == [row("1")]
    assert proxy.made[kind] == 5 and proxy.seen["PutItem"] == 3 == proxy.seen["GetItem"]
    counts = client.usage.total()
    assert counts.retries == 5 and counts.throttled == (5 if kind in ("throughput", "throttling", "limit") else 0)


def test_a_bad_connection_loses_nothing(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect()
    for kind in PASSING:
        proxy.trouble(kind, 0.04)
    proxy.trouble("unprocessed", 0.3)
    items = [row(f"{number:03}", number=number) for number in range(700)]
    client.put_many("a", items)
    assert client.query("a", "p") == items
    assert list(client.get_many("a", [("p", str(item["sk"])) for item in items]).values()) == items
    client.delete_many("a", [("p", str(item["sk"])) for item in items[::2]])
    assert client.query("a", "p") == items[1::2]
    assert proxy.made["unprocessed"] >= 10 and sum(proxy.made[kind] for kind in PASSING) >= 20, proxy.made
    counts = client.usage.total()
    assert counts.items == 700 + 700 + 700 + 350 + 350 and counts.write_units == 700 + 350
    assert counts.throttled > proxy.made["throughput"], "what is left over counts as well"


def test_the_budget_is_spent_and_no_more(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect(budget=1.5)
    proxy.trouble("throughput")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        client.put("a", row("1"))
    assert 0.05 < time.monotonic() - began < 3.75 and proxy.seen["PutItem"] > 3
    told = str(caught.value)
    assert "PutItem" in told and client._transport.full_name("a") in told and "ProvisionedThroughputExceeded" in told
    with pytest.raises(StoreUnavailable, match=r"BatchWriteItem.* 1\.5 s .*attempts.*ProvisionedThroughputExceeded"):
        client.put_many("a", [row(str(number)) for number in range(500)])
    assert proxy.seen["BatchWriteItem"] < 200, "the other batches are given up with the first"
    time.sleep(0.5)  # what was on its way when they were given up has come to the proxy as well
    proxy.calm()
    assert client.query("a", "p") == []


def test_an_answer_that_does_not_come_is_not_waited_for(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect(budget=0.5)
    proxy.trouble("hang")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"GetItem.*no answer in time"):
        client.get("a", ("p", "1"))
    assert 0.4 < time.monotonic() - began < 2
    proxy.calm()
    assert client.get("a", ("p", "1")) is None


def test_a_connection_that_is_reset_is_told(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect(budget=0.3)
    proxy.trouble("reset")
    with pytest.raises(StoreUnavailable, match=r"the last reason: .*reset"):
        client.get("a", ("p", "1"))


def test_a_batch_that_goes_forward_has_its_time_again(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect(budget=1.5)
    proxy.trouble("unprocessed")
    proxy.trouble("throttling", 0.9, only=["BatchWriteItem"])  # behind the other, so it is never its turn
    proxy.part = lambda count: 1  # type: ignore[method-assign]
    slow = proxy.choose
    proxy.choose = lambda operation, size: (time.sleep(0.13), slow(operation, size))[1]  # type: ignore[method-assign]
    began = time.monotonic()
    client.put_many("a", [row(f"{number:02}") for number in range(25)])
    assert time.monotonic() - began > 25 * 0.13 > 2 * 1.5 and proxy.seen["BatchWriteItem"] == 25
    assert proxy.made["throttling"] == 0


@pytest.mark.parametrize("kind", ["lost", "reset", "cut"])
def test_a_lost_answer_is_no_false_stale(kind: str, proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.trouble(kind, only=["PutItem"], times=1)
    client.put("a", row("1", fence=1, big=1e23), {"pk": None})
    proxy.trouble(kind, only=["PutItem"], times=2)
    client.put("a", row("1", fence=2, big=1e23), {"fence": 1})
    found = client.get("a", ("p", "1"))
    assert proxy.made[kind] == 3 and found is not None and found["fence"] == 2
    assert proxy.seen["GetItem"] == (1 if kind == "cut" else 3), "after a cut the second put finds what it expects"


def test_a_lost_answer_does_not_hide_a_true_stale(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client, other = connect(), connect()
    other.put("a", row("1", fence=7))
    proxy.trouble("cut", only=["PutItem"], times=1)
    with pytest.raises(Stale):
        client.put("a", row("1", fence=2), {"fence": 1})
    assert proxy.made["cut"] == 1 and proxy.seen["GetItem"] == 1
    with pytest.raises(Stale):
        client.put("a", row("1", fence=7), {"fence": 1})
    assert proxy.seen["GetItem"] == 1, "without a doubt nobody looks"
    proxy.trouble("throughput", only=["PutItem"], times=1)
    with pytest.raises(Stale):
        client.put("a", row("1", fence=7), {"fence": 1})
    assert proxy.seen["GetItem"] == 1, "what was throttled has not been done"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("denied", "does not allow PutItem on the table .*-a in eu-central-1: allow dynamodb:PutItem"),
        ("signature", "does not accept the credentials in eu-central-1 .*check AWS_ACCESS_KEY_ID.*region.*clock"),
        ("expired", "does not accept the credentials in eu-central-1 .*AWS_SESSION_TOKEN"),
        ("unheard of", "refuses PutItem on the table .*-a in eu-central-1: SomethingNewException$"),
        ("invalid", "refuses PutItem on the table .*-a in eu-central-1: ValidationException"),
    ],
)
def test_what_does_not_pass_is_said_once_with_what_to_do(
    kind: str, told: str, proxy: FaultProxy, connect: Callable[..., Client]
) -> None:
    client = connect()
    proxy.trouble(kind)
    with pytest.raises(StoreUnavailable, match=told) as caught:
        client.put("a", row("1"))
    assert proxy.seen["PutItem"] == 1
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    if kind != "invalid":
        assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_nobody_there() -> None:
    began = time.monotonic()
    told = r"eu-central-1 has not done DescribeTable on the table none-a within 0\.4 s .*check the region"
    with pytest.raises(StoreUnavailable, match=told):
        Client.open(REGION, "none", aws_at(f"http://127.0.0.1:{free_port()}"), ["a"], budget=0.4)
    assert time.monotonic() - began < 3
    assert "dynamodb" not in [thread.name for thread in threading.enumerate()]


def test_no_credentials_at_all(proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match=r"no credentials for DynamoDB in eu-central-1.*AWS_ACCESS_KEY_ID.*role"):
        Client.open(REGION, "none", Aws(proxy.url), ["a"])
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(StoreUnavailable, match="no credentials"):
        Client.open(REGION, "none", Aws(proxy.url), ["a"])
    monkeypatch.delenv("AWS_PROFILE")
    (tmp_path / "none").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    Client.open(REGION, tmp_path.name, Aws(proxy.url, create_tables=True), ["a"]).close()


def test_close_breaks_off_what_is_under_way(proxy: FaultProxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.trouble("hang", only=["BatchWriteItem"])
    ends: list[StoreError] = []

    def write() -> None:
        try:
            client.put_many("a", [row(f"{number:03}") for number in range(300)])
        except StoreError as error:
            ends.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: proxy.seen["BatchWriteItem"] == 8, what="eight requests under way")
    client.close()
    thread.join(5)
    assert not thread.is_alive() and [type(end) for end in ends] == [StoreClosed]
