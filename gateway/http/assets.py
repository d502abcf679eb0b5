"""The dashboard page, its assets and the client's script.

The files come from the build in web/; without a build, the plain page in gateway/plain is served. They are read once, at
start-up, and sent from memory.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

__all__ = ["ASSETS", "CACHE_REVALIDATE", "PAGE_HEADERS", "Asset", "Assets", "asset", "client_script", "dashboard", "page_file"]

# The page loads scripts, styles and data from its own origin only; an injected inline script does not run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The build puts a hash of the content into the names of assets, so these never change. Browsers revalidate all others.
CACHE_IMMUTABLE = "public, max-age=31536000, immutable"
CACHE_REVALIDATE = "no-cache"
# Not from `mimetypes`, which reads tables of the machine.
CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".map": "application/json",
    ".json": "application/json",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
# Files beside the page whose addresses never change: the service worker, the manifest of the installed page, its icons.
PAGE_FILE_SUFFIXES = (".js", ".webmanifest", ".png")
# Suffixes of the compressed files that the build puts beside each file; the preferred encoding first.
ENCODINGS = {"br": ".br", "gzip": ".gz"}

# The address that the client's script connects to by default: web/client/src/environment.ts.
DEFAULT_ENDPOINT = b"/api/ws"

# Path segments of the page's views below /admin/dashboard: `/orders/KEY`.
MAX_PAGE_DEPTH = 2

WEB_DIRECTORY = Path(__file__).resolve().parent.parent.parent / "web"
PLAIN_DIRECTORY = Path(__file__).resolve().parent.parent / "plain"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and compressed. ``encoded`` maps a content coding to the compressed body."""

    content_type: str
    cache_control: str
    body: bytes
    encoded: Mapping[str, bytes]
    etag: str

    @classmethod
    def from_content(cls, name: str, body: bytes, cache_control: str, encoded: Mapping[str, bytes] | None = None) -> Asset:
        """Compresses the body with gzip if the build has not compressed it."""
        return cls(
            CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream"),
            cache_control,
            body,
            encoded or {"gzip": gzip.compress(body, mtime=0)},
            hashlib.sha256(body).hexdigest()[:32],
        )

    def to_response(self, request: web.Request, headers: Mapping[str, str] | None = None) -> web.Response:
        """The response with the preferred encoding that the client accepts, or 304 if its copy is current."""
        response = web.Response(headers={"Cache-Control": self.cache_control, "Vary": "Accept-Encoding", **(headers or {})})
        # Weak, since the encodings differ in their bytes (RFC 9110 section 8.8.1).
        response.headers["ETag"] = f'W/"{self.etag}"'
        if any(known.value in (self.etag, "*") for known in request.if_none_match or ()):
            response.set_status(304)
            return response
        accepted = _accepted_encodings(request.headers.get("Accept-Encoding", ""))
        encoding = next((name for name in ENCODINGS if name in self.encoded and name in accepted), None)
        if encoding is not None:
            response.headers["Content-Encoding"] = encoding
        response.body = self.body if encoding is None else self.encoded[encoding]
        response.content_type = self.content_type
        if self.content_type.startswith("text/"):
            response.charset = "utf-8"
        return response


class Assets:
    """All static files, by name. Made once. ``currency`` is written into the page, ``base_path`` into the client's script: the
    page knows its own address, but a script does not know where it was loaded from once it is part of a bundle.
    """

    def __init__(self, currency: str, web_directory: Path = WEB_DIRECTORY, *, base_path: str = "") -> None:
        built = web_directory / "dist"
        self.is_built = (built / "index.html").exists()
        source = built if self.is_built else PLAIN_DIRECTORY
        page = (source / "index.html").read_bytes()
        page = page.replace(b'data-currency="PLN"', f'data-currency="{currency}"'.encode())
        # Relative addresses of assets, since a proxy may add a prefix: one page for each depth below /admin/dashboard.
        self.pages = [
            Asset.from_content("index.html", page.replace(b'"./', b'"' + (b"../" * depth or b"./")), CACHE_REVALIDATE)
            for depth in range(MAX_PAGE_DEPTH + 1)
        ]
        # Below /api/, from which the assets are one directory up. The plain page comes without it.
        self.docs_page = _read_docs_page(built / "docs.html")
        self.files = _read_directory(source / "assets", CACHE_IMMUTABLE if self.is_built else CACHE_REVALIDATE)
        self.page_files = {
            name: file for name, file in _read_directory(source, CACHE_REVALIDATE).items() if name.endswith(PAGE_FILE_SUFFIXES)
        }
        self.client_files = _read_directory(web_directory / "client" / "dist", CACHE_REVALIDATE, base_path)


def _read_docs_page(path: Path) -> Asset | None:
    if not path.exists():
        return None
    return Asset.from_content("docs.html", path.read_bytes().replace(b'"./', b'"../admin/'), CACHE_REVALIDATE)


def _read_directory(directory: Path, cache_control: str, base_path: str = "") -> dict[str, Asset]:
    if not directory.is_dir():
        return {}
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    if base_path:
        files = {name: body.replace(DEFAULT_ENDPOINT, base_path.encode() + DEFAULT_ENDPOINT) for name, body in files.items()}
    return {
        name: Asset.from_content(
            name, body, cache_control, {code: files[name + end] for code, end in ENCODINGS.items() if name + end in files}
        )
        for name, body in files.items()
        if not name.endswith((*ENCODINGS.values(), ".d.ts", ".d.ts.map"))
    }


def _accepted_encodings(header: str) -> set[str]:
    """The content codings in an Accept-Encoding header, without those of quality 0."""
    accepted = set()
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        if not any(word.startswith("q=") and not word[2:].strip("0.") for word in parameters):
            accepted.add(name)
    return accepted


ASSETS = web.AppKey("ASSETS", Assets)


async def dashboard(request: web.Request) -> web.Response:
    """``GET /admin/dashboard`` and its views below: the page. It needs no token; the data that it fetches does."""
    depth = 2 if "key" in request.match_info else len(request.match_info)
    return request.app[ASSETS].pages[depth].to_response(request, PAGE_HEADERS)


async def asset(request: web.Request) -> web.Response:
    """``GET /admin/assets/NAME``: scripts, styles and images of the page."""
    return _requested_asset(request.app[ASSETS].files, request).to_response(request)


async def page_file(request: web.Request) -> web.Response:
    """``GET /admin/NAME``: the service worker, the manifest and the icons. The path of the worker's script is above that of the
    page, so the page is in its scope without a header ``Service-Worker-Allowed``.
    """
    return _requested_asset(request.app[ASSETS].page_files, request).to_response(request)


async def client_script(request: web.Request) -> web.Response:
    """``GET /client/orderwire.js``: the client, for pages without a build step. Pages of any origin may load it."""
    return _requested_asset(request.app[ASSETS].client_files, request).to_response(
        request, {"Access-Control-Allow-Origin": "*"}
    )


def _requested_asset(files: Mapping[str, Asset], request: web.Request) -> Asset:
    try:
        return files[request.match_info["name"]]
    except KeyError:
        raise web.HTTPNotFound from None
