"""Reverse proxies with the configuration of docs/ops, before a server of the test: nginx, HAProxy, Caddy, Apache httpd.

The files are used as they are, but for addresses and certificates, and for what a test says.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers.certificates import issue_certificate
from tests.support import ROOT, TIMEOUT_SECONDS, Process, free_port, within

__all__ = ["PROXIES", "ReverseProxy", "needs", "run_proxy"]

_SYSTEM_PATHS = "/usr/sbin:/usr/local/sbin"
_APACHE_MODULES = Path("/usr/lib/apache2/modules")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the proxy of a test is: a directory of its own, its port, the server's host:port, a certificate and its key."""

    directory: Path
    port: str
    upstream: str
    cert_file: Path
    key_file: Path

    @property
    def both_file(self) -> Path:
        """Certificate and key in one file."""
        path = self.directory / "both.pem"
        path.write_bytes(self.cert_file.read_bytes() + self.key_file.read_bytes())
        return path


@dataclass(frozen=True, slots=True)
class ReverseProxy:
    """``edits``: regular expressions with what replaces them. ``short_timeouts``: the same, for idle time-outs of 2 s.
    ``wrap``: the whole configuration, from the edited file. ``arguments``: of the command, with the configuration file.
    """

    program: str
    config: str
    edits: Callable[[_Place], Mapping[str, str]]
    arguments: Callable[[Path], tuple[str, ...]]
    wrap: Callable[[str, _Place], str] = lambda text, _: text
    short_timeouts: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        """The program's file; None if it is not installed."""
        return shutil.which(self.program) or shutil.which(self.program, path=_SYSTEM_PATHS)


def _wrap_nginx(text: str, place: _Place) -> str:
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp_paths = "".join(f"{name}_temp_path {place.directory}/{name};\n" for name in names)
    return (
        f"daemon off; pid {place.directory}/pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log {place.directory}/access.log;\n{temp_paths}{text}}}\n"
    )


def _wrap_apache(text: str, place: _Place) -> str:
    """What Debian's own files set, and the modules of ``a2enmod``."""
    modules = ("mpm_event", "authz_core", "ssl", "headers", "proxy", "proxy_http", "proxy_wstunnel")
    loads = "".join(f"LoadModule {name}_module {_APACHE_MODULES}/mod_{name}.so\n" for name in modules)
    return (
        f"{loads}User nobody\nGroup nogroup\nServerName shop.example\nDefaultRuntimeDir {place.directory}\n"
        f"PidFile {place.directory}/pid\nErrorLog {place.directory}/error.log\nListen 127.0.0.1:{place.port}\n{text}"
    )


PROXIES = {
    "nginx": ReverseProxy(
        "nginx",
        "nginx.conf",
        lambda place: {
            r"server 127\.0\.0\.1:8000;": f"server {place.upstream};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{place.port} ssl;",
            r"(ssl_certificate) .*;": rf"\1 {place.cert_file};",
            r"(ssl_certificate_key) .*;": rf"\1 {place.key_file};",
        },
        lambda config: ("-c", str(config), "-e", "stderr"),
        _wrap_nginx,
        {r"(proxy_\w+_timeout) 75s": r"\1 2s"},
    ),
    "haproxy": ReverseProxy(
        "haproxy",
        "haproxy.cfg",
        lambda place: {
            r"(server orderwire1) 127\.0\.0\.1:8000": rf"\1 {place.upstream}",
            r"maxconn 20000": "maxconn 500",
            r"bind :443 ssl crt \S+": f"bind 127.0.0.1:{place.port} ssl crt {place.both_file}",
        },
        lambda config: ("-db", "-f", str(config)),
        short_timeouts={r"(timeout \w+ +)75s": r"\1 2s"},
    ),
    "caddy": ReverseProxy(
        "caddy",
        "Caddyfile",
        lambda place: {
            r"(reverse_proxy) 127\.0\.0\.1:8000": rf"\1 {place.upstream}",
            r"(?m)^shop\.example \{": f"https://127.0.0.1:{place.port} {{\n\ttls {place.cert_file} {place.key_file}",
        },
        lambda config: ("run", "--adapter", "caddyfile", "--config", str(config)),
        lambda text, _: "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text,
    ),
    "apache": ReverseProxy(
        "apache2",
        "apache.conf",
        lambda place: {
            r"http://127\.0\.0\.1:8000/": f"http://{place.upstream}/",
            r"VirtualHost \*:443": f"VirtualHost 127.0.0.1:{place.port}",
            r"(SSLCertificateFile) .*": rf"\1 {place.cert_file}",
            r"(SSLCertificateKeyFile) .*": rf"\1 {place.key_file}",
        },
        lambda config: ("-D", "FOREGROUND", "-f", str(config)),
        _wrap_apache,
        {r"timeout=75": "timeout=2"},
    ),
}


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where the proxy is not installed."""
    return pytest.mark.skipif(PROXIES[name].path is None, reason=f"{PROXIES[name].program} is not installed")


@asynccontextmanager
async def run_proxy(
    name: str, upstream: str, directory: Path, changes: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """The proxy before ``upstream``, a host:port. ``changes``: further edits; each must find its text.

    Yields host:port, and the context for its certificate.
    """
    proxy = PROXIES[name]
    assert proxy.path is not None
    place = _Place(directory, free_port(), upstream, *issue_certificate(directory, "shop.example"))
    config = (ROOT / "docs" / "ops" / proxy.config).read_text(encoding="utf-8")
    for pattern, replacement in {**proxy.edits(place), **(changes or {})}.items():
        config, count = re.subn(pattern, replacement, config)
        assert count, pattern
    path = directory / proxy.config
    path.write_text(proxy.wrap(config, place), encoding="utf-8")
    homes = {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}  # Caddy writes there
    process = await Process.start(proxy.path, *proxy.arguments(path), env=homes)
    try:
        await within(TIMEOUT_SECONDS, _until_listening(process, int(place.port)), f"{name} listens")
        yield f"127.0.0.1:{place.port}", ssl.create_default_context(cafile=str(place.cert_file))
    finally:
        await process.stop()


async def _until_listening(process: Process, port: int) -> None:
    while True:
        assert process.process.returncode is None, process.output
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
