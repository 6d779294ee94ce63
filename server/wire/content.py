"""Content-Encoding: decoding a request body with the size limit enforced while decoding."""

from __future__ import annotations

import io
import zlib

import zstandard

from server.errors import ApiError

_GZIP, _ZLIB, _RAW = 31, 15, -15  # wbits of zlib
_MAX_ENCODINGS = 2
_ZSTD_WINDOW = 8 << 20  # what RFC 8878 asks decoders to support; more would be memory for nothing
_ZSTD_END = b"~end of body~"
_ZSTD_END_FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(_ZSTD_END)


def decode_body(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding (`gzip`, `deflate`, `zstd`, or two of them, as in the header).

    ApiError body_too_large as soon as the decoded size passes `limit` bytes, unsupported_encoding, and bad_request
    where the body is not in that encoding or cut off.
    """
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) and name != "identity"]
    if len(names) > _MAX_ENCODINGS:
        raise ApiError("unsupported_encoding", f"{len(names)} content encodings; at most {_MAX_ENCODINGS} are read")
    for name in reversed(names):
        decode = _DECODERS.get(name)
        if decode is None:
            shown = name[:40]
            raise ApiError("unsupported_encoding", f"content encoding {shown!r} is not read; use gzip, deflate or zstd")
        try:
            body = decode(body, limit)
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            raise ApiError("bad_request", f"the body is not valid {name}: {error}") from error
    return body


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise ApiError("body_too_large", f"the decoded body is over {limit} bytes; send smaller ones")


def _inflate(body: bytes, limit: int, wbits: int) -> tuple[bytes, bytes]:
    """One stream: what it decodes to and the bytes that follow it."""
    stream = zlib.decompressobj(wbits)
    out = stream.decompress(body, limit + 1)
    _check(len(out), limit)
    if not stream.eof:
        raise EOFError("it is cut off")
    return out, stream.unused_data


def _gunzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    while True:  # members may follow one another
        part, body = _inflate(body, limit - len(out), _GZIP)
        out += part
        if not body.rstrip(b"\0"):  # some senders pad the end
            return bytes(out)


def _undeflate(body: bytes, limit: int) -> bytes:
    # RFC 9110 means zlib by "deflate", but some senders leave out its two-byte head.
    zlib_head = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    out, rest = _inflate(body, limit, _ZLIB if zlib_head else _RAW)
    if rest:
        raise EOFError("bytes follow its end")
    return out


def _unzstd(body: bytes, limit: int) -> bytes:
    # The reader says nothing about a last frame that is cut off, so a frame of ours follows it: where ours does not
    # come out whole, theirs was not whole.
    source = io.BytesIO(body + _ZSTD_END_FRAME)
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(source, read_across_frames=True)
    parts, size = [], 0
    while part := reader.read(min(1 << 20, limit + len(_ZSTD_END) + 1 - size)):
        parts.append(part)
        size += len(part)
        _check(size - len(_ZSTD_END), limit)
    out = b"".join(parts)
    if not out.endswith(_ZSTD_END):
        raise EOFError("it is cut off")
    return out[: -len(_ZSTD_END)]


_DECODERS = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _undeflate, "zstd": _unzstd}
