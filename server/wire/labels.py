"""The labels of a sample, from the JSON object of its tags."""

from __future__ import annotations

import msgspec

from server.wire.rows import Refused

_tags = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


def read_labels(tags: bytes) -> dict[str, str]:
    """The labels in the JSON of `tags`; null is as good as none. Refused with the reason."""
    if tags == b"null":
        return {}
    try:
        raw = _tags(tags)
        return {name: text for name, value in raw.items() if (text := _label_text(name, bytes(value))) is not None}
    except UnicodeDecodeError as error:
        raise Refused("bad_json", f"tags are not UTF-8: {error}", "tags") from error
    except RecursionError:
        raise Refused("too_deep", "tags are nested too deeply", "tags") from None
    except msgspec.ValidationError:
        raise Refused("bad_labels", "tags is no object of names and values", "tags") from None
    except msgspec.DecodeError as error:
        raise Refused("bad_json", f"tags: {error}", "tags") from error


def _label_text(name: str, value: bytes) -> str | None:
    """A label value: strings as they are, numbers and booleans as their JSON text, null = no such label."""
    first = value[:1]
    if first == b'"':
        return _string(value)
    if first in b"{[":
        fault = f"label {name[:80]!r} is nested; a label value is text, a number or a boolean"
        raise Refused("bad_labels", fault, "tags")
    return None if value == b"null" else value.decode()
