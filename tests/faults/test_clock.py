"""A clock that leaps an hour ahead and back: every row counts where it belongs, and time never goes back in the log."""

from __future__ import annotations

from pathlib import Path

from tests.faults.account import parse_time
from tests.faults.campaign import Campaign, now_ms
from tests.faults.numbers import by_size, result
from tests.faults.senders import Load, under_load
from tests.faults.servers import ClockedServer
from tests.faults.traffic import HOUR, MINUTE, SECOND

LEAP = HOUR


def test_leaps_of_an_hour(tmp_path: Path) -> None:
    settings: dict[str, object] = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": tmp_path / "data"}
    server = ClockedServer(tmp_path, settings)
    campaign = Campaign("clock leaps", [server])
    ahead = 0
    campaign.begin()
    try:
        for number in range(int(by_size(1, 4))):
            # The senders' clocks are right all the time; only the server's leaps.
            under_load(campaign.senders, lambda load: leap(load, campaign, server, LEAP), patient=True)
            ahead = campaign.account.floor[1]
            campaign.settle()
            campaign.check()
            under_load(campaign.senders, lambda load: leap(load, campaign, server, 0), patient=True)
            campaign.settle()
            arrival_stands_still(server, ahead)
            campaign.account.metrics += 1
            if number % 2:
                server.kill()
                campaign.begin()
            campaign.check()
        server.kill()
        campaign.begin()
        arrival_stands_still(server, ahead)
        campaign.account.metrics += 1
        campaign.check()
        result(campaign.name, campaign.figures())
    finally:
        server.kill()


def leap(load: Load, campaign: Campaign, server: ClockedServer, offset: int) -> None:
    """Sets the clock under load; the account learns of stamps that can only be later."""
    account = campaign.account
    load.wait(20)
    before = stamp(server)
    account.ahead = max(account.ahead, offset)
    server.set(offset)
    load.wait(40)
    after = stamp(server)
    assert after >= before, "time has gone back in the log"
    assert after > now_ms() + LEAP - MINUTE, "the log has not seen the leap, or has forgotten it"
    account.floor = now_ms() + 1, after
    for sender in campaign.senders:
        sender.writer.generation += 1  # begins running totals of which all is known
    load.wait(20)


def arrival_stands_still(server: ClockedServer, ahead: int) -> None:
    """What comes without a time after the leap back gets the newest stamp, so it is not before what was there."""
    metric = {"name": "f_still", "metric_type": "gauge", "value": 1}
    answer = server.call("POST", "/api/metrics", metric, expect=201)
    assert parse_time(answer["timestamp"]) >= ahead - SECOND


def stamp(server: ClockedServer) -> int:
    """The newest stamp applied."""
    return parse_time(server.call("GET", "/api/stats")["time"])
