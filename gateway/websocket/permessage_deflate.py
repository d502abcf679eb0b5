"""RFC 7692, permessage-deflate: negotiation in the handshake, and decompression of the client's messages. No I/O."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

__all__ = ["BadDeflate", "BadExtensions", "Inflater", "MessageTooBig", "negotiate_extension", "parse_extension_offers"]

WINDOW_BITS = 15
# The end of an empty uncompressed block, which a sender removes from the end of each message (section 7.2.1).
EMPTY_UNCOMPRESSED_BLOCK = b"\x00\x00\xff\xff"
# An empty final block: where a block may begin, it ends the DEFLATE stream; inside a block it is data.
FINAL_EMPTY_BLOCK = b"\x03\x00"

_TOKEN_CHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 (a token of HTTP)
# RFC 6455 section 9.1: a quoted value must be a token after unquoting, so quotes contain no comma and no semicolon.
_TOKEN_PATTERN = re.compile(rf"{_TOKEN_CHAR}+")
_PARAMETER_PATTERN = re.compile(rf'({_TOKEN_CHAR}+)(?:[ \t]*=[ \t]*(?:({_TOKEN_CHAR}+)|"((?:\\?{_TOKEN_CHAR})+)"))?')

Offer = tuple[str, list[tuple[str, str | None]]]


class BadExtensions(Exception):
    """The Sec-WebSocket-Extensions header is malformed (RFC 6455 section 9.1); the handshake must fail."""


class BadDeflate(Exception):
    """A message is not valid DEFLATE data."""


class MessageTooBig(Exception):
    """A message is larger than allowed after decompression."""


# ---------------------------------------------------------------- the handshake


def parse_extension_offers(headers: Iterable[str]) -> Iterator[Offer]:
    """Parse the field values of Sec-WebSocket-Extensions into (name, parameters). Raises BadExtensions."""
    for element in ",".join(headers).split(","):
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        if not name and not parameters:
            continue  # a list in HTTP may have empty elements (RFC 9110 section 5.6.1)
        matches = [_PARAMETER_PATTERN.fullmatch(parameter) for parameter in parameters]
        if not _TOKEN_PATTERN.fullmatch(name) or not all(matches):
            raise BadExtensions
        yield name, [(m[1], m[2] or (re.sub(r"\\(.)", r"\1", m[3]) if m[3] else None)) for m in matches if m is not None]


def negotiate_extension(offered: Iterable[Offer]) -> str | None:
    """The response to the first acceptable offer of permessage-deflate; None if there is none (section 7.1).

    ``client_no_context_takeover`` needs no offer (section 7.1.1.2): each message of the client is decompressed by itself, so no
    decompressor is kept per connection. The server keeps its context, with the largest window: all clients share one
    compressor. An offer that demands otherwise is declined.
    """
    for name, parameters in offered:
        values = dict(parameters)
        if name != "permessage-deflate" or len(values) < len(parameters) or not _is_acceptable(values):
            continue
        response = "permessage-deflate; client_no_context_takeover"
        if "server_max_window_bits" in values:  # section 7.1.2.1: the response must repeat it
            response += f"; server_max_window_bits={WINDOW_BITS}"
        return response
    return None


def _is_acceptable(values: dict[str, str | None]) -> bool:
    for name, value in values.items():
        match name:
            case "client_no_context_takeover":
                valid = value is None
            case "client_max_window_bits":  # section 7.1.2.2: a hint; every size can be decompressed
                valid = value is None or value in map(str, range(8, 16))
            case "server_max_window_bits":
                valid = value == str(WINDOW_BITS)
            case _:  # server_no_context_takeover, and unknown parameters
                valid = False
        if not valid:
            return False
    return True


# ---------------------------------------------------------------- from the client


class Inflater:
    """Decompresses one message in parts (section 7.2.2). Never produces more than ``max_message_bytes`` and one byte."""

    __slots__ = ("_decompressor", "_remaining")

    def __init__(self, max_message_bytes: int) -> None:
        self._remaining = max_message_bytes
        self._decompressor = zlib.decompressobj(-WINDOW_BITS)

    def inflate(self, data: bytes, *, final: bool) -> bytes:
        """Decompress the next part; ``final``: it is the last. Raises BadDeflate, MessageTooBig."""
        try:
            plain = self._decompressor.decompress(data, self._remaining + 1)
            if len(plain) > self._remaining:
                raise MessageTooBig
            self._remaining -= len(plain)
            if final:
                plain += self._finish()
        except zlib.error:
            raise BadDeflate from None
        return plain

    def _finish(self) -> bytes:
        # Section 7.2.3.4: the sender may have ended with a final block, followed by the header byte of an empty block.
        ended = self._decompressor.eof
        plain = self._decompressor.decompress(
            b"" if ended else EMPTY_UNCOMPRESSED_BLOCK + FINAL_EMPTY_BLOCK, self._remaining + 1
        )
        if len(plain) > self._remaining:
            raise MessageTooBig
        if not self._decompressor.eof or self._decompressor.unused_data not in (b"", b"\x00" if ended else b""):
            raise BadDeflate  # data after the final block, or the message ends inside a block
        return plain
