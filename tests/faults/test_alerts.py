"""kill -9 at random moments between a value and the message that tells of it: each episode reaches each far side with
one message that it fires and one that it is over; a message is repeated only under the id it had, and only where the
process died before it could write down that it had been taken."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.numbers import KILLS_ALERTS, SEED, pick, progress, result
from tests.notify_support import Delivery, HttpSink, SmtpSink
from tests.support import Streamgauge, wait_until

RULE = {
    "name": "Load", "metric_name": "load", "threshold": 100, "condition": ">",
    "notification_channels": ["webhook", "email"],
}  # fmt: skip


class Campaign:
    """One server, its far sides, and the values that go up and down."""

    def __init__(self, server: Streamgauge, chance: random.Random, hook: HttpSink, mail: SmtpSink) -> None:
        self.server, self.chance, self.hook, self.mail = server, chance, hook, mail
        self.kills = self.episodes = 0

    def run(self, kills: int) -> None:
        """Episodes until there were so many kills, two or more in each."""
        self.server.start()
        self.server.call("POST", "/api/alerts", RULE, 201)
        self._post(1)
        while self.kills < kills:
            self.episodes += 1
            for value, kind in ((150, "firing"), (1, "resolved")):
                self._post(value)
                for _ in range(self.chance.choice((1, 1, 2))):
                    self._kill()
                self._wait(kind)
            progress(f"{self.episodes} episodes, {self.kills} kills, {len(self.hook.deliveries)} messages")
        time.sleep(1)  # what would be told twice is told by now
        self.server.stop()

    def _post(self, value: float) -> None:
        self.server.call("POST", "/api/metrics", {"name": "load", "metric_type": "gauge", "value": value}, 201)

    def _kill(self) -> None:
        """Somewhere between the value and, about 1.2 s later, the mark that it has been told."""
        time.sleep(self.chance.uniform(0, 2.0))
        self.server.kill()
        self.server.start()
        self.kills += 1

    def _wait(self, kind: str) -> None:
        for told in (self._told_hook, self._told_mail):
            wait_until(lambda told=told: told()[kind] >= self.episodes, 60, f"{kind} of episode {self.episodes}")

    def _told_hook(self) -> Counter[str]:
        return Counter(kind for kind, _ in {(each.body["kind"], each.body["id"]) for each in self.hook.taken})

    def _told_mail(self) -> Counter[str]:
        found = {(mail_kind(each), str(each.mail["Message-ID"])) for each in self.mail.taken if each.mail is not None}
        return Counter(kind for kind, _ in found)

    def check(self) -> int:
        """How many messages came a second time, each under its id."""
        assert self._told_hook() == {"firing": self.episodes, "resolved": self.episodes}, self._story()
        assert self._told_mail() == {"firing": self.episodes, "resolved": self.episodes}, self._story()
        order = list(dict.fromkeys((each.body["incident"], each.body["kind"]) for each in self.hook.taken))
        incidents = list(dict.fromkeys(incident for incident, _ in order))
        assert len(incidents) == self.episodes
        assert order == [(incident, kind) for incident in incidents for kind in ("firing", "resolved")], order
        twice = [len(self.hook.taken) - 2 * self.episodes, len(self.mail.taken) - 2 * self.episodes]
        assert max(twice) <= self.kills, self._story()
        return sum(twice)

    def _story(self) -> Any:
        return [(each.body["kind"], each.body["id"]) for each in self.hook.taken]


def mail_kind(delivery: Delivery) -> str:
    """Of which kind a mail is."""
    assert delivery.mail is not None
    return "resolved" if "resolved" in str(delivery.mail.as_string()).lower() else "firing"


def test_one_message_that_it_fires_and_one_that_it_is_over(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with HttpSink() as hook, SmtpSink() as mail:
        settings: dict[str, object] = {
            "CHECKPOINT_INTERVAL": "0.5", "ALERT_WEBHOOK_URL": hook.url, "ALERT_NETWORKS": "127.0.0.0/8",
            "SMTP_URL": mail.url, "ALERT_EMAIL_FROM": "a@example.com", "ALERT_EMAIL_TO": "b@example.com",
            "ALERT_FLOOD": 1000,
        }  # fmt: skip
        campaign = Campaign(Streamgauge(tmp_path, settings), pick("alerts"), hook, mail)
        try:
            campaign.run(KILLS_ALERTS)
            twice = campaign.check()
        finally:
            campaign.server.kill()
    figures = f"{campaign.kills} kills in {campaign.episodes} episodes; each told once, {twice} messages repeated by id"
    result("alerts told in spite of kills", figures)
