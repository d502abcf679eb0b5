"""The client's address and the server's own origin, from the TCP peer and the headers of trusted proxies. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from settings import Network

__all__ = [
    "Address",
    "Peer",
    "in_networks",
    "is_forwarding_header",
    "parse_address",
    "rate_limit_key",
    "resolve_peer",
]

Address = IPv4Address | IPv6Address

# Request headers that proxies, load balancers and tunnels add, and programs on this machine do not; in lower case.
_FORWARDING_HEADERS = frozenset(
    (
        *("forwarded", "via", "client-ip", "true-client-ip", "cdn-loop", "fastly-client-ip", "fly-client-ip"),
        *("x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-remote-ip", "x-remote-addr", "x-originating-ip"),
        *("x-proxyuser-ip", "x-azure-clientip", "x-nf-client-connection-ip", "x-appengine-user-ip", "do-connecting-ip"),
    )
)
_FORWARDING_PREFIXES = ("x-forwarded", "x-original-", "x-envoy-", "cf-")

# Longer than any address with brackets, zone and port.
MAX_ADDRESS_LENGTH = 100
_ADDRESS = re.compile(
    r"""\[ (?P<bracketed> [0-9a-f:.]+ ) (%[\w.-]+)? \] (:[0-9]{1,5})?
    | (?P<v6> [0-9a-f]*:[0-9a-f:.]+ ) (%[\w.-]+)?
    | (?P<v4> [0-9.]+ ) (:[0-9]{1,5})?""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)


class Peer:
    """Where a request comes from, as far as that is trusted."""

    __slots__ = ("address", "hosts", "is_identified", "origin", "via_trusted_proxy", "via_untrusted_proxy")

    def __init__(
        self,
        address: Address | None,
        origin: str,
        hosts: tuple[str, ...],
        *,
        is_identified: bool = True,
        via_trusted_proxy: bool = False,
        via_untrusted_proxy: bool = False,
    ) -> None:
        # For limits: that of the TCP peer, or the one that a trusted proxy names. None if it is not valid.
        self.address = address
        # Whether ``address`` is the client's. False behind a trusted proxy that names none: it is the proxy's then, or None.
        self.is_identified = is_identified
        # What the client, and a trusted proxy, say that the client asked for: the Host header, and X-Forwarded-Host.
        self.hosts = hosts
        # The origin of this server as the client sees it (RFC 6454).
        self.origin = origin
        # The TCP peer is a proxy in TRUSTED_PROXIES.
        self.via_trusted_proxy = via_trusted_proxy
        # The TCP peer is another proxy, according to its headers: the real client is unknown.
        self.via_untrusted_proxy = via_untrusted_proxy

    @property
    def is_loopback(self) -> bool:
        """Whether the client runs on this machine; False if a proxy may stand between and does not say where the client is."""
        return self.address is not None and self.address.is_loopback and self.is_identified and not self.via_untrusted_proxy


def resolve_peer(
    remote: str | None,
    *,
    secure: bool,
    host: str,
    forwarding: Mapping[str, str],
    trusted: Sequence[Network],
    may_be_forwarded: bool = False,
) -> Peer:
    """``remote``: address of the TCP peer. ``secure``: TLS is terminated here. ``host``: the Host header. ``forwarding``: the
    headers for which ``is_forwarding_header`` is true, by their names in lower case. ``may_be_forwarded``: the request looks
    like that of a proxy even without such headers.
    """
    address = parse_address(remote)
    scheme = "https" if secure else "http"
    if address is None or not in_networks(address, trusted):
        forwarded = bool(forwarding) or may_be_forwarded
        return Peer(address, _origin(scheme, host), (host,), via_untrusted_proxy=forwarded)
    # Each proxy appends the address of its peer. Read from the right, the first address that is not a trusted proxy is the
    # client; the client itself may have sent what is left of it.
    chain = [part for part in forwarding.get("x-forwarded-for", "").split(",") if part.strip()]
    names_any = bool(chain)
    while chain and address is not None and in_networks(address, trusted):
        address = parse_address(chain.pop().strip())
    scheme = _last_element(forwarding.get("x-forwarded-proto")) or scheme
    forwarded_host = _last_element(forwarding.get("x-forwarded-host"))
    return Peer(
        address,
        _origin(scheme, forwarded_host or host),
        (host, forwarded_host) if forwarded_host else (host,),
        is_identified=names_any and address is not None,
        via_trusted_proxy=True,
    )


def is_forwarding_header(name: str) -> bool:
    """Whether a request with this header, even an empty one, has come through a proxy. ``name``: in lower case."""
    return name in _FORWARDING_HEADERS or name.startswith(_FORWARDING_PREFIXES)


def in_networks(address: Address, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def rate_limit_key(address: Address | None) -> str:
    """The key under which limits count an address. One customer has a whole IPv6 /64 (RFC 6177), so that is one key."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def parse_address(text: str | None) -> Address | None:
    """Parse an IP address; None if the text is not one."""
    return _parse_address_cached(text.strip()) if text and len(text) <= MAX_ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_address_cached(text: str) -> Address | None:
    """Ignores a zone and a port, which some proxies add. An IPv4-mapped IPv6 address becomes IPv4."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    try:
        address = ip_address(match["bracketed"] or match["v6"] or match["v4"])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _origin(scheme: str, host: str) -> str:
    """As browsers write it: in lower case, without the scheme's own port, which some proxies add."""
    scheme, host = scheme.lower(), host.lower()
    return f"{scheme}://{host.removesuffix(':443' if scheme == 'https' else ':80')}"


def _last_element(value: str | None) -> str:
    return (value or "").rpartition(",")[2].strip()
