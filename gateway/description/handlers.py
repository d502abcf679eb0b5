"""The handlers of /openapi.json, /asyncapi.json and /api/docs. They need no token: all shops have the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gateway.description.asyncapi import asyncapi
from gateway.description.openapi import openapi
from gateway.http.assets import ASSETS, CACHE_REVALIDATE, PAGE_HEADERS, Asset

__all__ = ["DESCRIPTIONS", "Descriptions", "asyncapi_json", "docs_page", "openapi_json"]


class Descriptions:
    """Both documents, encoded once. Raises UndescribedRoute."""

    def __init__(self, routes: Iterable[web.RouteDef], version: str, base_path: str) -> None:
        self.openapi = _encoded("openapi.json", openapi(routes, version))
        self.asyncapi = _encoded("asyncapi.json", asyncapi(version, base_path))


def _encoded(name: str, document: dict[str, Any]) -> Asset:
    return Asset.from_content(name, json.dumps(document, ensure_ascii=False).encode(), CACHE_REVALIDATE)


DESCRIPTIONS = web.AppKey("DESCRIPTIONS", Descriptions)


async def openapi_json(request: web.Request) -> web.Response:
    """``GET /openapi.json``: the HTTP interface, as OpenAPI 3.1."""
    return request.app[DESCRIPTIONS].openapi.to_response(request)


async def asyncapi_json(request: web.Request) -> web.Response:
    """``GET /asyncapi.json``: the messages of WebSocket and Server-Sent Events, as AsyncAPI 3.0."""
    return request.app[DESCRIPTIONS].asyncapi.to_response(request)


async def docs_page(request: web.Request) -> web.Response:
    """``GET /api/docs``: the page that shows both and sends requests. It is part of the build of web/."""
    page = request.app[ASSETS].docs_page
    if page is None:
        raise web.HTTPServiceUnavailable(
            text="this page is not built: run `make web`; /openapi.json and /asyncapi.json are there"
        )
    return page.to_response(request, PAGE_HEADERS)
