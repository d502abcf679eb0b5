"""Whom we are talking to: the client's address, the server's own origin, and what of it a proxy may tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from settings import Network

__all__ = ["FORWARDED", "Address", "Peer", "address_of", "counted_as", "has_loopback_name", "identify", "is_among"]

Address = IPv4Address | IPv6Address

# What proxies say of a request.
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP")

# More than any address has, in brackets and with zone and port.
MOST_LETTERS = 100


class Peer:
    """Where a request comes from, as far as it can be believed."""

    __slots__ = ("address", "forwarded", "origin", "proxied")

    def __init__(self, address: Address | None, origin: str, *, proxied: bool, forwarded: bool) -> None:
        # None: neither TCP nor a proxy that we trust says a usable one.
        self.address = address
        # The origin that pages from this server have, as the client sees it.
        self.origin = origin
        # It came by a proxy that we trust.
        self.proxied = proxied
        # It came by a proxy that we know nothing of, which may stand for anybody.
        self.forwarded = forwarded

    @property
    def is_loopback(self) -> bool:
        """Whether it is a program on this machine, for all that we know."""
        return self.address is not None and self.address.is_loopback and not self.forwarded


def identify(remote: str | None, *, secure: bool, host: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> Peer:
    """``remote``, ``secure``: the TCP peer, and whether TLS ends here. ``host``: the Host header."""
    address = address_of(remote)
    scheme = "https" if secure else "http"
    chain = [part for part in headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if address is None or not is_among(address, trusted):
        forwarded = bool(chain) or "Forwarded" in headers or "X-Real-IP" in headers
        return Peer(address, f"{scheme}://{host.lower()}", proxied=False, forwarded=forwarded)
    # Each proxy appends the address that it saw. From the right, the first that is no proxy of ours is the client; what is
    # left of it, the client may have made up.
    while chain and address is not None and is_among(address, trusted):
        address = address_of(chain.pop().strip())
    scheme = _last(headers.get("X-Forwarded-Proto")) or scheme
    host = _last(headers.get("X-Forwarded-Host")) or host
    return Peer(address, f"{scheme}://{host}".lower(), proxied=True, forwarded=False)


def is_among(address: Address, networks: Sequence[Network]) -> bool:
    """Whether it lies in one of the networks."""
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def counted_as(address: Address | None) -> str:
    """Under what an address is limited: somebody with IPv6 has a whole /64 (RFC 6177), so that counts as one."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def has_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine. Another name that leads here is a page that rebinds its own (DNS rebinding).

    No header is no name: browsers always send one, others need none in HTTP/1.0.
    """
    if not host:
        return True
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower() in ("localhost", "localhost."):
        return True
    address = address_of(name.strip("[]"))
    return address is not None and address.is_loopback


def address_of(text: str | None) -> Address | None:
    """What the text names; None when that is none."""
    return _parsed(text.strip()) if text and len(text) <= MOST_LETTERS else None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    """IPv4 in its IPv6 clothes, with a zone or, from some proxies, with a port, is still that address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _last(value: str | None) -> str:
    return (value or "").rpartition(",")[2].strip()
