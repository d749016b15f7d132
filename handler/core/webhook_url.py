"""Judge where webhooks may go. Section 12.8. Knows URLs and addresses; resolves and connects to nothing.

A URL is judged twice: by its text when a subscription is made, and by the address that is actually connected to at
every attempt, whatever a name resolves to by then. Only the text says whether the exception for development applies:
a name that merely resolves to a loopback address is refused.
"""

import re
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

URL_CHARACTERS = 2048

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_LOCALHOST = ("localhost", "localhost.")
# What URL parsers take for an IPv4 address in disguise: the last label is a number, also a hexadecimal one.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$")


class Reach(Enum):
    """Which addresses a URL may lead to."""

    PUBLIC = "public"
    LOOPBACK = "loopback"  # the exception for development


class UrlRejected(ValueError):
    """A URL that no webhook is sent to; its text says why, and what is accepted."""


def judge_url(url: str, *, allow_loopback: bool) -> Reach:
    """Say which addresses a webhook's URL may lead to. Raises UrlRejected."""
    if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlRejected(f"accepted are at most {URL_CHARACTERS} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise UrlRejected("it is no URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise UrlRejected("accepted is an absolute https URL")
    if parts.username is not None or parts.password is not None:
        raise UrlRejected("it must not hold a user name or a password")
    if _is_loopback_text(host):
        if allow_loopback:
            return Reach.LOOPBACK
        raise UrlRejected("loopback addresses are not accepted by this server")
    if parts.scheme != "https":
        raise UrlRejected("accepted is https; http only for localhost, and only by a server in development")
    address = _address_of(host)
    if address is None and _ENDS_IN_NUMBER.search(host):
        raise UrlRejected("its host is neither a name nor an address in the usual notation")
    if address is not None and not is_public(address):
        raise UrlRejected("it leads to a private, local or reserved address")
    return Reach.PUBLIC


def may_connect(reach: Reach, host: str) -> bool:
    """Say whether a connection to this very address may be opened."""
    address = _address_of(host.partition("%")[0])
    if address is None:
        return False
    return is_public(address) if reach is Reach.PUBLIC else _plain(address).is_loopback


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address is one of the internet's, also after what is embedded in it was taken out."""
    address = _plain(address)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _address_of(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback_text(host: str) -> bool:
    if host in _LOCALHOST or host.endswith((".localhost", ".localhost.")):
        return True
    address = _address_of(host)
    return address is not None and _plain(address).is_loopback
