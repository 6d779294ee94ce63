"""Two gateways and two engines on one Redis and one DynamoDB, any of them killed at any moment: nothing lost, nothing
twice, and both gateways answer alike."""

from __future__ import annotations

from pathlib import Path

from tests.dynamodb_support import MotoServer
from tests.faults.campaign import Campaign
from tests.faults.numbers import KILLS_TOGETHER, LONG, SEED, result
from tests.faults.traffic import NAMES
from tests.roles_support import Together
from tests.support import RedisServer


def test_any_process_may_die(redis_server: RedisServer, moto: MotoServer, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    # Few events make a flush due, so that there are many in the midst of which an engine is killed.
    together = Together(
        tmp_path, redis_server, moto.url, EVENT_BUFFER_SIZE=20, CHECKPOINT_INTERVAL="0.2", DEDUP_KEYS=5_000_000
    )
    campaign = Campaign("kills, gateways and engines", together.gateways, errors=True, others=together.engines)
    try:
        campaign.begin()
        number = 0
        while campaign.kills < KILLS_TOGETHER:
            campaign.round(number)
            number += 1
        campaign.names = len(NAMES) if LONG else 2
        campaign.check(verify=True)
        result(campaign.name, campaign.figures())
    finally:
        together.kill()
