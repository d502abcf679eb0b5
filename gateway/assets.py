"""The page and the client's script: what the build has made, else a plain page. Read once, sent from memory as it is."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

__all__ = ["ASSETS", "Assets", "asset", "client_script", "dashboard"]

# Only what the page needs, and from here alone; a script that is smuggled into the page does not run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The build puts a hash into the names of assets: such a name means the same for ever. Every other one is asked about again.
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
# What the machine's own table says differs from machine to machine.
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# The build lays the compressed forms beside a file. In the order in which they are preferred.
ENCODINGS = {"br": ".br", "gzip": ".gz"}

WEB = Path(__file__).resolve().parent.parent / "web"
PLAIN = Path(__file__).resolve().parent / "plain"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in every form in which it is sent."""

    content_type: str
    cache: str
    body: bytes
    encoded: Mapping[str, bytes]
    etag: str

    @classmethod
    def of(cls, name: str, body: bytes, cache: str, encoded: Mapping[str, bytes] | None = None) -> Asset:
        """From its content. Without compressed forms of its own it gets one here."""
        return cls(
            TYPES.get(Path(name).suffix, "application/octet-stream"),
            cache,
            body,
            encoded or {"gzip": gzip.compress(body, mtime=0)},
            hashlib.sha256(body).hexdigest()[:32],
        )

    def answer(self, request: web.Request, headers: Mapping[str, str] | None = None) -> web.Response:
        """In the best form that the client takes; 304 when it has it already."""
        answer = web.Response(headers={"Cache-Control": self.cache, "Vary": "Accept-Encoding", **(headers or {})})
        # The forms differ in their bytes and mean the same: a weak validator.
        answer.headers["ETag"] = f'W/"{self.etag}"'
        if any(known.value in (self.etag, "*") for known in request.if_none_match or ()):
            answer.set_status(304)
            return answer
        taken = _acceptable(request.headers.get("Accept-Encoding", ""))
        encoding = next((name for name in ENCODINGS if name in self.encoded and name in taken), None)
        if encoding is not None:
            answer.headers["Content-Encoding"] = encoding
        answer.body = self.body if encoding is None else self.encoded[encoding]
        answer.content_type = self.content_type
        if self.content_type.startswith("text/"):
            answer.charset = "utf-8"
        return answer


class Assets:
    """All files that the server sends, by name."""

    def __init__(self, currency: str, web_directory: Path = WEB) -> None:
        built = web_directory / "dist"
        self.is_built = (built / "index.html").exists()
        source = built if self.is_built else PLAIN
        page = (source / "index.html").read_bytes()
        page = page.replace(b'data-currency="PLN"', f'data-currency="{currency}"'.encode())
        self.page = Asset.of("index.html", page, ASK_AGAIN)
        self.files = _read(source / "assets", FOR_EVER if self.is_built else ASK_AGAIN)
        self.client = _read(web_directory / "client" / "dist", ASK_AGAIN)


def _read(directory: Path, cache: str) -> dict[str, Asset]:
    if not directory.is_dir():
        return {}
    found = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    return {
        name: Asset.of(name, body, cache, {code: found[name + end] for code, end in ENCODINGS.items() if name + end in found})
        for name, body in found.items()
        if not name.endswith((*ENCODINGS.values(), ".d.ts", ".map"))
    }


def _acceptable(header: str) -> set[str]:
    """The encodings that an Accept-Encoding names, without those of quality 0."""
    accepted = set()
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        if not any(word.startswith("q=") and not word[2:].strip("0.") for word in parameters):
            accepted.add(name)
    return accepted


ASSETS = web.AppKey("ASSETS", Assets)


async def dashboard(request: web.Request) -> web.Response:
    """``GET /admin/dashboard``: the page. Its data is behind the login, it is not."""
    return request.app[ASSETS].page.answer(request, PAGE_HEADERS)


async def asset(request: web.Request) -> web.Response:
    """``GET /admin/assets/NAME``: what the page consists of."""
    return _found(request.app[ASSETS].files, request).answer(request)


async def client_script(request: web.Request) -> web.Response:
    """``GET /client/orderwire.js``: the client, for pages without a build step, on other servers as well."""
    return _found(request.app[ASSETS].client, request).answer(request, {"Access-Control-Allow-Origin": "*"})


def _found(files: Mapping[str, Asset], request: web.Request) -> Asset:
    try:
        return files[request.match_info["name"]]
    except KeyError:
        raise web.HTTPNotFound from None
