"""RFC 6455, section 5: a client's bytes as messages, and frames for it. Pure: bytes in, values out.

Strict: whatever the RFC forbids a client is a breach, and so is a reserved bit that nothing was agreed on for. With
permessage-deflate that is the first one, in the first frame of a message (RFC 7692 section 6).
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.websocket.permessage_deflate import BadDeflate, Inflater, MessageTooBig

__all__ = [
    "NORMAL_CLOSURE",
    "NO_STATUS_RCVD",
    "OP_BINARY",
    "OP_CLOSE",
    "OP_PING",
    "OP_PONG",
    "OP_TEXT",
    "FrameReader",
    "Message",
    "ProtocolError",
    "close_frame",
    "compressed_text_frame",
    "pong_frame",
    "text_frames",
]

FIN_BIT, RSV_BITS, OPCODE_MASK, MASK_BIT, LENGTH_MASK = 0x80, 0x70, 0x0F, 0x80, 0x7F
RSV1_BIT = 0x40  # RFC 7692 section 6: one of the reserved
OP_CONTINUATION, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
# Section 5.5: the payload of a control frame, and what two bytes of code leave for the reason of a close frame.
MAX_CONTROL_PAYLOAD_BYTES = 125
MAX_CLOSE_REASON_BYTES = MAX_CONTROL_PAYLOAD_BYTES - 2
# Section 7.4.1: of a goodbye, of breaches; and what stands for a close frame without a code.
NORMAL_CLOSURE, PROTOCOL_ERROR, INVALID_DATA, MESSAGE_TOO_BIG, NO_STATUS_RCVD = 1000, 1002, 1007, 1009, 1005
# Section 7.4 and IANA's registry: what a close frame may hold below 3000. From there up to 4999 everything.
VALID_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))


# Whether the client may send so many bytes in so many frames.
RateCheck = Callable[[int, int], bool]


class ProtocolError(Exception):
    """The client does what it must not; ``exit_code`` is what the connection is closed with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A whole message (``text``; nobody reads what is binary), or a control frame (``payload``; of a close frame ``exit_code``)."""

    opcode: int
    payload: bytes = b""
    text: str = ""
    code: int = NO_STATUS_RCVD


# ---------------------------------------------------------------- to the client


def _build_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((FIN_BIT | opcode, size)) + payload
    if size < 2**16:
        return struct.pack("!BBH", FIN_BIT | opcode, 126, size) + payload
    return struct.pack("!BBQ", FIN_BIT | opcode, 127, size) + payload


def text_frames(payloads: Sequence[bytes], ping_after: bytes | None = None) -> bytes:
    """Text frames, one for each. Behind the payload ``ping_after`` goes a ping of the protocol's own."""
    frames = []
    for payload in payloads:
        frames.append(_build_frame(OP_TEXT, payload))
        if payload == ping_after:
            frames.append(_build_frame(OP_PING, b""))
    return b"".join(frames)


def compressed_text_frame(payload: bytes) -> bytes:
    """A text frame of what DEFLATE made of it (RFC 7692 section 7.2.1)."""
    return _build_frame(RSV1_BIT | OP_TEXT, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping (section 5.5.3)."""
    return _build_frame(OP_PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """As much of the reason as fits, in whole letters: it may repeat what the client sent, and must be UTF-8."""
    words = reason.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore").encode()
    return _build_frame(OP_CLOSE, code.to_bytes(2, "big") + words)


# ---------------------------------------------------------------- from the client


class FrameReader:
    """Turns what comes in into messages. What is not a whole one yet is kept: at most ``most_bytes`` of payload."""

    __slots__ = (
        *(
            "_position",
            "_compression",
            "_buffer",
            "_first_byte",
            "_inflater",
            "_frame_remaining",
            "_mask",
            "_message_opcode",
            "_max_message_bytes",
            "_text_parts",
        ),
        *("_message_size", "_partial_char", "closed"),
    )

    def __init__(self, max_message_bytes: int, *, compression: bool = False) -> None:
        self._max_message_bytes = max_message_bytes
        # Whether permessage-deflate was agreed on.
        self._compression = compression
        # What has come in, and how much of it has been worked on.
        self._buffer = b""
        self._position = 0
        # The frame that is being read: its first byte (None: none has begun), its mask from here on, bytes still to come.
        self._first_byte: int | None = None
        self._mask = b""
        self._frame_remaining = 0
        # The message that is being read: its opcode (0: none has begun), its size so far, its text without the last letter if
        # only a part of that has come.
        self._message_opcode = 0
        self._message_size = 0
        self._text_parts: list[str] | None = None
        self._partial_char = b""
        # Only while a message is read that is compressed.
        self._inflater: Inflater | None = None
        # Nothing more is read.
        self.closed = False

    def feed(self, data: bytes) -> None:
        """More has come in."""
        if not self.closed:
            self._buffer = self._buffer[self._position :] + data if self._position < len(self._buffer) else data
            self._position = 0

    def next_message(self, check_rate: RateCheck) -> Message | None:
        """The next message or control frame; None until more has come in. Raises Breach.

        ``check_rate`` is asked for each frame as soon as it is announced, with the size of its payload, or 0 if that is a breach;
        and for what inflating adds to it, with 0 frames. Once it says no, nothing more is read.
        """
        while self._first_byte is not None or self._read_header(check_rate):
            assert self._first_byte is not None
            opcode = self._first_byte & OPCODE_MASK
            here = min(self._frame_remaining, len(self._buffer) - self._position)
            if opcode >= OP_CLOSE and here < self._frame_remaining:
                break  # it is small: waited for as a whole
            payload = self._read_unmasked(here)
            final = bool(self._first_byte & FIN_BIT) and not self._frame_remaining
            if self._message_opcode == OP_TEXT and opcode < OP_CLOSE:
                text = self._inflate(payload, final)
                if len(text) > len(payload) and not check_rate(len(text) - len(payload), 0):
                    self._close()
                    break
                self._decode_text(text, final)
            if self._frame_remaining:
                break
            self._first_byte = None
            if opcode >= OP_CLOSE:
                return self._parse_control(opcode, payload)
            if final:
                return self._finish_message()
        return None

    def _read_header(self, check_rate: RateCheck) -> bool:
        """Read a frame's header (section 5.2); False when it is not all there, or nothing more is to be read."""
        data, at = self._buffer, self._position
        if len(data) - at < 2:
            return False
        opcode, length = data[at] & OPCODE_MASK, data[at + 1] & LENGTH_MASK
        self._validate_header(data[at], opcode, masked=bool(data[at + 1] & MASK_BIT), length=length)
        mask_at = at + (2 if length < 126 else 4 if length == 126 else 10)
        if len(data) < mask_at + 4:
            return False
        size = length if length < 126 else int.from_bytes(data[at + 2 : mask_at], "big")
        if (length == 126 and size < 126) or (length == 127 and not 2**16 <= size < 2**63):
            raise self._protocol_error(PROTOCOL_ERROR, "a length that is not written as it has to be")
        if not check_rate(size if size <= self._max_message_bytes else 0, 1):
            self._close()
            return False
        if opcode < OP_CLOSE:
            self._message_size += size
            if self._message_size > self._max_message_bytes:
                raise self._protocol_error(MESSAGE_TOO_BIG, "frame too big")
            self._message_opcode = self._message_opcode or opcode
            if data[at] & RSV1_BIT and opcode == OP_TEXT:
                self._inflater = Inflater(self._max_message_bytes)
        self._first_byte, self._frame_remaining, self._mask = data[at], size, data[mask_at : mask_at + 4]
        self._position = mask_at + 4
        return True

    def _validate_header(self, first_byte: int, opcode: int, *, masked: bool, length: int) -> None:
        # RFC 7692 section 6.1: never in a control frame, nor in a later frame of a message.
        if first_byte & RSV_BITS and not (
            self._compression and first_byte & RSV_BITS == RSV1_BIT and opcode in (OP_TEXT, OP_BINARY)
        ):
            raise self._protocol_error(PROTOCOL_ERROR, "reserved bits")
        if not masked:  # section 5.1
            raise self._protocol_error(PROTOCOL_ERROR, "a frame without a mask")
        if OP_BINARY < opcode < OP_CLOSE or opcode > OP_PONG:
            raise self._protocol_error(PROTOCOL_ERROR, "unknown opcode")
        if opcode >= OP_CLOSE and (not first_byte & FIN_BIT or length > MAX_CONTROL_PAYLOAD_BYTES):  # section 5.5
            raise self._protocol_error(PROTOCOL_ERROR, "a control frame in parts, or too long")
        if opcode < OP_CLOSE and (opcode == OP_CONTINUATION) != (self._message_opcode != 0):  # section 5.4
            raise self._protocol_error(PROTOCOL_ERROR, "a part of no message, or a message within another")

    def _read_unmasked(self, size: int) -> bytes:
        """So many bytes of the payload (section 5.3)."""
        payload = self._buffer[self._position : self._position + size]
        self._position += size
        self._frame_remaining -= size
        if self._position == len(self._buffer):
            self._buffer, self._position = b"", 0
        if not payload:
            return b""
        mask = (self._mask * (size // 4 + 1))[:size]
        if turn := size % 4:
            self._mask = self._mask[turn:] + self._mask[:turn]
        return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")

    def _inflate(self, payload: bytes, final: bool) -> bytes:
        if self._inflater is None:
            return payload
        try:
            return self._inflater.inflate(payload, final=final)
        except BadDeflate:  # RFC 7692 names no code: section 7.4.1 has this one for data that is not what it claims to be
            raise self._protocol_error(INVALID_DATA, "cannot be inflated") from None
        except MessageTooBig:
            raise self._protocol_error(MESSAGE_TOO_BIG, "frame too big") from None

    def _decode_text(self, payload: bytes, final: bool) -> None:
        """Section 8.1: what is no UTF-8 is a breach, as soon as it can be seen."""
        data = self._partial_char + payload
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            raise self._protocol_error(INVALID_DATA, "not UTF-8") from None
        self._partial_char = data[used:]
        if self._text_parts is None:
            self._text_parts = []
        self._text_parts.append(text)

    def _finish_message(self) -> Message:
        message = Message(self._message_opcode, text="".join(self._text_parts or ()))
        self._message_opcode = self._message_size = 0
        self._text_parts = self._inflater = None
        return message

    def _parse_control(self, opcode: int, payload: bytes) -> Message:
        if opcode != OP_CLOSE:
            return Message(opcode, payload)
        code = NO_STATUS_RCVD
        if payload:  # section 5.5.1
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not (code in VALID_CLOSE_CODES or 3000 <= code < 5000):
                raise self._protocol_error(PROTOCOL_ERROR, "no such close code")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise self._protocol_error(INVALID_DATA, "not UTF-8") from None
        self._close()  # nothing comes after it
        return Message(OP_CLOSE, code=code)

    def _protocol_error(self, code: int, message: str) -> ProtocolError:
        self._close()
        return ProtocolError(code, message)

    def _close(self) -> None:
        self.closed = True
        self._buffer, self._position, self._first_byte = b"", 0, None
        self._text_parts, self._inflater, self._partial_char = None, None, b""
