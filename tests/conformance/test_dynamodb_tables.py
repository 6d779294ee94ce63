"""The tables are looked at when they are opened, made where that is wanted, and refused where they are another's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store import StoreError, StoreUnavailable, StoreVersion
from server.store.dynamodb import tables
from server.store.dynamodb.client import Client
from tests.dynamodb_support import REGION, Dynalite, FaultProxy, MotoServer, ask, aws_at, make_table

TABLES = ["a", "b", "c"]


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return tmp_path.name


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[FaultProxy]:
    with FaultProxy(moto.url) as proxy:
        yield proxy


def expire(url: str, name: str, attribute: str) -> None:
    spec = {"Enabled": True, "AttributeName": attribute}
    ask(url, "UpdateTimeToLive", TableName=name, TimeToLiveSpecification=spec)


def test_missing_tables_are_made_as_they_should_be(moto: MotoServer, prefix: str) -> None:
    Client.open(REGION, prefix, aws_at(moto.url), TABLES).close()
    for table in TABLES:
        name = f"{prefix}-{table}"
        made = ask(moto.url, "DescribeTable", TableName=name)["Table"]
        assert {each["AttributeName"]: each["KeyType"] for each in made["KeySchema"]} == {"pk": "HASH", "sk": "RANGE"}
        assert {each["AttributeType"] for each in made["AttributeDefinitions"]} == {"S"}
        assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        expiry = ask(moto.url, "DescribeTimeToLive", TableName=name)["TimeToLiveDescription"]
        assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    again = Client.open(REGION, prefix, aws_at(moto.url, create_tables=False), TABLES)
    again.put("a", {"pk": "p", "sk": "s"})
    again.close()


def test_a_stand_in_without_expiry_serves_nevertheless(
    dynalite: Dynalite, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        Client.open(REGION, prefix, aws_at(dynalite.url), ["a"]).close()
    assert caplog.text.count("no time to live") == 2


def test_missing_tables_are_not_made_unasked(proxy: FaultProxy, prefix: str) -> None:
    make_table(proxy.url, f"{prefix}-a", pk="S", sk="S")
    expire(proxy.url, f"{prefix}-a", "expires")
    before = proxy.seen["CreateTable"], proxy.seen["UpdateTimeToLive"]
    told = f"the table {prefix}-[bc] is not there in eu-central-1: set CREATE_TABLES=true"
    with pytest.raises(StoreUnavailable, match=told):
        Client.open(REGION, prefix, aws_at(proxy.url, create_tables=False), TABLES)
    assert (proxy.seen["CreateTable"], proxy.seen["UpdateTimeToLive"]) == before
    assert "dynamodb" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    "keys", [{"id": "S"}, {"pk": "S"}, {"pk": "S", "sk": "N"}, {"sk": "S", "pk": "S"}, {"pk": "B", "sk": "S"}]
)
def test_a_table_with_another_key_is_refused(keys: dict[str, str], moto: MotoServer, prefix: str) -> None:
    make_table(moto.url, f"{prefix}-a", **keys)
    with pytest.raises(StoreVersion, match=f"the table {prefix}-a has the key .* another program; use another prefix"):
        Client.open(REGION, prefix, aws_at(moto.url), ["a"])


def test_expiry_by_another_attribute_is_refused(moto: MotoServer, prefix: str) -> None:
    make_table(moto.url, f"{prefix}-a", pk="S", sk="S")
    expire(moto.url, f"{prefix}-a", "ttl")
    with pytest.raises(StoreVersion, match=r"lets items go by the attribute ttl instead of expires"):
        Client.open(REGION, prefix, aws_at(moto.url), ["a"])


def test_expiry_is_turned_on_only_where_tables_may_be_made(moto: MotoServer, prefix: str) -> None:
    make_table(moto.url, f"{prefix}-a", pk="S", sk="S")
    with pytest.raises(StoreUnavailable, match=r"does not let items go .*DISABLED.*CREATE_TABLES=true"):
        Client.open(REGION, prefix, aws_at(moto.url, create_tables=False), ["a"])
    Client.open(REGION, prefix, aws_at(moto.url), ["a"]).close()
    Client.open(REGION, prefix, aws_at(moto.url, create_tables=False), ["a"]).close()


@pytest.mark.parametrize("stand_in", ["moto", "dynalite"])
def test_many_may_open_at_once(stand_in: str, prefix: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(stand_in).url
    failed: list[StoreError] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        try:
            Client.open(REGION, prefix, aws_at(url), TABLES).close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed, failed[0]


@pytest.mark.parametrize("kind", ["lost", "cut", "throttling", "error"])
def test_trouble_while_tables_are_made_is_got_over(kind: str, proxy: FaultProxy, prefix: str) -> None:
    for operation in ("DescribeTable", "CreateTable", "DescribeTimeToLive", "UpdateTimeToLive"):
        proxy.trouble(kind, only=[operation], times=1)
    Client.open(REGION, prefix, aws_at(proxy.url), ["a"]).close()
    assert proxy.made[kind] == 4
    Client.open(REGION, prefix, aws_at(proxy.url, create_tables=False), ["a"]).close()


def test_a_new_table_is_waited_for(dynalite: Dynalite, prefix: str, tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    slow.start()
    try:
        client = Client.open(REGION, prefix, aws_at(slow.url), ["a"])
        client.put("a", {"pk": "p", "sk": "s"})
        client.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "CREATE_SECONDS", 0.2)
            with pytest.raises(StoreUnavailable, match=f"{prefix}-b has not become ready"):
                Client.open(REGION, prefix, aws_at(slow.url), ["b"])
    finally:
        slow.kill()


class Slow(Dynalite):
    """Its tables take 700 ms to become usable."""

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--createTableMs") + 1] = "700"
        return words
