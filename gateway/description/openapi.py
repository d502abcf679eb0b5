"""The document of OpenAPI 3.1, made from the route table and the description of each route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from gateway.description.answers import ANSWERS
from gateway.description.operations import OPERATIONS, PAGES, Operation, Parameter
from gateway.http.errors import ERROR_CODES
from push.protocol.schema import EVENTS, SCHEMAS, ref

__all__ = ["UndescribedRoute", "openapi"]

TAGS = {
    "orders": "Orders, and changes of them",
    "events": "Events: history and live",
    "shop": "Sums over all orders, and the shop",
    "monitoring": "For the operator",
}
# Errors that every path may answer with, and those that every path with a token may.
_OF_EVERY_PATH, _OF_PATHS_WITH_TOKEN = (403, 429), (401,)


class UndescribedRoute(Exception):
    """The route table and the descriptions do not name the same routes."""


def openapi(routes: Iterable[web.RouteDef], version: str) -> dict[str, Any]:
    """Describe the routes. Raises UndescribedRoute if one has no description, or a description no route."""
    served = {(route.method, route.path) for route in routes if route.path not in PAGES}
    if served != set(OPERATIONS):
        names = sorted(f"{method} {path}" for method, path in served ^ set(OPERATIONS))
        raise UndescribedRoute(f"gateway/description/operations.py and gateway/routes.py differ in: {', '.join(names)}")
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(operation)
    events = ("Actor", *EVENTS.values())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Orderwire",
            "version": version,
            "description": "Every change of a shop's orders, over HTTP. The messages of the WebSocket are in asyncapi.json.",
        },
        # Relative to the document: the server may be below any prefix.
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**{name: SCHEMAS[name] for name in events}, **ANSWERS},
            "responses": {code: _error(status, code) for status, code in ERROR_CODES.items()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    answer = operation.answer
    success: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        success["content"] = {answer.content_type: {"schema": ref(answer.schema), "example": answer.example}}
    elif answer.content_type:
        success["content"] = {answer.content_type: {"schema": {"type": "string"}}}
    errors = {*operation.errors, *_OF_EVERY_PATH, *(_OF_PATHS_WITH_TOKEN if operation.roles else ())}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        # A server without a login needs no token.
        "security": [{"bearer": []}, {}] if operation.roles else [],
        "responses": {
            str(answer.status): success,
            **{str(status): {"$ref": f"#/components/responses/{ERROR_CODES[status]}"} for status in sorted(errors)},
        },
    }
    if operation.roles:
        described["description"] = f"Roles: {', '.join(operation.roles)}."
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        schema, example = operation.body
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": ref(schema), "example": example}},
        }
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": parameter.schema,
        "example": parameter.example,
    }


_ERROR_DESCRIPTIONS: Mapping[int, str] = {
    400: "The request is malformed.",
    401: "A token is needed, or a better one.",
    403: "The role, the origin, the host name or the machine may not.",
    404: "No such path, or no such order.",
    405: "Not with this method; `Allow` lists those that are.",
    408: "The body did not come in time.",
    409: "The order has changed meanwhile.",
    410: "The cursor is of another epoch, older than the journal or made up: fetch anew.",
    413: "The request is too large.",
    426: "A WebSocket version other than 13.",
    429: "Too many requests or connections; `Retry-After` says when to come back.",
    503: "The server cannot answer right now; `Retry-After` says when to come back.",
}


def _error(status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": "…"}
    if status == 409:
        error |= {"status": "ready", "actor": {"role": "shop", "application_name": "dashboard: anna"}}
    content = {"application/json": {"schema": ref("Error"), "example": {"error": error}}}
    return {"description": _ERROR_DESCRIPTIONS[status], "content": content}
