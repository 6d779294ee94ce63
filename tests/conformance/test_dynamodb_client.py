"""What the client of DynamoDB promises to the store, against two stand-ins that are real processes."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store import StoreClosed
from server.store.dynamodb.client import Client, Item, Stale
from server.store.dynamodb.values import item_size, to_wire
from tests.dynamodb_support import REGION, Dynalite, FaultProxy, MotoServer, aws_at


@pytest.fixture(params=["moto", "dynalite"])
def stand_in(request: pytest.FixtureRequest) -> MotoServer | Dynalite:
    found: MotoServer | Dynalite = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(stand_in: MotoServer | Dynalite) -> Iterator[FaultProxy]:
    with FaultProxy(stand_in.url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy, tmp_path: Path) -> Iterator[Client]:
    client = Client.open(REGION, tmp_path.name, aws_at(proxy.url), ["a", "b"])
    yield client
    client.close()


def row(sk: str, pk: str = "p", **more: str | int | float | bytes) -> Item:
    return {"pk": pk, "sk": sk, **more}


def test_an_item_comes_back_as_it_was_put(client: Client) -> None:
    item = row(
        "key ✓", text='é "quoted" \n \x01 \U0001f600', number=-(10**37), fraction=0.1, tiny=1e-100, zero=0,
        data=bytes(range(256)),
    )  # fmt: skip
    client.put("a", item)
    assert client.get("a", ("p", "key ✓")) == item
    assert type(client.get("a", ("p", "key ✓"))["number"]) is int  # type: ignore[index]
    assert client.get("b", ("p", "key ✓")) is None and client.get("a", ("p", "other")) is None
    client.put("a", row("key ✓", only=1.0))
    assert client.get("a", ("p", "key ✓")) == row("key ✓", only=1)


def test_numbers_at_the_limits_come_back(client: Client) -> None:
    numbers = [10**37, 10**38 - 1, -(10**38 - 1), 1.7976931e120, 5e-125, 1e23, 123456789.123456789, -0.5, 100, 0.0]
    client.put("a", row("n", **{f"n{place}": number for place, number in enumerate(numbers)}))
    found = client.get("a", ("p", "n"))
    assert found is not None
    assert [float(found[f"n{place}"]) for place in range(len(numbers))] == list(map(float, numbers))
    assert [found["n0"], found["n1"], found["n2"]] == numbers[:3]


def test_empty_values_come_back(moto: MotoServer) -> None:
    """dynalite refuses them, as DynamoDB did until 2020."""
    client = Client.open(REGION, "empty", aws_at(moto.url), ["a"])
    client.put_many("a", [row("1", text="", data=b"")])
    assert client.get("a", ("p", "1")) == row("1", text="", data=b"")
    client.close()


def test_many_are_written_read_and_deleted_over_all_batches(client: Client, proxy: FaultProxy) -> None:
    items = [row(f"{number:04}", number=number) for number in range(260)]
    client.put_many("a", (item for item in items))
    assert proxy.seen["BatchWriteItem"] == 11
    found = client.get_many("a", [("p", f"{number:04}") for number in range(300)])
    assert proxy.seen["BatchGetItem"] == 3
    assert found == {("p", str(item["sk"])): item for item in items}
    client.put_many("a", [item | {"number": -1} for item in items[:3]])
    client.delete_many("a", [("p", f"{number:04}") for number in range(2, 270)])
    assert client.query("a", "p") == [item | {"number": -1} for item in items[:2]]
    client.put_many("a", [])
    client.delete_many("a", [])
    assert client.get_many("a", []) == {} and client.query_many("a", []) == []


def test_large_items_go_in_requests_that_are_allowed(
    client: Client, proxy: FaultProxy, stand_in: MotoServer | Dynalite
) -> None:
    most = 409_600 if isinstance(stand_in, Dynalite) else 300_000  # moto weighs bytes as the longer text they travel as
    data = bytes(most - len("pk" + "p" + "sk" + "00" + "data"))
    items = [row(f"{number:02}", data=data) for number in range(30)]
    control = [row(f"c{number:02}", text="\x01" * 400_000) for number in range(10)]
    client.put_many("a", items)
    assert proxy.seen["BatchWriteItem"] == 2 and proxy.largest > 25 * most
    client.put_many("a", control)
    assert proxy.seen["BatchWriteItem"] == 2 + 2, "2.4 MB of JSON each: six of them fit into a request"
    assert proxy.largest <= 16_000_000
    assert client.query("a", "p", "00", "99") == items and proxy.seen["Query"] >= 8, "1 MB a page"
    keys = [(str(item["pk"]), str(item["sk"])) for item in [*items, *control]]
    assert list(client.get_many("a", keys).values()) == [*items, *control]


def test_a_query_is_a_range_of_one_pk(client: Client) -> None:
    rows = [row(sk) for sk in ("a", "b", "b1", "c", "é")]
    client.put_many("a", [*rows, row("b", pk="q"), row("b", pk="p1")])
    client.put_many("b", [row("b", other=1)])
    assert client.query("a", "p") == rows
    assert client.query("a", "p", "b") == rows[1:]
    assert client.query("a", "p", "b", "c") == rows[1:4], "both ends lie inside"
    assert client.query("a", "p", last="b") == rows[:2]
    assert client.query("a", "p", "bb", "bz") == [] == client.query("a", "none")
    assert client.query("a", "p", "c", "b") == [] == client.query("a", "p", last=""), "an empty range is no request"
    assert client.query("a", "p", backwards=True) == rows[::-1]
    assert client.query("a", "p", "b", "c", backwards=True, limit=2) == [rows[3], rows[2]]
    assert client.query("a", "p", limit=0) == [] and client.query("a", "p", limit=99) == rows


def test_queries_side_by_side_keep_their_order(client: Client) -> None:
    items = [row(f"{number:03}", pk=f"p{number % 40}") for number in range(200)]
    client.put_many("a", items)
    ranges = [(f"p{number}", f"{number + 40:03}", None) for number in reversed(range(42))]
    expected = [[item for item in items if item["pk"] == pk and str(item["sk"]) >= first] for pk, first, _ in ranges]
    assert client.query_many("a", ranges) == expected and expected[-1]


def test_what_has_expired_is_not_read(client: Client) -> None:
    now = 2_000_000_000
    client._clock = lambda: now
    client.put_many("a", [row(str(n), expires=now + n - 5) for n in range(10)] + [row("x"), row("y", expires="text")])
    kept = [row(str(n), expires=now + n - 5) for n in (6, 7, 8, 9)] + [row("x"), row("y", expires="text")]
    assert client.query("a", "p") == kept == client.query_many("a", [("p", "", None)])[0]
    assert client.query("a", "p", limit=2) == kept[:2], "the limit is one of what is returned"
    assert list(client.get_many("a", [("p", str(n)) for n in range(4, 8)])) == [("p", "6"), ("p", "7")]
    assert client.get("a", ("p", "5")) is None and client.get("a", ("p", "6")) == kept[0]


def test_a_put_may_depend_on_what_is_there(client: Client) -> None:
    client.put("a", row("1", owner="x", fence=1), {"pk": None})
    with pytest.raises(Stale):
        client.put("a", row("1", owner="y", fence=2), {"pk": None})
    with pytest.raises(Stale):
        client.put("a", row("1", owner="y", fence=2), {"fence": 2})
    with pytest.raises(Stale):
        client.put("a", row("1", owner="y", fence=2), {"owner": "x", "fence": None})
    with pytest.raises(Stale):
        client.put("a", row("2"), {"fence": 1})
    client.put("a", row("1", owner="y", fence=2, data=b"d"), {"fence": 1, "owner": "x", "other": None})
    client.put("a", row("1", owner="z", fence=2.5), {"data": b"d"})
    client.put("a", row("1", owner="z", fence=3, size="reserved", name="reserved"), {"fence": 2.5})
    assert client.get("a", ("p", "1")) == row("1", owner="z", fence=3, size="reserved", name="reserved")
    client.put("a", row("1"), {"size": "reserved", "name": "reserved"})


def test_of_many_puts_that_exclude_one_another_one_is_done(client: Client) -> None:
    for turn in range(5):
        won: list[int] = []
        barrier = threading.Barrier(8)

        def work(number: int, turn: int = turn, won: list[int] = won, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                client.put("a", row("1", turn=turn, by=number), {"turn": turn - 1 if turn else None})
            except Stale:
                return
            won.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(won) == 1 and client.get("a", ("p", "1")) == row("1", turn=turn, by=won[0])


def test_sizes_are_those_that_dynalite_counts(dynalite: Dynalite, tmp_path: Path) -> None:
    """It has taken them from measurements of DynamoDB itself. A byte more than a full unit costs another one."""
    client = Client.open(REGION, tmp_path.name, aws_at(dynalite.url), ["a"])
    rng = random.Random(3)
    for turn in range(60):
        numbers: list[int | float] = [0, rng.randrange(-(10**37), 10**37), rng.randrange(-1000, 1000), rng.gauss(0, 1)]
        numbers += [rng.randrange(1, 10**6) * 10 ** rng.randrange(9), rng.random() * 10.0 ** rng.randrange(-20, 20)]
        item = row(str(turn), data=rng.randbytes(rng.randrange(100)), fill="")
        item |= {f"n{place}": number for place, number in enumerate(numbers)}
        for units, more in ((1, 0), (2, 1)):
            item["fill"] = ""
            item["fill"] = "f" * (1_024 - item_size(item) + more)
            body = {"TableName": f"{tmp_path.name}-a", "Item": to_wire(item), "ReturnConsumedCapacity": "TOTAL"}
            answer = client._transport.run(client._transport.send("PutItem", "a", body))
            assert answer["ConsumedCapacity"]["CapacityUnits"] == units, item
    client.close()


def test_what_breaks_a_limit_is_refused_here(client: Client, proxy: FaultProxy) -> None:
    before = sum(proxy.seen.values())
    large: Item = row("1", data=bytes(409_600))
    for item in (
        *(row(""), row("x", pk=""), row("s" * 1025), row("x", pk="p" * 2049), row("é" * 513), large, {"sk": "1"}),
        *(row("1", f=float("nan")), row("1", f=1e126), row("1", f=1e-131), row("1", n=10**38 + 1), row("1", b=True)),
        *({"pk": "p", "sk": 1}, {"pk": "p", "sk": "1", "text": "\ud800"}),
    ):
        with pytest.raises(ValueError):
            client.put("a", item)
        with pytest.raises(ValueError):
            client.put_many("a", [row("good"), item])
    for keys in ([("p", "1"), ("p", "1")], [("", "1")], [("p", "")], [("p" * 2049, "1")]):
        with pytest.raises(ValueError):
            client.get_many("a", keys)
        with pytest.raises(ValueError):
            client.delete_many("a", keys)
    with pytest.raises(ValueError):
        client.put_many("a", [row("1"), row("2"), row("1", other=1)])
    with pytest.raises(ValueError):
        client.query("a", "p", "s" * 1025)
    with pytest.raises(KeyError):
        client.get("c", ("p", "1"))
    assert sum(proxy.seen.values()) == before, "nothing was sent"
    with pytest.raises(ValueError, match="409601 bytes"):
        client.put("a", row("1", text="t" * (409_601 - len("pk" + "p" + "sk" + "1" + "text"))))
    client.put("a", row("1", text="t" * (404_000)))
    client.put("a", row("s" * 1024, pk="p" * 2048))


def test_many_threads_may_use_it(client: Client) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                mine = [row(f"{turn}-{n}", pk=f"t{number}", turn=turn) for n in range(30)]
                client.put_many("a", mine)
                assert len(client.query("a", f"t{number}", f"{turn}-", f"{turn}-~")) == 30
                assert len(client.get_many("a", [(str(i["pk"]), str(i["sk"])) for i in mine])) == 30
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed, failed[0]
    assert client.usage.snapshot()["a"].items == 12 * 5 * 90
    assert "dynamodb" in [thread.name for thread in threading.enumerate()]
    client.close()
    client.close()
    assert "dynamodb" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(StoreClosed):
        client.get("a", ("p", "1"))


def test_what_is_sent_is_counted_as_it_is_billed(client: Client) -> None:
    before = client.usage.snapshot()
    assert before["a"].items == 0 and before["a"].requests >= 2, "looking at the table is a request"
    sizes = [3_000, 1_024, 100]
    items = [row(str(n), data=bytes(size - len("pk" + "p" + "sk" + "1" + "data"))) for n, size in enumerate(sizes)]
    client.put("a", items[0])
    client.put_many("a", items[1:])
    counts = client.usage.snapshot()["a"]
    assert (counts.write_units, counts.read_units, counts.items, counts.bytes) == (3 + 1 + 1, 0, 3, sum(sizes))
    client.get("a", ("p", "0"))
    client.get("a", ("p", "none"))
    client.get_many("a", [("p", "0"), ("p", "1"), ("p", "none")])
    counts = client.usage.snapshot()["a"]
    assert counts.read_units == 1 + 1 + 3 and counts.items == 6
    client.query("a", "p")
    client.query("a", "none")
    with pytest.raises(Stale):
        client.put("a", items[0], {"other": 1})
    counts = client.usage.snapshot()["a"]
    assert counts.read_units == 5 + 2 + 1 and counts.write_units == 5 + 3 and counts.items == 9
    assert counts.bytes == sum(sizes) + 3_000 + 4_024 + 4_124
    assert counts.requests - before["a"].requests == 8 and counts.retries == counts.throttled == 0
    assert client.usage.snapshot()["b"] == before["b"] and client.usage.total().items == 9
