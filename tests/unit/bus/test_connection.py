"""What a failed connection to NATS is called."""

from __future__ import annotations

import errno
import socket
import ssl

import nats.errors
import pytest

from bus.connection import describe_error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 4222)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (untrusted(), "its certificate is not trusted: self-signed certificate"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (OSError("Multiple exceptions: 1, 2"), "Multiple exceptions: 1, 2"),
        (TimeoutError(), "no answer in time"),
        (nats.errors.UnexpectedEOF(), "the node closed the connection"),
        (nats.errors.Error("nats: 'Authorization Violation'"), "Authorization Violation"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_described_in_one_line(error: Exception, text: str) -> None:
    assert describe_error(error) == text
