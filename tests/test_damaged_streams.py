"""A Redis stream that others have put entries in, trimmed, deleted or replaced: said or refused, and made good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from server.log.redis_names import parse_id
from server.wire.entry import unpack_entry
from tests.support import RedisServer, Streamgauge, wait_until
from tests.test_damaged_logs import run_command

ROWS = 5


class River:
    """A server on a stream of its own, and the stream."""

    def __init__(self, directory: Path, redis: RedisServer) -> None:
        self.stream = f"damaged:{directory.name}"
        url = f"{redis.url}?stream={self.stream}"
        self.server = Streamgauge(directory, {"REDIS_URL": url, "CHECKPOINT_INTERVAL": "3600", "LATENESS": "1"})
        self.client = Redis(port=redis.port)
        self.sent = 0

    def send(self, count: int = 10) -> None:
        for _ in range(count):
            self.server.call("POST", "/api/metrics", [{"name": "m", "metric_type": "counter", "value": 1}] * ROWS, 202)
            self.sent += ROWS

    def refused(self) -> str:
        """What a start says that is refused; the server has been killed."""
        done = run_command(self.server, "serve")
        assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
        return done.stderr[done.stderr.rindex("streamgauge: ") :]

    def repair(self) -> str:
        done = run_command(self.server, "repair", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def accepted(self) -> tuple[int, dict[str, int]]:
        ledger = self.server.call("GET", "/api/ledger")
        assert ledger["balanced"] is True
        return ledger["accepted"], ledger["rejected"]

    def entry(self, number: int) -> tuple[bytes, bytes]:
        """(id, payload) of one of the entries that hold rows."""
        found = [(id, fields[b"e"]) for id, fields in self.client.xrange(self.stream)]
        return [(id, payload) for id, payload in found if unpack_entry(payload).batch is not None][number]


@pytest.fixture
def river(tmp_path: Path, redis_server: RedisServer) -> Iterator[River]:
    made = River(tmp_path, redis_server)
    made.server.start()
    yield made
    made.server.kill()
    made.client.close()


def test_entries_of_others_are_refused_and_taken_out(river: River) -> None:
    river.send()
    river.client.xadd(river.stream, {"theirs": "x"})
    wait_until(lambda: river.server.child is not None and river.server.child.poll() is not None, 30, "the end of it")
    assert "Traceback" not in river.server.output
    river.client.xadd(river.stream, {"e": "no entry at all"})
    said = river.refused()
    assert "none of Streamgauge's" in said and "cannot be read" in said and "streamgauge repair" in said
    assert "how many rows are lost is not known" in river.repair()
    [kept] = (river.server.directory / "data").glob("damaged-*/entries.ndjson")
    assert len(kept.read_text().splitlines()) == 2
    river.server.start()
    assert river.accepted()[0] == river.sent


def test_a_stream_that_others_have_trimmed_is_refused(river: River) -> None:
    river.send(4)
    assert river.server.stop() == 0
    river.server.start()
    river.send(6)
    river.server.kill()
    river.client.xtrim(river.stream, maxlen=2, approximate=False)
    assert "what lay between is not there any more" in river.refused()
    river.repair()
    river.server.start()
    accepted, rejected = river.accepted()
    assert accepted + sum(rejected.values()) <= river.sent and accepted >= 4 * ROWS


def test_a_stream_in_the_place_of_another_is_refused(river: River) -> None:
    river.send()
    river.server.kill()
    river.client.delete(river.stream, f"{river.stream}:epoch", f"{river.stream}:cursors")
    assert "another log" in river.refused()


def test_a_stream_deleted_while_running_is_said_or_survived(river: River) -> None:
    river.send()
    river.client.delete(river.stream)
    river.send()
    assert river.accepted()[0] == river.sent, "what was applied is applied"
    assert river.server.stop() == 0
    river.server.start()
    assert river.accepted()[0] == river.sent, "the checkpoint has it"


def test_newest_entries_deleted_by_hand_are_refused_and_made_good(river: River) -> None:
    river.send()
    gone, _ = river.entry(6)
    river.server.kill()
    late = [id for id, _ in river.client.xrange(river.stream, min=gone)]
    assert river.client.xdel(river.stream, *late) >= 4
    said = river.refused()
    assert "somebody has deleted" in said and "an unknown number of rows" in said and "streamgauge repair" in said
    assert "how many rows are lost is not known" in river.repair()
    river.server.start()
    assert river.accepted() == (6 * ROWS, {}), "what is left"
    river.send(1)
    river.server.kill()
    river.server.start()
    assert river.accepted() == (7 * ROWS, {})
    assert run_command(river.server, "verify", "--url", river.server.url).returncode == 0


def test_entries_deleted_between_others_are_refused_and_counted(river: River) -> None:
    river.send(5)
    middle = [river.entry(number)[0] for number in (2, 3)]
    assert river.client.xdel(river.stream, *middle) == 2
    river.send(5)
    river.server.kill()
    said = river.refused()
    assert "somebody has deleted" in said and f"at least {2 * ROWS} rows" in said
    assert f"at least {2 * ROWS} rows are lost" in river.repair()
    river.server.start()
    assert river.accepted() == (8 * ROWS, {"damaged": 2 * ROWS})
    assert "Nothing is damaged" in run_after_kill(river, "repair", "--yes")


def test_entries_deleted_behind_the_checkpoint_do_not_matter(river: River) -> None:
    river.send(5)
    assert river.server.stop() == 0
    river.server.start()
    river.client.xdel(river.stream, *[id for id, _ in river.client.xrange(river.stream)][:2])
    river.send(1)
    river.server.kill()
    river.client.xdel(river.stream, "1-1")  # nothing
    river.server.start()
    assert river.accepted() == (river.sent, {})


def test_an_end_that_is_not_there_is_refused_unless_redis_is_known_to_have_lost_it(river: River) -> None:
    river.send(4)
    river.server.kill()
    newest, _ = river.client.xrevrange(river.stream, count=1)[0]
    beyond = f"{int(newest.partition(b'-')[0]) + 1000}-0"
    river.client.execute_command("XSETID", river.stream, beyond)
    said = river.refused()
    assert "had reached entry" in said and "streamgauge repair" in said
    river.client.set(f"{river.stream}:lost", parse_id(beyond))
    river.server.start()
    assert river.accepted() == (river.sent, {})
    assert "Redis has lost the entries of" in river.server.output
    river.server.kill()
    river.client.delete(f"{river.stream}:lost")
    river.client.execute_command("XSETID", river.stream, f"{int(beyond[:-2]) + 3_600_000}-0")
    assert "is not known" in river.repair()
    river.server.start()
    assert river.accepted() == (river.sent, {})


def run_after_kill(river: River, *arguments: str) -> str:
    """What a command says when the server has been killed."""
    river.server.kill()
    return run_command(river.server, *arguments).stdout
