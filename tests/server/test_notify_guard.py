"""Which addresses webhooks reach."""

from __future__ import annotations

import pytest

from server.notify.guard import refused
from server.notify.places import networks

PRIVATE = (
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 169.254.169.254 "
    "172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 "
    "203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 :: ::1 fe80::1 fe80::1%eth0 "
    "fc00::1 fd00:ec2::254 fec0::1 ff02::1 100::1 2001:db8::1 2001:2::1 2001:10::1 3fff::1 5f00::1 "
    "::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::10.0.0.1 ::127.0.0.1 64:ff9b::10.0.0.1 "
    "64:ff9b::7f00:1 64:ff9b:1::808:808 2002:0a00:0001::1 2002:0808:0808::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 "
    "::ffff:0:127.0.0.1 127.1 2130706433 0x7f000001 localhost"
)
PUBLIC = (
    "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.167.255.255 "
    "198.17.0.1 223.255.255.255 168.63.129.17 2606:4700:4700::1111 2a00:1450:4001::1 ::ffff:8.8.8.8 "
    "64:ff9b::8.8.8.8"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_not_public_is_refused(address: str) -> None:
    assert refused(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_public_is_not(address: str) -> None:
    assert not refused(address)


def test_networks_that_are_allowed() -> None:
    allowed = networks("10.1.0.0/16, fd00::/8, ::1")
    reached = ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::7", "::1", "8.8.8.8"]
    assert not [address for address in reached if refused(address, allowed)]
    assert all(refused(address, allowed) for address in ("10.2.0.1", "127.0.0.1", "fe80::1", "::ffff:127.0.0.1"))
