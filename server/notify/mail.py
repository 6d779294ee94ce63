"""E-mail, by a mail server that is given. Each mail has a connection of its own; mails are rare."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import aiosmtplib
from aiosmtplib import SMTP

from server.notify import Message, NotSent
from server.notify.chart import draw
from server.notify.mail_parts import Envelope, mail, message_id, subject
from server.notify.places import SmtpPlace
from server.notify.words import plain

COMMAND_SECONDS, TOTAL_SECONDS = 15.0, 60.0
_REMEMBERED = 1000
"""Mails of which it is remembered who has got them, while others have yet to."""

Refusals = dict[str, aiosmtplib.SMTPRecipientRefused]


class Mail:
    """A channel of mail to one or more recipients. sender: (name, address). tls: for tests with certificates of
    their own.

    ids: `thread` and `subject` of the incident's first mail, and `refused`: who was not taken, and why, while others
    were. Where a server puts off some recipients alone, the next try goes to those alone.
    """

    kind = "email"

    def __init__(
        self, name: str, server: SmtpPlace, sender: tuple[str, str], recipients: tuple[str, ...],
        tls: ssl.SSLContext | None = None, seconds: tuple[float, float] = (COMMAND_SECONDS, TOTAL_SECONDS),
    ) -> None:  # fmt: skip
        self.name, self._server, self._sender, self._recipients = name, server, sender, recipients
        self._tls, self._seconds = tls, seconds
        self._taken: OrderedDict[str, set[str]] = OrderedDict()

    async def send(self, message: Message, ids: Mapping[str, str]) -> dict[str, str]:
        """See Channel.send."""
        png = await asyncio.to_thread(draw, message.points, message.threshold, message.unit)
        envelope = Envelope(self._sender, self._recipients, ids.get("thread", ""), ids.get("subject", ""))
        made = bytes(mail(message, envelope, png))
        taken = self._taken.get(message.id, set())
        refused = await self._deliver(made, [each for each in self._recipients if each not in taken])
        if later := {who: refusal for who, refusal in refused.items() if _is_temporary(refusal.code)}:
            self._remember(message.id, taken | (set(self._recipients) - refused.keys()))
            others = "; the others have it" if len(later) < len(self._recipients) else ""
            raise NotSent(self._refusals(later) + others)
        self._taken.pop(message.id, None)
        if len(refused) == len(self._recipients):
            raise NotSent(self._refusals(refused), again=False)
        told = {
            "thread": ids.get("thread") or message_id(message, self._sender[1].rpartition("@")[2]),
            "subject": ids.get("subject") or subject(message),
        }
        return {**told, "refused": self._refusals(refused)} if refused else told

    async def close(self) -> None:
        """No connection outlives a mail."""

    async def _deliver(self, made: bytes, recipients: Sequence[str]) -> Refusals:
        """Hands a mail over; gives whom the server does not take it for. NotSent where it fails otherwise."""
        handed = False
        smtp = self._client()
        try:
            async with asyncio.timeout(self._seconds[1]):
                await self._begin(smtp)
                await smtp.mail(self._sender[1])
                refused = await _name(smtp, recipients)
                if len(refused) < len(recipients):
                    handed = True
                    await smtp.data(made)
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(self._reason(error.message, error.code), again=_is_temporary(error.code)) from None
        except TimeoutError:
            raise NotSent(self._reason("no answer in time"), unknown=handed) from None
        except ssl.SSLError as error:
            raise NotSent(self._reason(str(error))) from None
        except ValueError as error:  # what cannot be written into a command
            raise NotSent(self._reason(str(error)), again=False) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            again = not isinstance(error, aiosmtplib.SMTPNotSupported)
            raise NotSent(self._reason(str(error)), again=again, unknown=handed) from None
        finally:
            await _end(smtp)
        return refused

    def _client(self) -> SMTP:
        place = self._server
        return SMTP(
            hostname=place.host, port=place.port, use_tls=place.tls, tls_context=self._tls, timeout=self._seconds[0],
            start_tls=False if place.tls else {"offered": None, "required": True, "off": False}[place.starttls],
            local_hostname=self._sender[1].rpartition("@")[2],
        )  # fmt: skip

    async def _begin(self, smtp: SMTP) -> None:
        place = self._server
        await smtp.connect()
        if not place.user:
            return
        is_open = smtp.get_transport_info("sslcontext") is None and place.starttls != "off"
        if is_open and not _is_loopback(smtp.get_transport_info("peername")):
            raise aiosmtplib.SMTPNotSupported(
                "offers no STARTTLS, and the password would be readable on the way; ?starttls=off in SMTP_URL allows it"
            )
        await smtp.login(place.user, place.password)

    def _remember(self, id: str, taken: set[str]) -> None:
        self._taken[id] = taken
        self._taken.move_to_end(id)
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)

    def _refusals(self, refused: Refusals) -> str:
        return self._reason(", ".join(f"{who} refused: {each.code} {each.message}" for who, each in refused.items()))

    def _reason(self, said: str, code: int | None = None) -> str:
        return f"{self._server}: " + (f"{code} " if code else "") + plain(said, 300)


async def _name(smtp: SMTP, recipients: Sequence[str]) -> Refusals:
    """Says for whom a mail is; gives those who are refused."""
    refused: Refusals = {}
    for each in recipients:
        try:
            await smtp.rcpt(each)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused[each] = error
    return refused


async def _end(smtp: SMTP) -> None:
    """Whatever the server says to it, the mail is where it is."""
    try:
        if smtp.is_connected:
            await smtp.quit(timeout=2)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        smtp.close()


def _is_temporary(code: int) -> bool:
    return not 500 <= code < 600


def _is_loopback(peer: object) -> bool:
    return isinstance(peer, tuple) and ipaddress.ip_address(peer[0]).is_loopback
