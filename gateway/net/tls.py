"""TLS from a certificate and a key in files, read again when they change: a renewal needs no restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Never

from settings import BadSetting

__all__ = ["Certificate"]

log = logging.getLogger("orderwire.tls")

POLL_SECONDS = 5.0


class Certificate:
    """A context for the server's socket. New handshakes get what is in the files, connections go on with what they have."""

    def __init__(self, cert_file: str, key_file: str, poll_seconds: float = POLL_SECONDS) -> None:
        self._files = (cert_file, key_file)
        self._poll_seconds = poll_seconds
        self._fingerprint = self._read_fingerprint()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self._load()
        except (OSError, ValueError) as error:
            raise BadSetting(f"TLS_CERT_FILE and TLS_KEY_FILE are not usable: {_describe_error(error)}") from None

    def _load(self) -> None:
        # First elsewhere: a pair that does not fit, as in the midst of a renewal, must not spoil the context in use.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files, password=_reject_encrypted_key)
        self.context.load_cert_chain(*self._files, password=_reject_encrypted_key)

    def _read_fingerprint(self) -> tuple[object, ...]:
        stamps: list[object] = []
        for name in self._files:
            try:
                status = Path(name).stat()  # follows links: renewals often move one
            except OSError:
                stamps.append(None)
            else:
                stamps.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(stamps)

    async def run(self) -> Never:
        """Look for changes for as long as this task lives."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            stamp = self._read_fingerprint()
            if stamp == self._fingerprint:
                continue
            self._fingerprint = stamp
            try:
                self._load()
            except (OSError, ValueError) as error:
                log.warning("the new certificate is not usable (%s): the one from before stays", _describe_error(error))
            else:
                log.info("the new certificate is in use")


def _reject_encrypted_key() -> str:
    """Instead of a question at the terminal."""
    raise ValueError("the key is encrypted with a password: store it without")


def _describe_error(error: OSError | ValueError) -> str:
    # ssl.SSLError is an OSError whose reason says it in a constant's name.
    if isinstance(error, ssl.SSLError):
        return f"not a certificate in PEM form with its key ({error.reason or error})"
    return f"{error.filename or 'file'}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
