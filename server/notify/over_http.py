"""Calling a far side over HTTP: one request, a bounded answer, no redirects, and what fails as NotSent."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp

from server.notify import NotSent
from server.notify.guard import connector
from server.notify.places import Network, without_secrets
from server.notify.words import plain

CONNECT_SECONDS, TOTAL_SECONDS = 6.0, 20.0
MAX_ANSWER = 65_536
"""Bytes of an answer that are read."""
LONGEST_WAIT = 3600.0
"""Seconds; a Retry-After beyond it is taken for this."""
_LATER = {408, 409, 425, 429}
"""Besides 5xx: what may be taken the next time. 409 is said to a repeat that overtakes its first try."""
_PROXIES = {502, 504}
"""Said by one who does not know what became of it."""


class Answer(NamedTuple):
    """A far side's answer."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def after(self) -> float | None:
        """Seconds of its Retry-After (a number or a date), None where it has none that can be read."""
        return retry_after(self.headers.get("Retry-After", ""), self.headers.get("Date", ""))


class Caller:
    """Requests to web services. A connection serves one request: messages are rare, and a kept connection that the far
    side has just closed would leave unknown whether it took the next message.

    allowed: private networks that may be called although addresses are guarded; None: no address is guarded, for URLs
    that come from the operator's settings alone. seconds: for connecting, for all.
    """

    def __init__(
        self, allowed: tuple[Network, ...] | None, seconds: tuple[float, float] = (CONNECT_SECONDS, TOTAL_SECONDS)
    ) -> None:
        self._allowed, self._seconds = allowed, seconds
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connecting, total = self._seconds
            self._session = aiohttp.ClientSession(
                connector=connector(self._allowed), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=total, connect=connecting),
                headers={"User-Agent": "streamgauge", "Accept-Encoding": "identity"},
            )  # fmt: skip
        return self._session

    async def call(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer, whatever its status. NotSent where there is none; its reason names of the URL only the host."""
        place = without_secrets(url)
        try:
            asked = self._open().request(method, url, data=body, headers=headers, allow_redirects=False)
            async with asked as answer:
                return Answer(answer.status, await _text(answer), answer.headers)
        except aiohttp.ConnectionTimeoutError:
            raise NotSent(f"{place} could not be connected to within {self._seconds[0]:g} s") from None
        except aiohttp.ClientConnectorError as error:
            refused = error.os_error.errno == errno.EACCES
            reason = plain(str(error.os_error.strerror or error.os_error), 200)
            raise NotSent(f"{place} could not be connected to: {reason}", again=not refused) from None
        except ValueError as error:  # InvalidURL, and what gets past it, such as a host with an empty label
            raise NotSent(f"{place} is no URL that can be called: {type(error).__name__}", again=False) from None
        except TimeoutError:
            raise NotSent(f"{place} gave no answer within {self._seconds[1]:g} s", unknown=True) from None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # uvloop's connections may end with the last
            reason = plain(str(error), 100) or type(error).__name__
            raise NotSent(f"{place} broke off without a whole answer: {reason}", unknown=True) from None

    async def close(self) -> None:
        """Lets go of connections; it may be called again afterwards."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


async def _text(answer: aiohttp.ClientResponse) -> str:
    """The body, as far as it is read and comes: that it ends too early does not undo what the status says."""
    body = bytearray()
    try:
        while len(body) < MAX_ANSWER and (part := await answer.content.read(MAX_ANSWER - len(body))):
            body += part
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        body += f" … {type(error).__name__}".encode()
    return body.decode(errors="replace")


def check(answer: Answer, place: str) -> None:
    """NotSent unless an answer is a 2xx. place: who answered, for the reason."""
    status = answer.status
    if 200 <= status < 300:
        return
    said = plain(answer.text, 200)
    reason = f"{place} answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        raise NotSent(f"{reason} (redirects are not followed; set the address it leads to)", again=False)
    again = status >= 500 or status in _LATER
    raise NotSent(reason, again=again, after=answer.after if again else None, unknown=status in _PROXIES)


def retry_after(text: str, date: str = "", now: float | None = None) -> float | None:
    """Seconds of a Retry-After: digits, or a date, which counts from the answer's own one where that can be read.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    text = text.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return min(float(text), LONGEST_WAIT)
        until = parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    try:
        begin = parsedate_to_datetime(date).timestamp()
    except ValueError:
        begin = time.time() if now is None else now
    return min(max(0.0, until - begin), LONGEST_WAIT)
