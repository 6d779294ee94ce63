"""How messages are named: the same through all tries of one, another for the next."""

from __future__ import annotations

from engine.rules.model import Delivery, Incident
from server.notify import FIRING, REPEAT, UPDATE
from server.notify.outbox import message_id


def test_each_message_has_an_id_of_its_own_through_all_tries() -> None:
    incident = Incident("incident_1", "alert_1", 5)
    first, tried = Delivery(), Delivery(tries=3, retry=9, error="503")
    assert message_id(incident, "slack", FIRING, first) == message_id(incident, "slack", FIRING, tried)
    told, later, repeated = Delivery(1, 1000), Delivery(2, 2000), Delivery(2, 9000)
    ids = [
        message_id(incident, "slack", FIRING, first), message_id(incident, "email", FIRING, first),
        message_id(incident, "slack", UPDATE, told), message_id(incident, "slack", REPEAT, later),
        message_id(incident, "slack", REPEAT, repeated),
        message_id(incident, "webhook:https://example.com/secret", UPDATE, told),
    ]  # fmt: skip
    assert len(set(ids)) == len(ids)
    assert not any("secret" in each for each in ids)
