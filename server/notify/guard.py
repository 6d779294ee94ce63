"""Which addresses a rule's webhook may reach: public ones, and networks that the operator allows.

The check is of the address that a socket is about to be connected to, so what a name resolved to before or resolves to
afterwards does not matter. What is public is read from the registries of special addresses:
https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

import aiohttp

from server.notify.places import Network, networks

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC = networks(
    "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.0.2.0/24,"
    "192.88.99.0/24, 192.168.0.0/16, 198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/4, 240.0.0.0/4,"
    "168.63.129.16/32,"  # what Azure's machines are told their secrets by
    "2001::/23, 2001:db8::/32, 2002::/16, 3fff::/20"  # Teredo and the like, examples, 6to4
)
(_IPV6_PUBLIC,) = networks("2000::/3")
_CARRIERS = networks("::ffff:0:0/96, 64:ff9b::/96")
"""Of IPv6, those that end with an IPv4 address which is the one that is reached: mapped ones and NAT64."""


class Refused(PermissionError):
    """An address that may not be reached. An OSError, as others that a name has may be tried."""


def refused(text: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether an IP address may not be reached; what is none may not."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # such as 127.1, which sockets understand
        return True
    carried = _carried(address)
    if any(_within(each, network) for network in allowed for each in (address, carried)):
        return False
    if carried.version == 6 and carried not in _IPV6_PUBLIC:
        return True
    return any(_within(carried, network) for network in _NOT_PUBLIC)


def connector(allowed: Sequence[Network] | None) -> aiohttp.TCPConnector:
    """What connects to far sides; None: to all of them."""

    def socket_for(info: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
        family, kind, protocol, _, place = info
        if allowed is not None and refused(place[0], allowed):
            raise Refused(errno.EACCES, f"{place[0]} is no public address, and ALERT_NETWORKS does not allow it")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(force_close=True, use_dns_cache=False, socket_factory=socket_for)


def _carried(address: Address) -> Address:
    """The IPv4 address in an IPv6 one that leads to it, else the address itself."""
    if any(_within(address, network) for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
