"""A Redis stream that others have put entries in, trimmed, deleted or replaced: said or refused, and made good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

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
