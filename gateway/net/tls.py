"""TLS certificate and key from files, which are reloaded when they change: a renewal needs no restart."""

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
    """The server's SSLContext. New handshakes use the current files; open connections are not affected."""

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
        # Into a temporary context first: a key that does not match, as in the middle of a renewal, must not break the one in
        # use.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files, password=_reject_encrypted_key)
        self.context.load_cert_chain(*self._files, password=_reject_encrypted_key)

    def _read_fingerprint(self) -> tuple[object, ...]:
        fingerprint: list[object] = []
        for name in self._files:
            try:
                status = Path(name).stat()  # follows symbolic links: renewals often replace one
            except OSError:
                fingerprint.append(None)
            else:
                fingerprint.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(fingerprint)

    async def run(self) -> Never:
        """Poll the files for changes, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            fingerprint = self._read_fingerprint()
            if fingerprint == self._fingerprint:
                continue
            self._fingerprint = fingerprint
            try:
                self._load()
            except (OSError, ValueError) as error:
                log.warning("the new certificate is not usable (%s): keeping the previous one", _describe_error(error))
            else:
                log.info("the new certificate is in use")


def _reject_encrypted_key() -> str:
    """The password callback: without one, OpenSSL would prompt on the terminal."""
    raise ValueError("the key is encrypted with a password: store it without")


def _describe_error(error: OSError | ValueError) -> str:
    # ssl.SSLError is an OSError; its reason is the name of an OpenSSL constant.
    if isinstance(error, ssl.SSLError):
        return f"not a certificate in PEM form with its key ({error.reason or error})"
    return f"{error.filename or 'file'}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
