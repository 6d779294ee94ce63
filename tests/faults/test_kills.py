"""kill -9 at random moments under load: nothing lost, nothing twice, at any resolution, on either log."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.numbers import KILLS_EMBEDDED, KILLS_REDIS, LONG, SEED, result
from tests.faults.traffic import NAMES
from tests.support import RedisServer, Streamgauge

SETTINGS: dict[str, object] = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DEDUP_KEYS": 5_000_000}


def run(campaign: Campaign, kills: int) -> None:
    """Rounds until there were so many kills."""
    print(f"seed {SEED}")
    try:
        campaign.begin()
        number = 0
        while campaign.kills < kills:
            campaign.round(number)
            number += 1
        campaign.names = len(NAMES)
        if LONG or not campaign.verified:
            campaign.check(verify=True)
        result(campaign.name, campaign.figures())
    finally:
        for server in campaign.servers:
            server.kill()


def test_embedded(tmp_path: Path) -> None:
    server = Streamgauge(tmp_path, {**SETTINGS, "DATA_DIR": tmp_path / "data"})
    run(Campaign("kills, embedded log", [server], thorough=True), KILLS_EMBEDDED)


def test_two_servers_on_one_redis_stream(redis_server: RedisServer, tmp_path: Path) -> None:
    stream = f"kills:{tmp_path.name}"
    # Both are known before either starts, so that the first trims nothing that the second has not seen.
    redis_server.ask(f"HSET {stream}:cursors one 0 two 0".encode())
    servers = [
        Streamgauge(
            tmp_path / name,
            {
                **SETTINGS, "DATA_DIR": tmp_path / name / "data",
                "REDIS_URL": f"{redis_server.url}?stream={stream}&consumer={name}",
            },
        )
        for name in ("one", "two")
    ]  # fmt: skip
    run(Campaign("kills, two servers on one Redis", servers), KILLS_REDIS)
