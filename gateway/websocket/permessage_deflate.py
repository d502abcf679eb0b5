"""RFC 7692, permessage-deflate: what is agreed on in the handshake, and a client's messages inflated. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

__all__ = ["BadDeflate", "BadExtensions", "Inflater", "MessageTooBig", "negotiate_extension", "parse_extension_offers"]

WINDOW_BITS = 15
# What a sender leaves out at the end of each message (section 7.2.1): the end of an empty block.
EMPTY_UNCOMPRESSED_BLOCK = b"\x00\x00\xff\xff"
# A last block without anything in it: where a block may begin, that ends the data, and nowhere else.
FINAL_EMPTY_BLOCK = b"\x03\x00"

_TOKEN_CHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 (of HTTP: one letter of it)
# RFC 6455 section 9.1: what a quoted value holds must be a token, too. So no comma and no semicolon is within quotes.
_TOKEN_PATTERN = re.compile(rf"{_TOKEN_CHAR}+")
_PARAMETER_PATTERN = re.compile(rf'({_TOKEN_CHAR}+)(?:[ \t]*=[ \t]*(?:({_TOKEN_CHAR}+)|"((?:\\?{_TOKEN_CHAR})+)"))?')

Offer = tuple[str, list[tuple[str, str | None]]]


class BadExtensions(Exception):
    """The header is not what RFC 6455 section 9.1 allows: no handshake."""


class BadDeflate(Exception):
    """A message is not what DEFLATE makes."""


class MessageTooBig(Exception):
    """A message is larger than it may be."""


# ---------------------------------------------------------------- the handshake


def parse_extension_offers(headers: Iterable[str]) -> Iterator[Offer]:
    """The extensions that the lines of Sec-WebSocket-Extensions offer, with their parameters. Raises BadExtensions."""
    for element in ",".join(headers).split(","):
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        if not name and not parameters:
            continue  # a list of HTTP may have empty elements (RFC 7230 section 7)
        matches = [_PARAMETER_PATTERN.fullmatch(parameter) for parameter in parameters]
        if not _TOKEN_PATTERN.fullmatch(name) or not all(matches):
            raise BadExtensions
        yield name, [(m[1], m[2] or (re.sub(r"\\(.)", r"\1", m[3]) if m[3] else None)) for m in matches if m is not None]


def negotiate_extension(offered: Iterable[Offer]) -> str | None:
    """What to answer: to the first offer of permessage-deflate that can be taken; None if none can (section 7.1).

    The client is to keep no window (``client_no_context_takeover``, which needs no offer: section 7.1.1.2), so that its
    messages are inflated one by one. Ours is kept, and is the largest: all clients have the same. Who wants it otherwise
    gets no compression.
    """
    for name, parameters in offered:
        values = dict(parameters)
        if name != "permessage-deflate" or len(values) < len(parameters) or not _is_acceptable(values):
            continue
        answer = "permessage-deflate; client_no_context_takeover"
        if "server_max_window_bits" in values:  # section 7.1.2.1: it is to be repeated
            answer += f"; server_max_window_bits={WINDOW_BITS}"
        return answer
    return None


def _is_acceptable(values: dict[str, str | None]) -> bool:
    for name, value in values.items():
        match name:
            case "client_no_context_takeover":
                good = value is None
            case "client_max_window_bits":  # section 7.1.2.2: a hint, whatever it says we can inflate it
                good = value is None or value in map(str, range(8, 16))
            case "server_max_window_bits":
                good = value == str(WINDOW_BITS)
            case _:  # server_no_context_takeover, and what nobody knows
                good = False
        if not good:
            return False
    return True


# ---------------------------------------------------------------- from the client


class Inflater:
    """One message, piece by piece (section 7.2.2): never more than ``most_bytes``, whatever it promises."""

    __slots__ = ("_decompressor", "_remaining")

    def __init__(self, max_message_bytes: int) -> None:
        self._remaining = max_message_bytes
        self._decompressor = zlib.decompressobj(-WINDOW_BITS)

    def inflate(self, data: bytes, *, final: bool) -> bytes:
        """The next piece; ``final``: it is the last. Raises BadDeflate, TooMuch."""
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
        # Section 7.2.3.4: the sender may have ended with a last block. Then the head of an empty one follows.
        ended = self._decompressor.eof
        plain = self._decompressor.decompress(
            b"" if ended else EMPTY_UNCOMPRESSED_BLOCK + FINAL_EMPTY_BLOCK, self._remaining + 1
        )
        if len(plain) > self._remaining:
            raise MessageTooBig
        if not self._decompressor.eof or self._decompressor.unused_data not in (b"", b"\x00" if ended else b""):
            raise BadDeflate  # it goes on behind its end, or ends in the midst of a block
        return plain
