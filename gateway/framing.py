"""RFC 6455, section 5: a client's bytes as messages, and frames for it. Pure: bytes in, values out.

Strict: whatever the RFC forbids a client is a breach, and so is a reserved bit that nothing was agreed on for. With
permessage-deflate that is the first one, in the first frame of a message (RFC 7692 section 6).
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.deflate import BadDeflate, Inflater, TooMuch

__all__ = [
    "BINARY",
    "CLOSE",
    "NORMAL",
    "NO_CODE",
    "PING",
    "PONG",
    "TEXT",
    "Breach",
    "Message",
    "Reader",
    "close_frame",
    "compressed_text",
    "pong_frame",
    "texts",
]

FINAL, RESERVED, OPCODE, MASKED, LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
COMPRESSED = 0x40  # RFC 7692 section 6: one of the reserved
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
# Section 5.5: the payload of a control frame, and what two bytes of code leave for the reason of a close frame.
MOST_CONTROL_BYTES = 125
MOST_REASON_BYTES = MOST_CONTROL_BYTES - 2
# Section 7.4.1: of a goodbye, of breaches; and what stands for a close frame without a code.
NORMAL, PROTOCOL_ERROR, BAD_TEXT, TOO_BIG, NO_CODE = 1000, 1002, 1007, 1009, 1005
# Section 7.4 and IANA's registry: what a close frame may hold below 3000. From there up to 4999 everything.
CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))


# Whether the client may send so many bytes in so many frames.
Allow = Callable[[int, int], bool]


class Breach(Exception):
    """The client does what it must not; ``code`` is what the connection is closed with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A whole message (``text``; nobody reads what is binary), or a control frame (``payload``; of a close frame ``code``)."""

    opcode: int
    payload: bytes = b""
    text: str = ""
    code: int = NO_CODE


# ---------------------------------------------------------------- to the client


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((FINAL | opcode, size)) + payload
    if size < 2**16:
        return struct.pack("!BBH", FINAL | opcode, 126, size) + payload
    return struct.pack("!BBQ", FINAL | opcode, 127, size) + payload


def texts(payloads: Sequence[bytes], ping_after: bytes | None = None) -> bytes:
    """Text frames, one for each. Behind the payload ``ping_after`` goes a ping of the protocol's own."""
    frames = []
    for payload in payloads:
        frames.append(_frame(TEXT, payload))
        if payload == ping_after:
            frames.append(_frame(PING, b""))
    return b"".join(frames)


def compressed_text(payload: bytes) -> bytes:
    """A text frame of what DEFLATE made of it (RFC 7692 section 7.2.1)."""
    return _frame(COMPRESSED | TEXT, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping (section 5.5.3)."""
    return _frame(PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """As much of the reason as fits, in whole letters: it may repeat what the client sent, and must be UTF-8."""
    words = reason.encode(errors="replace")[:MOST_REASON_BYTES].decode(errors="ignore").encode()
    return _frame(CLOSE, code.to_bytes(2, "big") + words)


# ---------------------------------------------------------------- from the client


class Reader:
    """Turns what comes in into messages. What is not a whole one yet is kept: at most ``most_bytes`` of payload."""

    __slots__ = (
        *("_at", "_compression", "_data", "_head", "_inflater", "_left", "_mask", "_message", "_most_bytes", "_parts"),
        *("_size", "_tail", "over"),
    )

    def __init__(self, most_bytes: int, *, compression: bool = False) -> None:
        self._most_bytes = most_bytes
        # Whether permessage-deflate was agreed on.
        self._compression = compression
        # What has come in, and how much of it has been worked on.
        self._data = b""
        self._at = 0
        # The frame that is being read: its first byte (None: none has begun), its mask from here on, bytes still to come.
        self._head: int | None = None
        self._mask = b""
        self._left = 0
        # The message that is being read: its opcode (0: none has begun), its size so far, its text without the last letter if
        # only a part of that has come.
        self._message = 0
        self._size = 0
        self._parts: list[str] | None = None
        self._tail = b""
        # Only while a message is read that is compressed.
        self._inflater: Inflater | None = None
        # Nothing more is read.
        self.over = False

    def feed(self, data: bytes) -> None:
        """More has come in."""
        if not self.over:
            self._data = self._data[self._at :] + data if self._at < len(self._data) else data
            self._at = 0

    def next(self, allow: Allow) -> Message | None:
        """The next message or control frame; None until more has come in. Raises Breach.

        ``allow`` is asked for each frame as soon as it is announced, with the size of its payload, or 0 if that is a breach;
        and for what inflating adds to it, with 0 frames. Once it says no, nothing more is read.
        """
        while self._head is not None or self._begin(allow):
            assert self._head is not None
            opcode = self._head & OPCODE
            here = min(self._left, len(self._data) - self._at)
            if opcode >= CLOSE and here < self._left:
                break  # it is small: waited for as a whole
            payload = self._unmasked(here)
            final = bool(self._head & FINAL) and not self._left
            if self._message == TEXT and opcode < CLOSE:
                text = self._inflated(payload, final)
                if len(text) > len(payload) and not allow(len(text) - len(payload), 0):
                    self._stop()
                    break
                self._read_text(text, final)
            if self._left:
                break
            self._head = None
            if opcode >= CLOSE:
                return self._control(opcode, payload)
            if final:
                return self._whole()
        return None

    def _begin(self, allow: Allow) -> bool:
        """Read a frame's header (section 5.2); False when it is not all there, or nothing more is to be read."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            return False
        opcode, length = data[at] & OPCODE, data[at + 1] & LENGTH
        self._judge(data[at], opcode, masked=bool(data[at + 1] & MASKED), length=length)
        mask_at = at + (2 if length < 126 else 4 if length == 126 else 10)
        if len(data) < mask_at + 4:
            return False
        size = length if length < 126 else int.from_bytes(data[at + 2 : mask_at], "big")
        if (length == 126 and size < 126) or (length == 127 and not 2**16 <= size < 2**63):
            raise self._breach(PROTOCOL_ERROR, "a length that is not written as it has to be")
        if not allow(size if size <= self._most_bytes else 0, 1):
            self._stop()
            return False
        if opcode < CLOSE:
            self._size += size
            if self._size > self._most_bytes:
                raise self._breach(TOO_BIG, "frame too big")
            self._message = self._message or opcode
            if data[at] & COMPRESSED and opcode == TEXT:
                self._inflater = Inflater(self._most_bytes)
        self._head, self._left, self._mask = data[at], size, data[mask_at : mask_at + 4]
        self._at = mask_at + 4
        return True

    def _judge(self, head: int, opcode: int, *, masked: bool, length: int) -> None:
        # RFC 7692 section 6.1: never in a control frame, nor in a later frame of a message.
        if head & RESERVED and not (self._compression and head & RESERVED == COMPRESSED and opcode in (TEXT, BINARY)):
            raise self._breach(PROTOCOL_ERROR, "reserved bits")
        if not masked:  # section 5.1
            raise self._breach(PROTOCOL_ERROR, "a frame without a mask")
        if BINARY < opcode < CLOSE or opcode > PONG:
            raise self._breach(PROTOCOL_ERROR, "unknown opcode")
        if opcode >= CLOSE and (not head & FINAL or length > MOST_CONTROL_BYTES):  # section 5.5
            raise self._breach(PROTOCOL_ERROR, "a control frame in parts, or too long")
        if opcode < CLOSE and (opcode == CONTINUATION) != (self._message != 0):  # section 5.4
            raise self._breach(PROTOCOL_ERROR, "a part of no message, or a message within another")

    def _unmasked(self, size: int) -> bytes:
        """So many bytes of the payload (section 5.3)."""
        payload = self._data[self._at : self._at + size]
        self._at += size
        self._left -= size
        if self._at == len(self._data):
            self._data, self._at = b"", 0
        if not payload:
            return b""
        mask = (self._mask * (size // 4 + 1))[:size]
        if turn := size % 4:
            self._mask = self._mask[turn:] + self._mask[:turn]
        return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")

    def _inflated(self, payload: bytes, final: bool) -> bytes:
        if self._inflater is None:
            return payload
        try:
            return self._inflater.inflate(payload, final=final)
        except BadDeflate:  # RFC 7692 names no code: section 7.4.1 has this one for data that is not what it claims to be
            raise self._breach(BAD_TEXT, "cannot be inflated") from None
        except TooMuch:
            raise self._breach(TOO_BIG, "frame too big") from None

    def _read_text(self, payload: bytes, final: bool) -> None:
        """Section 8.1: what is no UTF-8 is a breach, as soon as it can be seen."""
        data = self._tail + payload
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            raise self._breach(BAD_TEXT, "not UTF-8") from None
        self._tail = data[used:]
        if self._parts is None:
            self._parts = []
        self._parts.append(text)

    def _whole(self) -> Message:
        message = Message(self._message, text="".join(self._parts or ()))
        self._message = self._size = 0
        self._parts = self._inflater = None
        return message

    def _control(self, opcode: int, payload: bytes) -> Message:
        if opcode != CLOSE:
            return Message(opcode, payload)
        code = NO_CODE
        if payload:  # section 5.5.1
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not (code in CODES or 3000 <= code < 5000):
                raise self._breach(PROTOCOL_ERROR, "no such close code")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise self._breach(BAD_TEXT, "not UTF-8") from None
        self._stop()  # nothing comes after it
        return Message(CLOSE, code=code)

    def _breach(self, code: int, message: str) -> Breach:
        self._stop()
        return Breach(code, message)

    def _stop(self) -> None:
        self.over = True
        self._data, self._at, self._head = b"", 0, None
        self._parts, self._inflater, self._tail = None, None, b""
