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
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The build puts a hash into the names of assets: such a name means the same for ever. Every other one is asked about again.
CACHE_IMMUTABLE = "public, max-age=31536000, immutable"
CACHE_REVALIDATE = "no-cache"
# What the machine's own table says differs from machine to machine.
CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# The build lays the compressed forms beside a file. In the order in which they are preferred.
ENCODINGS = {"br": ".br", "gzip": ".gz"}

WEB_DIRECTORY = Path(__file__).resolve().parent.parent.parent / "web"
PLAIN_DIRECTORY = Path(__file__).resolve().parent.parent / "plain"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in every form in which it is sent."""

    content_type: str
    cache_control: str
    body: bytes
    encoded: Mapping[str, bytes]
    etag: str

    @classmethod
    def from_content(cls, name: str, body: bytes, cache_control: str, encoded: Mapping[str, bytes] | None = None) -> Asset:
        """From its content. Without compressed forms of its own it gets one here."""
        return cls(
            CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream"),
            cache_control,
            body,
            encoded or {"gzip": gzip.compress(body, mtime=0)},
            hashlib.sha256(body).hexdigest()[:32],
        )

    def to_response(self, request: web.Request, headers: Mapping[str, str] | None = None) -> web.Response:
        """In the best form that the client takes; 304 when it has it already."""
        answer = web.Response(headers={"Cache-Control": self.cache_control, "Vary": "Accept-Encoding", **(headers or {})})
        # The forms differ in their bytes and mean the same: a weak validator.
        answer.headers["ETag"] = f'W/"{self.etag}"'
        if any(known.value in (self.etag, "*") for known in request.if_none_match or ()):
            answer.set_status(304)
            return answer
        taken = _accepted_encodings(request.headers.get("Accept-Encoding", ""))
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

    def __init__(self, currency: str, web_directory: Path = WEB_DIRECTORY) -> None:
        built = web_directory / "dist"
        self.is_built = (built / "index.html").exists()
        source = built if self.is_built else PLAIN_DIRECTORY
        page = (source / "index.html").read_bytes()
        page = page.replace(b'data-currency="PLN"', f'data-currency="{currency}"'.encode())
        self.page = Asset.from_content("index.html", page, CACHE_REVALIDATE)
        self.files = _read_directory(source / "assets", CACHE_IMMUTABLE if self.is_built else CACHE_REVALIDATE)
        self.client_files = _read_directory(web_directory / "client" / "dist", CACHE_REVALIDATE)


def _read_directory(directory: Path, cache_control: str) -> dict[str, Asset]:
    if not directory.is_dir():
        return {}
    found = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    return {
        name: Asset.from_content(
            name, body, cache_control, {code: found[name + end] for code, end in ENCODINGS.items() if name + end in found}
        )
        for name, body in found.items()
        if not name.endswith((*ENCODINGS.values(), ".d.ts", ".map"))
    }


def _accepted_encodings(header: str) -> set[str]:
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
    return request.app[ASSETS].page.to_response(request, PAGE_HEADERS)


async def asset(request: web.Request) -> web.Response:
    """``GET /admin/assets/NAME``: what the page consists of."""
    return _requested_asset(request.app[ASSETS].files, request).to_response(request)


async def client_script(request: web.Request) -> web.Response:
    """``GET /client/orderwire.js``: the client, for pages without a build step, on other servers as well."""
    return _requested_asset(request.app[ASSETS].client_files, request).to_response(
        request, {"Access-Control-Allow-Origin": "*"}
    )


def _requested_asset(files: Mapping[str, Asset], request: web.Request) -> Asset:
    try:
        return files[request.match_info["name"]]
    except KeyError:
        raise web.HTTPNotFound from None
