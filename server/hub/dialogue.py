"""What a client may say, and what it is answered. A message that cannot be served gets `error`, no more."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.errors import EngineError
from server.errors import CODES, ApiError
from server.hub.hub import Hub
from server.hub.session import Session
from server.wire.messages import ClientMessage, decode_client_message


def handle(hub: Hub, session: Session, message: str | bytes, now: float) -> float:
    """Serve one message at loop time `now`. Answers the seconds to wait before the next one is read, mostly 0."""
    asked: ClientMessage | None = None
    try:
        session.pay(now)
        if isinstance(message, bytes):
            raise ApiError("bad_request", "messages are JSON in text frames; this one was binary")
        size = len(message) if message.isascii() else len(message.encode())
        if size > hub.limits.message_bytes:
            raise ApiError("message_too_large", f"{size} bytes; a message may have {hub.limits.message_bytes}")
        asked = decode_client_message(message)
        serve = _SERVED.get(asked.type)
        if serve is None:
            known = ", ".join(_SERVED)
            raise ApiError("bad_request", f"unknown message type {asked.type[:100]!r}; known are {known}")
        serve(hub, session, asked)
    except ApiError as error:
        _send_error(session, asked, error.code, error.message)
        if error.retry_after is not None and error.code == "too_many_requests":
            return error.retry_after
    except EngineError as error:
        _send_error(session, asked, error.code if error.code in CODES else "bad_query", str(error))
    return 0.0


def _send_error(session: Session, asked: ClientMessage | None, code: str, message: str) -> None:
    answer: dict[str, object] = {"type": "error", "code": code, "message": message}
    for name in ("query_id", "subscription_id"):
        value: str | None = getattr(asked, name, None)
        if value is not None:
            answer[name] = value[:200]
    session.send(answer)


def _subscribe(hub: Hub, session: Session, asked: ClientMessage) -> None:
    if (asked.query_id is None) == (asked.query is None):
        raise ApiError("bad_request", "subscribe needs either query_id or query")
    hub.subscribe(session, asked.query_id, asked.query, since=asked.since, delta=asked.delta)


def _unsubscribe(hub: Hub, session: Session, asked: ClientMessage) -> None:
    wanted = asked.subscription_id or asked.query_id
    if wanted is None:
        raise ApiError("bad_request", "unsubscribe needs subscription_id")
    one = session.subscriptions.get(wanted)
    # Some clients know only the query they subscribed to and pass its id.
    found = [one] if one is not None else [s for s in session.subscriptions.values() if s.query_id == wanted]
    if not found:
        raise ApiError("not_found", f"this connection has no subscription {wanted[:100]!r}")
    for subscription in found:
        hub.unsubscribe(subscription)
        subscription.tell(
            {
                "type": "subscription_deleted",
                "subscription_id": subscription.id,
                "query_id": subscription.query_id,
            }
        )


def _configure(hub: Hub, session: Session, asked: ClientMessage) -> None:
    """The rate a client asks for is cut to the server's; 0 is the same as switching the firehose off."""
    on = session.group is not None if asked.firehose is None else asked.firehose
    if asked.max_rate is not None:
        if not math.isfinite(asked.max_rate) or asked.max_rate < 0:
            raise ApiError("bad_request", "max_rate is messages per second, 0 or more")
        session.max_rate = min(math.ceil(asked.max_rate), hub.limits.firehose_rate)
    if asked.own is not None:
        session.own = asked.own
    hub.set_firehose(session, on)
    configured = {"type": "configured", "firehose": session.group is not None, "max_rate": session.max_rate}
    session.send(configured | ({"own": True} if session.own else {}))


def _ping(hub: Hub, session: Session, asked: ClientMessage) -> None:
    session.send({"type": "pong"})


_SERVED: dict[str, Callable[[Hub, Session, ClientMessage], None]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "configure": _configure,
    "ping": _ping,
}
