"""The document of AsyncAPI 3.0: the messages of the WebSocket and of Server-Sent Events."""

from __future__ import annotations

from typing import Any

from gateway.description.operations import OPERATIONS, Parameter
from push.protocol.messages import CloseCode
from push.protocol.schema import CLIENT_MESSAGES, EVENTS, SCHEMAS, SERVER_MESSAGES, Schema, ref

__all__ = ["asyncapi"]

# Sent by a WebSocket alone: an event stream has no commands to answer, and its heartbeat is a comment.
_OF_WEBSOCKETS = ("ErrorMessage", "Ping", "Pong")
# What answers a command of the client.
_REPLIES = {
    "Ping": ("Pong",),
    "Auth": ("Authenticated", "Subscribed", "ErrorMessage"),
    "Subscribe": ("Subscribed", "ErrorMessage"),
    "Unsubscribe": ("Subscribed", "ErrorMessage"),
}


def asyncapi(version: str, base_path: str = "") -> dict[str, Any]:
    """Describe the messages. ``base_path``: where a proxy serves the application."""
    from_server = [*SERVER_MESSAGES.values(), *EVENTS.values()]
    from_client = list(CLIENT_MESSAGES.values())
    server: dict[str, Any] = {
        "host": "{host}",
        "variables": {"host": {"default": "127.0.0.1:8000"}},
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
    }
    if base_path:
        server["pathname"] = base_path
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Orderwire",
            "version": version,
            "description": "Every change of a shop's orders, live. What HTTP answers is in openapi.json.",
        },
        "defaultContentType": "application/json",
        "servers": {"websocket": {**server, "protocol": "ws"}, "http": {**server, "protocol": "http"}},
        "channels": {
            "websocket": {
                **_channel("/api/ws", "websocket", dict.fromkeys([*from_server, *from_client])),
                "bindings": {"ws": {"method": "GET", "query": _query("/api/ws")}},
                # AsyncAPI has no place for them.
                "x-close-codes": {str(int(code)): code.reason for code in CloseCode},
            },
            "eventStream": _channel("/api/sse", "http", [name for name in from_server if name not in _OF_WEBSOCKETS]),
        },
        "operations": {
            "sendOverWebSocket": _operation("send", "websocket", from_server),
            "sendOverEventStream": _operation("send", "eventStream", [n for n in from_server if n not in _OF_WEBSOCKETS]),
            **{f"receive{name}": _command(name) for name in from_client},
        },
        "components": {
            "schemas": dict(SCHEMAS),
            "messages": {name: _message(name) for name in dict.fromkeys([*from_server, *from_client])},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _channel(path: str, server: str, names: Any) -> dict[str, Any]:
    operation = OPERATIONS["GET", path]
    return {
        "address": path,
        "summary": operation.summary,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _query(path: str) -> dict[str, Any]:
    """The parameters of the handshake, as one schema."""
    return {"type": "object", "properties": {found.name: _property(found) for found in OPERATIONS["GET", path].parameters}}


def _property(parameter: Parameter) -> Schema:
    return {**parameter.schema, "description": parameter.description, "examples": [parameter.example]}


def _message(name: str) -> dict[str, Any]:
    schema = SCHEMAS[name]
    return {
        "name": schema["properties"]["type"]["const"],
        "title": name,
        "summary": schema["description"],
        "payload": ref(name),
        "examples": [{"payload": example} for example in schema["examples"]],
    }


def _operation(action: str, channel: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _command(name: str) -> dict[str, Any]:
    described = _operation("receive", "websocket", [name])
    if replies := _REPLIES.get(name):
        described["reply"] = {
            key: value for key, value in _operation("send", "websocket", list(replies)).items() if key != "action"
        }
    return described
