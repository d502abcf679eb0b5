"""The headers of a WebSocket client's frames, looked at before aiohttp's parser sees them. Pure.

That parser hands on whole messages: by then it has done the work for any number of parts, and it lets some things pass that
RFC 6455 does not. Here each frame is counted as it comes, and what comes after the last one that is allowed goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["FrameWatch"]

FINAL, OPCODE, MASKED, LENGTH = 0x80, 0x0F, 0x80, 0x7F
CONTINUATION, CLOSE = 0x0, 0x8
# Codes that no close frame may hold (section 7.4.1) and that aiohttp takes all the same.
UNSENDABLE = (1006,)
# All reserved bits set: the parser answers it with 1002.
BREACH = b"\xff\xff"


class FrameWatch:
    """``take`` is asked for each frame, with the size of its payload, whether the session still wants it.

    Sizes above ``most_bytes`` count as nothing: the parser ends the session for them, with the code for that.
    """

    def __init__(self, most_bytes: int, take: Callable[[int], bool]) -> None:
        self._most_bytes = most_bytes
        self._take = take
        self._held = b""
        # Bytes of the current frame's payload that are still to come.
        self._payload = 0
        self._in_message = False
        # Nothing that comes from here on is of any interest.
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """What of it, and of what was held back, the parser is to get: never half a header."""
        if self.over:
            return b""
        if self._held:
            data, self._held = self._held + data, b""
        at = self._payload
        while at < len(data):
            end = self._header_end(data, at)
            if end is None:
                self._held = data[at:]
                break
            if self._is_breach(data, at, end):
                self.over = True
                return data[:at] + BREACH
            size = self._size(data, at)
            if not self._take(size if size <= self._most_bytes else 0):
                self.over = True
                return data[:at]
            if data[at] & OPCODE < CLOSE:
                self._in_message = not data[at] & FINAL
            at = end + size
        self._payload = max(0, at - len(data)) if not self._held else 0
        return data[:at]

    @staticmethod
    def _header_end(data: bytes, at: int) -> int | None:
        """Where the payload begins; None when what is needed to judge the frame is not all there (section 5.2)."""
        if len(data) - at < 2:
            return None
        length = data[at + 1] & LENGTH
        end = at + (2 if length < 126 else 4 if length == 126 else 10) + (4 if data[at + 1] & MASKED else 0)
        judged = end + (2 if data[at] & OPCODE == CLOSE and length >= 2 else 0)
        return None if len(data) < judged else end

    def _is_breach(self, data: bytes, at: int, end: int) -> bool:
        opcode = data[at] & OPCODE
        if not data[at + 1] & MASKED:  # section 5.1: the server MUST close the connection
            return True
        if opcode == CLOSE and data[at + 1] & LENGTH >= 2:
            code = int.from_bytes(data[end : end + 2], "big") ^ int.from_bytes(data[end - 4 : end - 2], "big")
            return code in UNSENDABLE
        # Section 5.4: a message ends before the next begins. aiohttp forgets that one has begun if its first part is empty.
        return CONTINUATION < opcode < CLOSE and self._in_message

    @staticmethod
    def _size(data: bytes, at: int) -> int:
        length = data[at + 1] & LENGTH
        if length < 126:
            return length
        return int.from_bytes(data[at + 2 : at + (4 if length == 126 else 10)], "big")
