"""RFC 6455 section 5: parse the client's frames into messages, build the server's frames. No I/O: bytes in, values out.

Strict: every violation by the client raises ProtocolError. The only reserved bit that is allowed is RSV1 on the first frame of
a message, once permessage-deflate is negotiated (RFC 7692 section 6).
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.websocket.permessage_deflate import Agreement, BadDeflate, Inflater, MessageTooBig

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
RSV1_BIT = 0x40  # RFC 7692 section 6: the message is compressed
OP_CONTINUATION, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
# Section 5.5: payload of a control frame. The reason of a close frame has two bytes less, for the code.
MAX_CONTROL_PAYLOAD_BYTES = 125
MAX_CLOSE_REASON_BYTES = MAX_CONTROL_PAYLOAD_BYTES - 2
# Section 7.4.1. NO_STATUS_RCVD stands for a close frame without a code.
NORMAL_CLOSURE, PROTOCOL_ERROR, INVALID_DATA, MESSAGE_TOO_BIG, NO_STATUS_RCVD = 1000, 1002, 1007, 1009, 1005
# Section 7.4 and IANA's registry: the codes below 3000 that a close frame may carry. All from 3000 to 4999 are valid.
VALID_CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))

# Of one message, empty ones included: 64 KiB in fragments of 64 bytes.
MAX_FRAGMENTS = 1024

# (payload bytes, frames) -> whether the client is within its rate limit.
RateCheck = Callable[[int, int], bool]


class ProtocolError(Exception):
    """The client violated the protocol; the connection must be closed with ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A complete data message or a control frame.

    ``text`` of a text message; binary payloads are not kept. ``payload`` of a ping or pong. ``code`` of a close frame.
    """

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
    """One text frame per payload. After a payload equal to ``ping_after`` comes a ping frame."""
    frames = []
    for payload in payloads:
        frames.append(_build_frame(OP_TEXT, payload))
        if payload == ping_after:
            frames.append(_build_frame(OP_PING, b""))
    return b"".join(frames)


def compressed_text_frame(payload: bytes) -> bytes:
    """The text frame of a compressed message (RFC 7692 section 7.2.1)."""
    return _build_frame(RSV1_BIT | OP_TEXT, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping (section 5.5.3)."""
    return _build_frame(OP_PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is truncated to what fits, at a character boundary. It may contain text from the client."""
    encoded = reason.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore").encode()
    return _build_frame(OP_CLOSE, code.to_bytes(2, "big") + encoded)


# ---------------------------------------------------------------- from the client


class FrameReader:
    """Parses the frames of one connection incrementally. Keeps at most ``max_message_bytes`` of an incomplete message, and at
    most MAX_FRAGMENTS parts.

    ``extension``: the agreement on permessage-deflate, if there is one.
    """

    __slots__ = (
        "_buffer",
        "_compression",
        "_first_byte",
        "_fragments",
        "_frame_remaining",
        "_inflater",
        "_mask",
        "_max_message_bytes",
        "_message_opcode",
        "_message_size",
        "_partial_char",
        "_position",
        "_text_parts",
        "_window",
        "_window_bytes",
        "closed",
    )

    def __init__(self, max_message_bytes: int, extension: Agreement | None = None) -> None:
        self._max_message_bytes = max_message_bytes
        self._compression = extension is not None
        # The end of the client's compressed messages so far, and its greatest size.
        self._window = b""
        self._window_bytes = extension.client_window_bytes if extension is not None else 0
        # Received bytes, and the index of the first one that is not parsed yet.
        self._buffer = b""
        self._position = 0
        # The current frame: its first byte (None: between frames), the mask rotated to the next byte, payload bytes to come.
        self._first_byte: int | None = None
        self._mask = b""
        self._frame_remaining = 0
        # The current message: its opcode (0: between messages), its size and the number of its frames so far, its decoded text,
        # and the bytes of a UTF-8 character that is not complete yet.
        self._message_opcode = 0
        self._message_size = 0
        self._fragments = 0
        self._text_parts: list[str] | None = None
        self._partial_char = b""
        # Set while the current message is a compressed one.
        self._inflater: Inflater | None = None
        # A close frame, a violation or the rate limit has ended reading; further input is dropped.
        self.closed = False

    def feed(self, data: bytes) -> None:
        if not self.closed:
            self._buffer = self._buffer[self._position :] + data if self._position < len(self._buffer) else data
            self._position = 0

    def next_message(self, check_rate: RateCheck) -> Message | None:
        """Parse the next message or control frame; None if more input is needed. Raises ProtocolError.

        ``check_rate`` is called with (payload size, 1) for each frame as soon as its header is complete, with size 0 if the
        frame is too big, and with (added size, 0) for the bytes that decompression adds. Once it returns False, nothing more is
        read.
        """
        while self._first_byte is not None or self._read_header(check_rate):
            assert self._first_byte is not None
            opcode = self._first_byte & OPCODE_MASK
            available = min(self._frame_remaining, len(self._buffer) - self._position)
            if opcode >= OP_CLOSE and available < self._frame_remaining:
                break  # a control frame is small: wait until it is complete
            payload = self._read_unmasked(available)
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
        """Parse a frame header (section 5.2). False if it is incomplete, or if the rate limit has ended reading."""
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
            raise self._protocol_error(PROTOCOL_ERROR, "payload length not encoded minimally")
        if not check_rate(size if size <= self._max_message_bytes else 0, 1):
            self._close()
            return False
        if opcode < OP_CLOSE:
            self._message_size += size
            if self._message_size > self._max_message_bytes:
                raise self._protocol_error(MESSAGE_TOO_BIG, "message too big")
            self._fragments += 1
            if self._fragments > MAX_FRAGMENTS:
                raise self._protocol_error(MESSAGE_TOO_BIG, "message in too many fragments")
            self._message_opcode = self._message_opcode or opcode
            if data[at] & RSV1_BIT and opcode == OP_TEXT:
                self._inflater = Inflater(self._max_message_bytes, self._window)
        self._first_byte, self._frame_remaining, self._mask = data[at], size, data[mask_at : mask_at + 4]
        self._position = mask_at + 4
        return True

    def _validate_header(self, first_byte: int, opcode: int, *, masked: bool, length: int) -> None:
        # RFC 7692 section 6.1: never in a control frame, nor in a later frame of a message.
        if first_byte & RSV_BITS and not (
            self._compression and first_byte & RSV_BITS == RSV1_BIT and opcode in (OP_TEXT, OP_BINARY)
        ):
            raise self._protocol_error(PROTOCOL_ERROR, "reserved bit set")
        if not masked:  # section 5.1
            raise self._protocol_error(PROTOCOL_ERROR, "unmasked frame")
        if OP_BINARY < opcode < OP_CLOSE or opcode > OP_PONG:
            raise self._protocol_error(PROTOCOL_ERROR, "unknown opcode")
        if opcode >= OP_CLOSE and (not first_byte & FIN_BIT or length > MAX_CONTROL_PAYLOAD_BYTES):  # section 5.5
            raise self._protocol_error(PROTOCOL_ERROR, "control frame fragmented or too long")
        if opcode < OP_CLOSE and (opcode == OP_CONTINUATION) != (self._message_opcode != 0):  # section 5.4
            raise self._protocol_error(PROTOCOL_ERROR, "continuation without a message, or a message within another")

    def _read_unmasked(self, size: int) -> bytes:
        """Take ``size`` payload bytes from the buffer, unmasked (section 5.3)."""
        payload = self._buffer[self._position : self._position + size]
        self._position += size
        self._frame_remaining -= size
        if self._position == len(self._buffer):
            self._buffer, self._position = b"", 0
        if not payload:
            return b""
        mask = (self._mask * (size // 4 + 1))[:size]
        if shift := size % 4:
            self._mask = self._mask[shift:] + self._mask[:shift]
        return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")

    def _inflate(self, payload: bytes, final: bool) -> bytes:
        if self._inflater is None:
            return payload
        try:
            return self._inflater.inflate(payload, final=final)
        except BadDeflate:  # RFC 7692 names no code; 1007 is for data inconsistent with the message type (section 7.4.1)
            raise self._protocol_error(INVALID_DATA, "the compressed message is not valid DEFLATE data") from None
        except MessageTooBig:
            raise self._protocol_error(MESSAGE_TOO_BIG, "message too big") from None

    def _decode_text(self, payload: bytes, final: bool) -> None:
        """Decode a part of a text message. Invalid UTF-8 is an error as soon as it is received (section 8.1)."""
        data = self._partial_char + payload
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            raise self._protocol_error(INVALID_DATA, "the text is not valid UTF-8") from None
        self._partial_char = data[used:]
        if self._text_parts is None:
            self._text_parts = []
        self._text_parts.append(text)

    def _finish_message(self) -> Message:
        message = Message(self._message_opcode, text="".join(self._text_parts or ()))
        if self._inflater is not None and self._window_bytes:
            self._window = (self._window + message.text.encode())[-self._window_bytes :]
        self._message_opcode = self._message_size = self._fragments = 0
        self._text_parts = self._inflater = None
        return message

    def _parse_control(self, opcode: int, payload: bytes) -> Message:
        if opcode != OP_CLOSE:
            return Message(opcode, payload)
        code = NO_STATUS_RCVD
        if payload:  # section 5.5.1
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not (code in VALID_CLOSE_CODES or 3000 <= code < 5000):
                raise self._protocol_error(PROTOCOL_ERROR, "invalid close code")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise self._protocol_error(INVALID_DATA, "the close reason is not valid UTF-8") from None
        self._close()  # no frame may follow a close frame
        return Message(OP_CLOSE, code=code)

    def _protocol_error(self, code: int, message: str) -> ProtocolError:
        self._close()
        return ProtocolError(code, message)

    def _close(self) -> None:
        self.closed = True
        self._buffer, self._position, self._first_byte = b"", 0, None
        self._text_parts, self._inflater, self._partial_char, self._window = None, None, b"", b""
