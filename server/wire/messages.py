"""WebSocket messages as JSON: what clients send, and what the hub sends back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from server.errors import ApiError
from server.wire.rows import bad_json
from server.wire.times import format_time


class ClientMessage(msgspec.Struct, gc=False):
    """Any message from a client; the type says which of the other members matter."""

    type: str = ""
    query_id: str | None = None
    query: dict[str, Any] | None = None
    since: str | None = None
    delta: bool = False
    subscription_id: str | None = None
    firehose: bool | None = None
    max_rate: float | None = None
    own: bool | None = None


def _plain(value: object) -> object:
    item = getattr(value, "item", None)  # a numpy scalar among the rows
    if item is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return item()


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder(ClientMessage)
_any_decoder = msgspec.json.Decoder()


def encode(message: object) -> bytes:
    """Compact UTF-8 JSON of plain values; NaN and infinities become null."""
    return _encoder.encode(message)


def decode_client_message(text: str | bytes) -> ClientMessage:
    """The message in a text frame. ApiError bad_json (malformed, too deep) or bad_request (a wrong type)."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ApiError("bad_request", f"the message does not fit: {error}") from None
    except msgspec.DecodeError as error:
        raise ApiError("bad_json", str(error)) from None
    except RecursionError:
        raise ApiError("bad_json", "JSON is nested too deeply") from None


def error_message(code: str, message: str, **details: object) -> bytes:
    """An `error` message; code as in `server.errors.CODES`."""
    return encode({"type": "error", "code": code, "message": message, **details})


def update_around_id(
    query_id: str | None, offset: str, at: int, data: bytes, delta: Mapping[str, object] | None = None
) -> tuple[bytes, bytes]:
    """A `realtime_update` without its subscription id: the bytes before it and the bytes after it.

    at: ms. data: JSON of the result. delta: only where `data` holds what changed alone; what a client needs to know
    to make the result of it, as members of the message.
    """
    moment = encode(format_time(at))
    about = b"" if delta is None else b"," + encode({"delta": True, **delta})[1:-1]
    after = b'","query_id":%b,"offset":%b,"at":%b,"timestamp":%b%b,"data":%b}' % (
        encode(query_id),
        encode(offset),
        moment,
        moment,
        about,
        data,
    )
    return b'{"type":"realtime_update","subscription_id":"', after


def error_around_id(query_id: str | None, code: str, message: str) -> tuple[bytes, bytes]:
    """An `error` of one subscription without its id: the bytes before it and the bytes after it."""
    after = b'","query_id":%b,"code":%b,"message":%b}' % (encode(query_id), encode(code), encode(message))
    return b'{"type":"error","subscription_id":"', after


def decode_json(body: bytes) -> Any:
    """Any JSON value. ApiError bad_json with the position of the mistake."""
    try:
        return _any_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_json(error, body) from None
