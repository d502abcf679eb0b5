"""The body of every error response: ``{"error":{"code":"…","message":"…"}}``, with further members in few cases."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["error_body"]


def error_body(code: str, message: str, **members: Any) -> bytes:
    """``code``: a name for programs (docs/reference/protocol.md, "HTTP"). Returns one compact JSON object in UTF-8."""
    error = {"code": code, "message": message, **members}
    text = json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":"))
    # The message may repeat what the client sent; aiohttp decodes bytes that are not UTF-8 to lone surrogates.
    return text.encode(errors="replace")
