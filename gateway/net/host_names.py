"""Which host names are answered where there is no login: a name that an attacker controls may resolve to this machine.

A page of such a name would be of the same origin as this server (DNS rebinding). It needs a name: an IP address cannot be made
to resolve to another.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["AllowedHosts", "names_of_this_machine"]

ANY_HOST = "*"
_HOSTS_FILE = Path("/etc/hosts")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)


class AllowedHosts:
    """The names of this machine, all IP addresses, and names of the operator's choice."""

    def __init__(self, names: Iterable[str], allowed_origins: Iterable[str] = ()) -> None:
        """``names``: of ALLOWED_HOSTS. ``allowed_origins``: their pages may connect anyway, so their host names are allowed."""
        own = names_of_this_machine()
        of_origins = (urlsplit(origin).hostname for origin in allowed_origins if re.match("https?:", origin))
        self._names = own.union(names, filter(None, of_origins))
        self._domains = tuple(name for name in self._names if name.startswith("."))

    def allows(self, host: str) -> bool:
        """``host``: a Host header. An empty one is allowed: browsers always send a name, other clients need not."""
        if not host or ANY_HOST in self._names:
            return True
        match = _HOST.fullmatch(host)
        if match is None or int(match[2] or 0) > 65535:
            return False
        name = match[1].lower().removesuffix(".")
        return name in self._names or _is_address(name) or name.endswith(self._domains)


def names_of_this_machine(hosts_file: Path = _HOSTS_FILE) -> frozenset[str]:
    """``localhost``, the host name, and the names that /etc/hosts has for it: usually the full name, with the domain.

    A name server is not asked: it may be slow, and on a foreign network it may lie.
    """
    host_name = socket.gethostname().lower().removesuffix(".")
    try:
        lines = hosts_file.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        lines = []
    aliases = (line.partition("#")[0].split()[1:] for line in lines)
    return frozenset(("localhost", host_name)).union(*(names for names in aliases if host_name in names))


def _is_address(name: str) -> bool:
    try:
        _ = IPv6Address(name[1:-1]) if name.startswith("[") else IPv4Address(name)
    except ValueError:
        return False
    return True
