"""RFC 7692, permessage-deflate: negotiation in the handshake, and decompression of the client's messages. No I/O."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

__all__ = [
    "Agreement",
    "BadDeflate",
    "BadExtensions",
    "Inflater",
    "MessageTooBig",
    "WindowBudget",
    "negotiate_extension",
    "parse_extension_offers",
]

WINDOW_BITS = 15
# The smallest window that zlib compresses with (RFC 7692 permits 8).
MIN_WINDOW_BITS = 9
# The end of an empty uncompressed block, which a sender removes from the end of each message (section 7.2.1).
EMPTY_UNCOMPRESSED_BLOCK = b"\x00\x00\xff\xff"
# An empty final block: where a block may begin, it ends the DEFLATE stream; inside a block it is data.
FINAL_EMPTY_BLOCK = b"\x03\x00"

_TOKEN_CHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 (a token of HTTP)
# RFC 6455 section 9.1: a quoted value must be a token after unquoting, so quotes contain no comma and no semicolon.
_TOKEN_PATTERN = re.compile(rf"{_TOKEN_CHAR}+")
_PARAMETER_PATTERN = re.compile(rf'({_TOKEN_CHAR}+)(?:[ \t]*=[ \t]*(?:({_TOKEN_CHAR}+)|"((?:\\?{_TOKEN_CHAR})+)"))?')

Offer = tuple[str, list[tuple[str, str | None]]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is agreed on. ``response``: the field value of Sec-WebSocket-Extensions. ``client_window_bytes``: how far a message
    of the client may refer back into its earlier ones; 0 without context takeover.
    """

    response: str
    client_window_bytes: int


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


def negotiate_extension(offered: Iterable[Offer]) -> Agreement | None:
    """The answer to the first acceptable offer of permessage-deflate; None if there is none (section 7.1).

    It has only parameters that the offer has: many clients fail the connection, or their second compressed message, if it has
    ``client_no_context_takeover`` unasked, although section 7.1.1.2 permits that. The client's window is the smallest that the
    client permits to choose. The server keeps its context, with the largest window: all clients share one compressor. An offer
    that demands otherwise is declined.
    """
    for name, parameters in offered:
        values = dict(parameters)
        if name != "permessage-deflate" or len(values) < len(parameters) or not _is_acceptable(values):
            continue
        response, window_bits = ["permessage-deflate"], WINDOW_BITS
        if "client_no_context_takeover" in values:
            response.append("client_no_context_takeover")
        if "client_max_window_bits" in values:  # section 7.1.2.2: the largest window of the client, if it has a value
            window_bits = min(MIN_WINDOW_BITS, int(values["client_max_window_bits"] or WINDOW_BITS))
            response.append(f"client_max_window_bits={window_bits}")
        if "server_max_window_bits" in values:  # section 7.1.2.1: the response must repeat it
            response.append(f"server_max_window_bits={WINDOW_BITS}")
        return Agreement("; ".join(response), 0 if "client_no_context_takeover" in values else 1 << window_bits)
    return None


def _is_acceptable(values: dict[str, str | None]) -> bool:
    for name, value in values.items():
        match name:
            case "client_no_context_takeover":
                valid = value is None
            case "client_max_window_bits":
                valid = value is None or value in map(str, range(8, 16))
            case "server_max_window_bits":
                valid = value == str(WINDOW_BITS)
            case _:  # server_no_context_takeover, and unknown parameters
                valid = False
        if not valid:
            return False
    return True


class WindowBudget:
    """Bounds the memory for the windows of all clients. One per application.

    A client without ``client_max_window_bits`` in its offer may need 32 KiB, one with it 512 bytes.
    """

    def __init__(self, max_bytes: int = 64 * 1024**2) -> None:
        self._free = max_bytes

    def has_room(self, agreement: Agreement) -> bool:
        """Whether a further client may have this agreement. If not, it is not given the extension."""
        return agreement.client_window_bytes <= self._free

    def reserve(self, agreement: Agreement) -> Callable[[], None]:
        """Reserve the window of a client; returns what must be called when the client has gone.

        Never fails. ``has_room`` is asked a moment earlier, so the few handshakes of that moment may exceed the bound.
        """
        self._free -= agreement.client_window_bytes
        return partial(self._release, agreement.client_window_bytes)

    def _release(self, size: int) -> None:
        self._free += size


# ---------------------------------------------------------------- from the client


class Inflater:
    """Decompresses one message in parts (section 7.2.2). Never produces more than ``max_message_bytes`` and one byte.

    ``window``: the end of the client's earlier compressed messages, to which this one may refer. It is all that has to be kept
    between two messages, and is much smaller than a decompressor.
    """

    __slots__ = ("_decompressor", "_remaining")

    def __init__(self, max_message_bytes: int, window: bytes = b"") -> None:
        self._remaining = max_message_bytes
        # The largest window at all times: it lives as long as the message, and clients may differ in how they count distances.
        self._decompressor = zlib.decompressobj(-WINDOW_BITS, zdict=window)

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
