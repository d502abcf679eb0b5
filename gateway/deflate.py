"""RFC 7692, permessage-deflate: what is agreed on in the handshake, and a client's messages inflated. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

__all__ = ["BadDeflate", "BadExtensions", "Inflater", "TooMuch", "agree", "offers"]

WINDOW_BITS = 15
# What a sender leaves out at the end of each message (section 7.2.1): the end of an empty block.
TAIL = b"\x00\x00\xff\xff"
# A last block without anything in it: where a block may begin, that ends the data, and nowhere else.
LAST = b"\x03\x00"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 (of HTTP: one letter of it)
# RFC 6455 section 9.1: what a quoted value holds must be a token, too. So no comma and no semicolon is within quotes.
_NAME = re.compile(rf"{_TOKEN}+")
_PARAMETER = re.compile(rf'({_TOKEN}+)(?:[ \t]*=[ \t]*(?:({_TOKEN}+)|"((?:\\?{_TOKEN})+)"))?')

Offer = tuple[str, list[tuple[str, str | None]]]


class BadExtensions(Exception):
    """The header is not what RFC 6455 section 9.1 allows: no handshake."""


class BadDeflate(Exception):
    """A message is not what DEFLATE makes."""


class TooMuch(Exception):
    """A message is larger than it may be."""


# ---------------------------------------------------------------- the handshake


def offers(headers: Iterable[str]) -> Iterator[Offer]:
    """The extensions that the lines of Sec-WebSocket-Extensions offer, with their parameters. Raises BadExtensions."""
    for element in ",".join(headers).split(","):
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        if not name and not parameters:
            continue  # a list of HTTP may have empty elements (RFC 7230 section 7)
        matches = [_PARAMETER.fullmatch(parameter) for parameter in parameters]
        if not _NAME.fullmatch(name) or not all(matches):
            raise BadExtensions
        yield name, [(m[1], m[2] or (re.sub(r"\\(.)", r"\1", m[3]) if m[3] else None)) for m in matches if m is not None]


def agree(offered: Iterable[Offer]) -> str | None:
    """What to answer: to the first offer of permessage-deflate that can be taken; None if none can (section 7.1).

    The client is to keep no window (``client_no_context_takeover``, which needs no offer: section 7.1.1.2), so that its
    messages are inflated one by one. Ours is kept, and is the largest: all clients have the same. Who wants it otherwise
    gets no compression.
    """
    for name, parameters in offered:
        values = dict(parameters)
        if name != "permessage-deflate" or len(values) < len(parameters) or not _can_be_taken(values):
            continue
        answer = "permessage-deflate; client_no_context_takeover"
        if "server_max_window_bits" in values:  # section 7.1.2.1: it is to be repeated
            answer += f"; server_max_window_bits={WINDOW_BITS}"
        return answer
    return None


def _can_be_taken(values: dict[str, str | None]) -> bool:
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

    __slots__ = ("_room", "_zlib")

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._zlib = zlib.decompressobj(-WINDOW_BITS)

    def inflate(self, data: bytes, *, final: bool) -> bytes:
        """The next piece; ``final``: it is the last. Raises BadDeflate, TooMuch."""
        try:
            plain = self._zlib.decompress(data, self._room + 1)
            if len(plain) > self._room:
                raise TooMuch
            self._room -= len(plain)
            if final:
                plain += self._end()
        except zlib.error:
            raise BadDeflate from None
        return plain

    def _end(self) -> bytes:
        # Section 7.2.3.4: the sender may have ended with a last block. Then the head of an empty one follows.
        ended = self._zlib.eof
        plain = self._zlib.decompress(b"" if ended else TAIL + LAST, self._room + 1)
        if len(plain) > self._room:
            raise TooMuch
        if not self._zlib.eof or self._zlib.unused_data not in (b"", b"\x00" if ended else b""):
            raise BadDeflate  # it goes on behind its end, or ends in the midst of a block
        return plain
