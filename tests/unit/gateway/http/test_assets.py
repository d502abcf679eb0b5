"""gateway.http.assets: which files are served, in which encoding, and when the client's copy is current."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.http.assets import CACHE_IMMUTABLE, CACHE_REVALIDATE, Asset, Assets

BODY = b"console.log(1)\n" * 20
SCRIPT = Asset.from_content("page.js", BODY, CACHE_IMMUTABLE, {"br": b"brotli", "gzip": b"gzip"})


def request(**headers: str) -> web.Request:
    return make_mocked_request("GET", "/page.js", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br", "br", b"brotli"),
        ("GZIP", "gzip", b"gzip"),
        ("br;q=0, gzip;q=0.5", "gzip", b"gzip"),
        ("br;q=0.000, gzip;q=0.0", None, BODY),
        ("br; q=0.001", "br", b"brotli"),
        ("identity", None, BODY),
        ("", None, BODY),
    ],
)
def test_the_preferred_encoding_that_the_client_accepts_is_sent(accepted: str, encoding: str | None, body: bytes) -> None:
    response = SCRIPT.to_response(request(Accept_Encoding=accepted))
    assert (response.headers.get("Content-Encoding"), response.body) == (encoding, body)
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.headers["Cache-Control"] == CACHE_IMMUTABLE
    assert (response.content_type, response.charset) == ("text/javascript", "utf-8")


def test_a_file_that_the_build_has_not_compressed_is_compressed() -> None:
    asset = Asset.from_content("page.js", BODY, CACHE_REVALIDATE)
    response = asset.to_response(request(Accept_Encoding="gzip, br"))
    assert response.headers["Content-Encoding"] == "gzip"
    assert isinstance(response.body, bytes)
    assert gzip.decompress(response.body) == BODY


def test_a_current_copy_is_304() -> None:
    etag = SCRIPT.to_response(request()).headers["ETag"]
    assert etag.startswith('W/"')
    for sent in (etag, '"other", ' + etag, "*"):
        response = SCRIPT.to_response(request(If_None_Match=sent))
        assert (response.status, response.body, response.headers["ETag"]) == (304, None, etag)
    assert SCRIPT.to_response(request(If_None_Match='"other"')).status == 200


def test_without_a_build_the_plain_page_is_served(tmp_path: Path) -> None:
    assets = Assets("EUR", tmp_path)
    assert not assets.is_built
    assert b"<title>Orderwire" in assets.pages[0].body
    assert "plain.js" in assets.files
    assert assets.client_files == {}


def test_the_files_of_a_build_are_served_without_types(tmp_path: Path) -> None:
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    (tmp_path / "client" / "dist").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text('<html data-currency="PLN"><script src="./assets/page-1.js">')
    for name in ("page-1.js", "page-1.js.br", "page-1.js.gz"):
        (tmp_path / "dist" / "assets" / name).write_bytes(name.encode())
    for name in ("orderwire.js", "orderwire.js.map", "orderwire.d.ts", "orderwire.d.ts.map"):
        (tmp_path / "client" / "dist" / name).write_bytes(name.encode())
    assets = Assets("EUR", tmp_path)
    assert assets.is_built
    # The page's views are below it, so their assets are further up.
    assert [page.body for page in assets.pages] == [
        b'<html data-currency="EUR"><script src="%s/page-1.js">' % directory
        for directory in (b"./assets", b"../assets", b"../../assets")
    ]
    assert set(assets.files) == {"page-1.js"}
    assert assets.files["page-1.js"].encoded == {"br": b"page-1.js.br", "gzip": b"page-1.js.gz"}
    assert assets.files["page-1.js"].cache_control == CACHE_IMMUTABLE
    assert set(assets.client_files) == {"orderwire.js", "orderwire.js.map"}
    assert assets.client_files["orderwire.js.map"].content_type == "application/json"
    assert assets.client_files["orderwire.js"].cache_control == CACHE_REVALIDATE


def test_the_script_of_the_client_gets_the_path_at_which_a_proxy_serves_it(tmp_path: Path) -> None:
    (tmp_path / "client" / "dist").mkdir(parents=True)
    (tmp_path / "client" / "dist" / "orderwire.js").write_text('const url = "/api/ws";')
    script = Assets("EUR", tmp_path, base_path="/shop").client_files["orderwire.js"]
    assert script.body == b'const url = "/shop/api/ws";'
    assert gzip.decompress(script.encoded["gzip"]) == script.body
