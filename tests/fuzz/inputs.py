"""Random inputs: commands, messages, frames, queries, requests. Each is determined by the random generator passed in."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any
from urllib.parse import quote

from tests.fuzz.octets import mutate
from tests.fuzz.tokens import CANARY, ODD_VALUES, odd_token, valid_token
from tests.helpers.websocket_frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    FINAL,
    PING,
    PONG,
    TEXT,
    deflate_message,
    frame,
)

__all__ = ["fatal_message", "handshake", "nonfatal_message", "request"]

LETTERS = 'abcXYZ019 {}[]":,.\\/\n\t\0éжß€\u2028\U0001f600\ufffd'
EPOCHS = ("00000000", "deadbeef", "0", "zzzzzzzz", "")
NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "99",
    "700",
    "1000",
    "100000",
    "-1",
    "+1",
    "01",
    "1.5",
    "1e3",
    "",
    "x",
    "9" * 18,
    "9" * 19,
    "9" * 400,
    "٣",
)
STATUSES = ("pending", "ready", "PENDING", "", "nonsense", "pending'--", "\0")
PATHS = (
    *("/", "/admin/dashboard", "/api/ws", "/api/events", "/api/orders", "/api/analytics", "/metrics", "/healthz", "/readyz"),
    *("/api/orders/1", "/api/orders/1/events", "/api/orders/%00", "/api/orders/%FF/events", "/api/orders/a%2Fb", "/api/meta"),
    "/api/test-order",
    *("/api/series", "/api/series?period=7d", "/api/series?period=%00"),
    "/api/orders.csv",
)
MOMENTS = ("2026-01-31", "2026-02-30", "0001-01-01", "9999-12-31T23:59:59-23:59", "2026-01-31T12:00:00 01:00", "now", "", "\0")
SEARCHES = ("#1", "#", "150,50", "9" * 13, "a'b", "\\", "%", "_", "{a,b}", "ORD-", " ", "\ud800", "\0", "x" * 300)
METHODS = ("GET",) * 12 + ("HEAD", "OPTIONS", "POST", "PUT", "DELETE", *("PATCH",) * 3, "TRACE", "PROPFIND", "get", "G")


def random_text(rng: random.Random, max_length: int = 60) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randrange(max_length)))


# ---------------------------------------------------------------- messages in a session


def topic(rng: random.Random) -> Any:
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(("orders", "analytics"))
        case 2 | 3:
            return f"order:{rng.randrange(60)}"
        case 4:
            return "order:" + rng.choice(NUMBERS)
        case 5:
            return rng.choice(ODD_VALUES)
        case 6:
            return rng.choice(
                (
                    *(
                        "order",
                        "order:",
                        "Orders",
                        "orders ",
                        "order:1 ",
                        "order:1\n",
                        "order:-0",
                        "order:-9223372036854775808",
                    ),
                    *("order:%31", "order:%", "order:%00", "order:%FF", "order:%ED%A0%80", "order:" + "%C3%A9" * 100, "stock"),
                    *("stock:1", "orders:1", "order:a%2Fb%25"),
                )
            )
        case _:
            return random_text(rng)


def nested_json(rng: random.Random) -> str:
    """JSON nested about as deeply as the parser and the code behind it accept, or deeper."""
    depth = rng.choice((1, 10, 400, 500, rng.randint(900, 1000), 20000))
    inner = "[" * depth + "]" * depth
    return rng.choice(
        (inner, f'{{"type":"subscribe","topics":{inner}}}', f'{{"type":{inner}}}', '{"a":' * depth + "1" + "}" * depth)
    )


def command(rng: random.Random) -> str:
    """JSON or nearly JSON, but no ``auth`` with a string as token."""
    match rng.randrange(14):
        case 0 | 1:
            return rng.choice(('{"type":"ping"}', '{"type":"pong"}', ' {"type" : "ping", "x":[1,{"y":null}]}\n'))
        case 2 | 3 | 4 | 5:
            topics: Any = [topic(rng) for _ in range(rng.choices((0, 1, 2, 3, 5, 150), (1, 3, 2, 2, 1, 0.1))[0])]
            frame: dict[str, Any] = {"type": rng.choice(("subscribe", "unsubscribe")), "topics": topics}
            if rng.random() < 0.1:
                frame["topics"] = rng.choice(ODD_VALUES)
            if rng.random() < 0.1:
                frame[random_text(rng, 10)] = rng.choice(ODD_VALUES)
            return json.dumps(frame, ensure_ascii=rng.random() < 0.7).encode(errors="replace").decode()
        case 6:
            return json.dumps(
                {"type": "auth", "token": rng.choice([value for value in ODD_VALUES if not isinstance(value, str)])}
            )
        case 7:
            return json.dumps(
                {"type": rng.choice(ODD_VALUES), "token": rng.choice(ODD_VALUES), "topics": rng.choice(ODD_VALUES)}
            )
        case 8:
            return json.dumps(rng.choice(ODD_VALUES))
        case 9:
            return '{"type":"subscribe","topics":["orders"],"topics":' + rng.choice(("[]", "1", "[[]]", "{}")) + "}"
        case 10 if rng.random() < 0.1:
            return nested_json(rng)
        case 11:
            return random_text(rng, 200)
        case _:
            whole = json.dumps({"type": rng.choice(("ping", "subscribe", "unsubscribe")), "topics": [topic(rng)]})
            return mutate(rng, whole.encode(errors="replace")).decode(errors="replace")


def random_mask(rng: random.Random) -> bytes:
    return bytes(4) if rng.random() < 0.8 else rng.randbytes(4)


def fragmented(rng: random.Random, payload: bytes, opcode: int = TEXT) -> bytes:
    """A message in several frames, split anywhere, with control frames in between."""
    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randint(1, 6)))
    parts = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    frames = []
    for number, part in enumerate(parts):
        head = (opcode if number == 0 else CONTINUATION) | (FINAL if number == len(parts) - 1 else 0)
        frames.append(frame(head, part, mask=random_mask(rng)))
        if rng.random() < 0.3 and number < len(parts) - 1:
            frames.append(control_frame(rng))
    return b"".join(frames)


def control_frame(rng: random.Random) -> bytes:
    return frame(FINAL | rng.choice((PING, PONG)), rng.randbytes(rng.choice((0, 1, 4, 124, 125))), mask=random_mask(rng))


def compressed_message(rng: random.Random, payload: bytes) -> bytes:
    """A valid compressed message (RFC 7692)."""
    deflated = deflate_message(payload, rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FINISH)), window_bits=rng.choice((9, 12, 15)))
    return fragmented(rng, deflated, COMPRESSED | TEXT) if rng.random() < 0.3 else frame(FINAL | COMPRESSED | TEXT, deflated)


def nonfatal_message(rng: random.Random, *, login: bool, compression: bool = False) -> bytes:
    """One message after which the session must continue."""
    kind = rng.random()
    if kind > 0.99 and not login:  # without login any token is accepted
        return frame(FINAL | TEXT, json.dumps({"type": "auth", "token": odd_token(rng)}).encode())
    if kind < 0.1:
        return control_frame(rng)
    payload = command(rng).encode(errors="replace")[:65000]
    if compression and rng.random() < 0.5:
        return compressed_message(rng, payload)
    if kind < 0.2:
        return fragmented(rng, payload)
    if kind < 0.202:
        payload = payload[:60000].ljust(rng.choice((60000, 65535, 65536)))
    return frame(FINAL | TEXT, payload, mask=random_mask(rng))


def bad_compressed_message(rng: random.Random) -> bytes:
    """A compressed message that is invalid or too large."""
    payload = command(rng).encode(errors="replace")
    match rng.randrange(5):
        case 0:
            bomb = deflate_message(b" " * rng.choice((65537, 2**17, 2**24)))
            return fragmented(rng, bomb, COMPRESSED | TEXT) if rng.random() < 0.5 else frame(FINAL | COMPRESSED | TEXT, bomb)
        case 1:
            return frame(FINAL | COMPRESSED | TEXT, rng.randbytes(rng.choice((0, 1, 2, 5, 100, 60000))))
        case 2:
            return frame(FINAL | COMPRESSED | TEXT, mutate(rng, deflate_message(payload)))
        case 3:
            return frame(FINAL | COMPRESSED | rng.choice((CONTINUATION, BINARY, PING, PONG, CLOSE)), deflate_message(payload))
        case _:
            return frame(COMPRESSED | TEXT, deflate_message(payload)) + frame(FINAL | COMPRESSED | CONTINUATION, b"\x00")


def fatal_message(rng: random.Random, *, login: bool, compression: bool = False) -> bytes:
    """One message after which the server may close the session, and usually must."""
    if compression and rng.random() < 0.5:
        return bad_compressed_message(rng)
    payload = command(rng).encode(errors="replace")
    match rng.randrange(12):
        case 0:
            return frame(FINAL | BINARY, payload)
        case 1:
            return frame(FINAL | TEXT, payload, mask=None)
        case 2:
            return frame(
                FINAL | CLOSE, mutate(rng, rng.choice((1000, 1001, 1005, 1006, 3000, 4999, 65535)).to_bytes(2, "big") + b"bye")
            )
        case 3:
            return frame(FINAL | TEXT | rng.choice((0x10, 0x20, 0x40, 0x70)), payload)
        case 4:
            return frame(FINAL | rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), payload)
        case 5:
            return frame(FINAL | TEXT, b"", length=rng.choice((65537, 2**16, 2**20, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)))
        case 6:
            return frame(TEXT, payload) + frame(FINAL | TEXT, payload)
        case 7:
            return frame(FINAL | CONTINUATION, payload)
        case 8:
            return frame(FINAL | TEXT, b'"' + rng.randbytes(30) + b"\xff")
        case 9:
            return frame(rng.choice((PING, PONG, CLOSE, FINAL | PING)), rng.randbytes(rng.choice((1, 126, 300))))
        case 10 if login:
            return frame(FINAL | TEXT, json.dumps({"type": "auth", "token": odd_token(rng)}).encode())
        case _:
            return mutate(rng, b"".join(nonfatal_message(rng, login=login) for _ in range(3)))


# ---------------------------------------------------------------- requests


def cursor(rng: random.Random, epoch: str) -> str:
    epoch = epoch if rng.random() < 0.8 else rng.choice(EPOCHS)

    def snapshot() -> str:
        numbers = sorted({rng.choice((1, 2, 700, 800, 5000, 10**17, rng.randrange(1, 2000))) for _ in range(rng.randint(2, 6))})
        if rng.random() < 0.05:
            numbers = list(range(700, rng.choice((800, 1700))))
        xmin, *xip, xmax = numbers if len(numbers) > 1 else (1, 2)
        return "s" + ".".join(map(str, (xmin, xmax, *xip)))

    def event() -> str:
        return "-".join(str(rng.choice((0, 1, 800, rng.randrange(2000), 10**18 - 1))) for _ in range(3))

    def place() -> str:
        return snapshot() if rng.random() < 0.5 else event()

    witness = f"~{event()}" if rng.random() < 0.5 else ""
    whole = f"{epoch}-{place()}" if rng.random() < 0.7 else f"{epoch}-p{place()}_{snapshot()}_{rng.randrange(2000)}{witness}"
    return whole if rng.random() < 0.7 else mutate(rng, whole.encode()).decode("latin-1")


def query(rng: random.Random, epoch: str) -> str:
    """A query with its question mark, or an empty string."""
    fields = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 8))):
        name = rng.choice(
            ("last_event_id", "after", "limit", "before", "status", "topics", "token", "x", "", "q", "from", "to")
        )
        match name:
            case "last_event_id" | "after":
                value = cursor(rng, epoch)
            case "limit" | "before":
                value = rng.choice(NUMBERS)
            case "status":
                value = rng.choice(STATUSES)
            case "topics":
                value = ",".join(str(topic(rng)) for _ in range(rng.choice((0, 1, 1, 2, 5, 150))))
            case "from" | "to":
                value = rng.choice(MOMENTS)
            case "q":
                value = rng.choice(SEARCHES)
            case "token":
                value = CANARY
            case _:
                value = random_text(rng)
        quoted = quote(value.encode(errors="replace"), safe="")
        if rng.random() < 0.1:
            quoted += rng.choice(("%", "%f", "%ff", "%ed%a0%80", "%00", "%zz", "%u1234", ";", "&&", "==", "+", "#", "?"))
        fields.append(f"{name}={quoted}" if rng.random() < 0.95 else name)
    return "?" + "&".join(fields) if fields else ""


def random_address(rng: random.Random) -> str:
    return rng.choice(
        (
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "unknown",
            "[::1]:80",
            "1.2.3.4:5",
            "fe80::1%eth0",
            "::ffff:127.0.0.1",
            "",
            ",",
            "\xff",
            "9" * 300,
        )
    )


def random_headers(rng: random.Random, host: str, token: str | None, epoch: str) -> list[tuple[str, str]]:
    """Header names and values, as Latin-1 text."""
    lines = []
    if rng.random() < 0.98:
        lines.append(
            (
                "Host",
                host
                if rng.random() < 0.9
                else rng.choice(("", "localhost", "evil.example", "[::1]", "[", ":", "a" * 300, "\xff", "127.0.0.1:x")),
            )
        )
    if token is not None:
        scheme = "Bearer " if rng.random() < 0.9 else rng.choice(("bearer ", "BEARER  ", "Basic ", "", "Bearer", "Bearer\t"))
        lines.append(("Authorization", scheme + token.encode(errors="replace").decode("latin-1")))
    for _ in range(rng.choice((0, 0, 0, 1, 2, 4))):
        name = rng.choice(
            (
                "Origin",
                "X-Forwarded-For",
                "X-Forwarded-Proto",
                "X-Forwarded-Host",
                "Forwarded",
                "X-Real-IP",
                "Last-Event-ID",
                "Accept",
                "Cookie",
                "Expect",
                "Range",
                "If-Modified-Since",
                "If-None-Match",
                "Accept-Encoding",
                "Access-Control-Request-Method",
                "Content-Type",
                "X",
                "Connection",
                "Upgrade",
                "HTTP2-Settings",
            )
        )
        match name:
            case "Origin":
                value = rng.choice(
                    (
                        "http://" + host,
                        "null",
                        "https://evil.example",
                        "",
                        "http://",
                        "\xff\xfe",
                        "a" * 3000,
                        "http://é",
                        "http://[::1",
                    )
                )
            case "X-Forwarded-For":
                value = ", ".join(random_address(rng) for _ in range(rng.randint(0, 4)))
            case "Last-Event-ID":
                value = cursor(rng, epoch)
            case "Expect":
                value = rng.choice(("100-continue", "200-ok", ""))
            case "Range":
                value = rng.choice(("bytes=0-1", "bytes=-1", "bytes=9-1", "bytes=x", "bytes=0-0,2-3", "bytes=99999999999-"))
            case "If-Modified-Since":
                value = rng.choice(
                    ("Wed, 21 Oct 2015 07:28:00 GMT", "x", "Wed, 99 Oct 99999 07:28:00 GMT", "Mon, 01 Jan 0001 00:00:00 -2359")
                )
            case "Connection" | "Upgrade":
                value = rng.choice(
                    ("keep-alive", "x", "")
                )  # no upgrade, after which further requests would not be read: see handshake()
            case _:
                value = rng.choice((CANARY, "*/*", "gzip, deflate, br", "\xff\x80", "x" * 4000, "GET", "", "a=b; c", 'W/"x"'))
        lines.append((name, "".join(letter for letter in value if letter not in "\r\n\0")))
    return lines


def _encode_request(method: str, target: str, lines: list[tuple[str, str]], body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return head.encode("latin-1", errors="replace") + body


def random_token(rng: random.Random, role: str | None) -> str | None:
    """No token, a valid one (with that role, if given), or an odd one."""
    return rng.choice((lambda: None, lambda: valid_token(rng, role or "viewer"), lambda: odd_token(rng)))()


ODD_PATHS = (
    "/nowhere",
    "//",
    "/api/../metrics",
    "/%2e%2e/",
    "/api/orders/",
    "/api%2forders",
    "/\xff\xfe",
    "/%ff",
    "/%ed%a0%80",
    "/%",
    "/%00",
    "/a" * 500,
    "*",
    "/api/ws/",
    "/;x",
    "http://127.0.0.1/api/orders",
    "http://[::1",
    "http://evil.example/metrics",
)


def change_body(rng: random.Random, epoch: str) -> bytes:
    """The body of a change of an order, nearly right. No order ever has the status that it says is the present one."""
    content: Any = {"status": rng.choice(STATUSES), "from": rng.choice(("ready", "delivered", "nonsense"))}
    match rng.randrange(6):
        case 0:
            content = rng.choice(ODD_VALUES)
        case 1:
            content[rng.choice(("status", "undo", random_text(rng, 10)))] = rng.choice(ODD_VALUES)
        case 2:
            content["undo"] = cursor(rng, epoch)
        case 3:
            return nested_json(rng).encode(errors="replace")[:5000]
    whole = json.dumps(content, ensure_ascii=rng.random() < 0.7).encode(errors="replace")
    return mutate(rng, whole) if rng.random() < 0.3 else whole


def request(
    rng: random.Random, host: str, epoch: str, role: str | None, *, path: str | None = None, last: bool = False
) -> bytes:
    """One complete request, which the server must answer. ``last``: with "Connection: close"."""
    path = path or rng.choice(ODD_PATHS if rng.random() < 0.1 else PATHS)
    method = "GET" if path == "/api/sse" else rng.choice(METHODS)
    lines = random_headers(rng, host, random_token(rng, role), epoch)
    body = b""
    if method in ("PATCH", "POST") and rng.random() < 0.8:
        body = change_body(rng, epoch)
        lines += [("Content-Length", str(len(body))), ("Content-Type", "application/json")]
    elif rng.random() < 0.05:
        body = rng.randbytes(rng.choice((0, 1, 100, 5000)))
        lines.append(("Content-Length", str(len(body))))
    if last:
        lines.append(("Connection", "close"))
    return _encode_request(method, path + query(rng, epoch), lines, body)


def handshake(
    rng: random.Random, host: str, epoch: str, token: str | None, *, plain: bool = False, compression: bool = False
) -> bytes:
    """A WebSocket handshake. ``plain``: a valid one, which succeeds if the token is valid; ``compression``: with an offer."""
    lines = [("Host", host)] if plain else random_headers(rng, host, None, epoch)
    if compression:
        lines.append(("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"))
    protocols = []
    if token is not None:
        raw = token.encode(errors="replace").decode("latin-1")
        if rng.random() < 0.5:
            lines.append(("Authorization", f"Bearer {raw}"))
        else:
            protocols.append(f"bearer.{raw}")
    if rng.random() < 0.5:
        protocols.insert(rng.randrange(len(protocols) + 1), "orderwire")
    if not plain and rng.random() < 0.2:
        protocols += [rng.choice(("", "x", "bearer.", "Orderwire", "a b", "\xff", "bearer.\xe9", "x" * 3000))]
    if protocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
    key, version = "dGhlIHNhbXBsZSBub25jZQ==", "13"
    if not plain:
        if rng.random() < 0.2:
            key = rng.choice(("", "x", "AAAA", "dGhlIHNhbXBsZSBub25jZQ", "é", "=" * 24, "A" * 5000))
        if rng.random() < 0.2:
            version = rng.choice(("", "0", "8", "7", "14", "13, 8", "x", "9" * 50))
        if rng.random() < 0.3:
            lines.append(
                (
                    "Sec-WebSocket-Extensions",
                    rng.choice(
                        (
                            "permessage-deflate",
                            "permessage-deflate; client_max_window_bits",
                            "permessage-deflate; server_max_window_bits=7",
                            "permessage-deflate; client_max_window_bits=" + "9" * 30,
                            "permessage-deflate; x=y, x-webkit-deflate-frame",
                            "\xff",
                            ";;;,,,",
                        )
                    ),
                )
            )
    usual = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", version),
    ]
    if not plain and rng.random() < 0.1:
        usual.pop(rng.randrange(4))
    if not plain and rng.random() < 0.1:
        usual[0] = ("Upgrade", rng.choice(("h2c", "WebSocket", "websocket, h2c", "")))
    rng.shuffle(usual)
    target = "/api/ws" + ("" if plain else query(rng, epoch))
    return _encode_request("GET", target, lines + usual)
