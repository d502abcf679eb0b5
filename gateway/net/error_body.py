"""The body of every error response: ``{"error":{"code":"…","message":"…"}}``."""

from __future__ import annotations

import json

__all__ = ["error_body"]


def error_body(code: str, message: str) -> bytes:
    """``code``: a name for programs (docs/reference/protocol.md, "HTTP"). Returns one compact JSON object in UTF-8."""
    text = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False, separators=(",", ":"))
    # The message may repeat what the client sent; aiohttp decodes bytes that are not UTF-8 to lone surrogates.
    return text.encode(errors="replace")
