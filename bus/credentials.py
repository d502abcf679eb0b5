"""A ``.creds`` file of NATS: the JWT of a user, and the seed of the key that proves to be that user.

nats-py reads such files with the package nkeys, which brings a second library for cryptography. This one is there for tokens.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Credentials"]

_BLOCK = re.compile(r"-+BEGIN (NATS USER JWT|USER NKEY SEED)-+\s+(\S+)\s+-+END ")
# Of a seed: two bytes that say what it is for, the seed, a checksum.
_SEED_BYTES = 2 + 32 + 2


class Credentials(NamedTuple):
    """What the file holds."""

    jwt: bytes
    key: Ed25519PrivateKey

    @classmethod
    def read(cls, path: str) -> Credentials:
        """Raises ValueError for a file that is no such file, and OSError for one that cannot be read."""
        found = dict(_BLOCK.findall(Path(path).read_text(encoding="ascii", errors="replace")))
        try:
            jwt, seed = found["NATS USER JWT"], found["USER NKEY SEED"]
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
            if len(raw) != _SEED_BYTES:
                raise ValueError
        except (KeyError, ValueError, binascii.Error):
            raise ValueError(f"{path} is not a .creds file of NATS: a user's JWT and the seed of its key") from None
        return cls(jwt.encode(), Ed25519PrivateKey.from_private_bytes(raw[2:34]))

    def sign(self, nonce: str) -> bytes:
        """The answer to a node's challenge."""
        return base64.b64encode(self.key.sign(nonce.encode()))
