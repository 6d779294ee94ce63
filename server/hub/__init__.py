"""The hub: connections, their subscriptions and what they are sent. This page is the contract.

    pipeline ── Arrivals ──▶ Hub.firehose ──▶ Group (limits, chooses, encodes once) ──┐
    live ────── Update ────▶ Subscription.offer (the newest replaces the older) ──────┤
    client ──── message ───▶ dialogue ────────────────────────────────────────────────┴─▶ Session ──▶ Channel

At the end of each turn of the event loop the sessions that have something write it in one go. A session whose channel
is blocked writes nothing; per subscription it keeps the newest result, of the firehose it counts what it missed.
"""

from __future__ import annotations

from server.hub.channel import EXTENSION, WRITE_BOUND, AsgiChannel, Channel
from server.hub.endpoint import WebSocketEndpoint
from server.hub.firehose import Arrivals
from server.hub.frames import ID_LENGTH, Spliced, ping_frame, text_frame
from server.hub.hub import Feed, Hub, Limits, new_subscription_id
from server.hub.session import Session, Subscription, Update

__all__ = [
    "EXTENSION",
    "ID_LENGTH",
    "WRITE_BOUND",
    "Arrivals",
    "AsgiChannel",
    "Channel",
    "Feed",
    "Hub",
    "Limits",
    "Session",
    "Spliced",
    "Subscription",
    "Update",
    "WebSocketEndpoint",
    "new_subscription_id",
    "ping_frame",
    "text_frame",
]
