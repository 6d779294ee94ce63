"""A full disk under a server, while it runs, writes a checkpoint, is killed and starts."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import START, Campaign
from tests.faults.numbers import by_size, pick, result
from tests.faults.senders import Load, under_load
from tests.faults.servers import fill, small_disk
from tests.support import Streamgauge, wait_until


def campaign_on(disk: Path, directory: Path, name: str, **settings: object) -> Campaign:
    """A server with log and store on a disk."""
    own = {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2", "DATA_DIR": disk / "data", **settings}
    campaign = Campaign(name, [Streamgauge(directory, own)], errors=True)
    campaign.begin()
    return campaign


def test_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 48) as disk:
        campaign = campaign_on(disk, tmp_path / "server", "disk full")
        [server] = campaign.servers
        rng = pick("disk")
        try:
            for _ in range(int(by_size(1, 10))):
                leave = rng.randrange(300_000)
                under_load(campaign.senders, lambda load, leave=leave: while_full(load, campaign, disk, leave), True)
                campaign.settle()
                campaign.check()
            under_load(campaign.senders, lambda load: kill_while_full(load, campaign, disk), patient=False)
            if server.child is None:
                server.start(START)
            campaign.settle()
            campaign.check()
            result(campaign.name, f"refused meanwhile: {dict(campaign.refusals())}; {campaign.figures()}")
        finally:
            server.kill()


def while_full(load: Load, campaign: Campaign, disk: Path, leave: int) -> None:
    """Fills the disk under load, waits for the refusals and for a checkpoint that fails, and makes room again."""
    [server] = campaign.servers
    load.wait(20)
    before = campaign.refusals()["log_unavailable"]
    filler = fill(disk, leave)
    wait_until(lambda: campaign.refusals()["log_unavailable"] >= before + 5, START, "refusals")
    wait_until(lambda: "is tried again" in server.output, START, "a checkpoint that fails")
    assert server.call("GET", "/health")["status"] == "ok"
    assert server.call("GET", "/ready")
    assert server.ask("metric:f_delta", aggregation="sum", time_range="1h")["data"][0]["count"] > 0
    filler.unlink()
    load.wait(20)


def kill_while_full(load: Load, campaign: Campaign, disk: Path) -> None:
    """Kills the server on a full disk, and starts it there."""
    [server] = campaign.servers
    load.wait(20)
    filler = fill(disk)
    wait_until(lambda: any(sender.open for sender in campaign.senders), START, "refusals")
    server.kill()
    fill(disk)
    campaign.kills += 1
    try:
        server.start(START)
    except AssertionError as error:  # where the store's file cannot even be opened; a sentence says so
        assert "ended with 2" in str(error), error
        assert "streamgauge: " in str(error), error
    filler.unlink()
