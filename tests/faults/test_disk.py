"""A full disk under a server, while it runs, writes a checkpoint, is killed and starts."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import START, Campaign
from tests.faults.numbers import by_size, pick, result
from tests.faults.senders import Load, under_load
from tests.faults.servers import Disk, DiskServer, fill, small_disk
from tests.support import wait_until


def test_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 48) as disk:
        server = DiskServer(tmp_path / "server", {"CHECKPOINT_INTERVAL": "0.2", "LATENESS": "2"}, disk)
        campaign = Campaign("disk full", [server], errors=True)
        rng = pick("disk")
        try:
            campaign.begin()
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


def while_full(load: Load, campaign: Campaign, disk: Disk, leave: int) -> None:
    """Fills the disk under load, waits for the refusals and for a checkpoint that fails, and makes room again."""
    [server] = campaign.servers
    load.wait(20)
    before = campaign.refusals()["log_unavailable"]
    filler = fill(disk.outside, leave)
    wait_until(lambda: campaign.refusals()["log_unavailable"] >= before + 5, START, "refusals")
    wait_until(lambda: "is tried again" in server.output, START, "a checkpoint that fails")
    assert server.call("GET", "/health")["status"] == "ok"
    assert server.call("GET", "/ready")
    assert server.ask("metric:f_delta", aggregation="sum", time_range="1h")["data"][0]["count"] > 0
    filler.unlink()
    load.wait(20)


def kill_while_full(load: Load, campaign: Campaign, disk: Disk) -> None:
    """Kills the server on a full disk, and starts it there."""
    [server] = campaign.servers
    load.wait(20)
    filler = fill(disk.outside)
    wait_until(lambda: any(sender.open for sender in campaign.senders), START, "refusals")
    server.kill()
    fill(disk.outside)
    campaign.kills += 1
    try:
        server.start(START)
    except AssertionError as error:  # where the store's file cannot even be opened; a sentence says so
        assert "ended with 2" in str(error), error
        assert "streamgauge: " in str(error), error
    filler.unlink()
