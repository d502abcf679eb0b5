"""The newest timeline of the database, in NATS KV: so that the relay of an old primary is not believed.

After a failover an old primary may go on, with a relay that reads it and publishes facts that were never true of the new one.
Both know their timeline, which PostgreSQL counts up at each promotion. A relay writes its own into the key by compare-and-set,
unless a newer one is there: then it publishes nothing. Edges that have seen a timeline ignore all older ones.

NATS may forget the key, as all that it has in memory. Then the relay writes it again, and until then what an edge has
heard itself counts. It is bypassed only by an edge that starts in this moment and can reach neither a relay of the new primary
nor the new primary itself.
"""

from __future__ import annotations

import asyncio
import json

import nats.errors
from nats.js.api import KeyValueConfig, StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from bus.connection import Connection, describe_error
from push.errors import BusUnavailable

__all__ = ["TimelineKey"]

# Seconds.
API_TIMEOUT = 2.0
RETRY_DELAY = 0.05
MAX_ATTEMPTS = 20
_KEY = "timeline"


class TimelineKey:
    """The key of one database, over one connection."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._jetstream = JetStreamContext(connection.client, timeout=API_TIMEOUT)
        self._bucket = bucket

    async def read(self) -> int:
        """The newest timeline that is known; 0 where none is. Raises BusUnavailable."""
        try:
            return (await self._read(await self._jetstream.key_value(self._bucket)))[0]
        except (BucketNotFoundError, NotFoundError):
            return 0
        except (OSError, TimeoutError, ValueError, nats.errors.Error) as error:
            raise BusUnavailable(f"the key {self._bucket} in NATS cannot be read: {describe_error(error)}") from error

    async def raise_to(self, timeline: int, replicas: int) -> int:
        """Write ``timeline`` unless a newer one is there; returns the newest. Raises BusUnavailable."""
        try:
            bucket = await self._open(replicas)
            for _ in range(MAX_ATTEMPTS):
                known, revision = await self._read(bucket)
                if known >= timeline:
                    return known
                try:
                    await bucket.update(_KEY, json.dumps({"timeline": timeline}).encode(), last=revision)
                except KeyWrongLastSequenceError:
                    await asyncio.sleep(RETRY_DELAY)  # another relay has written, and the node that answered had not got it yet
                else:
                    return timeline
            raise BusUnavailable(f"the key {self._bucket} in NATS changes all the time")
        except (OSError, TimeoutError, ValueError, nats.errors.Error) as error:
            raise BusUnavailable(f"the key {self._bucket} in NATS cannot be written: {describe_error(error)}") from error

    async def _open(self, replicas: int) -> KeyValue:
        try:
            return await self._jetstream.key_value(self._bucket)
        except (BucketNotFoundError, NotFoundError):
            config = KeyValueConfig(
                bucket=self._bucket, history=1, storage=StorageType.MEMORY, replicas=replicas, max_bytes=1 << 20, direct=True
            )
            try:
                return await self._jetstream.create_key_value(config)
            except APIError as error:
                if error.err_code != 10058:  # another relay has created it meanwhile
                    raise
                return await self._jetstream.key_value(self._bucket)

    async def _read(self, bucket: KeyValue) -> tuple[int, int]:
        """The timeline and the revision of the key; zeros without one."""
        try:
            entry = await bucket.get(_KEY)
        except KeyNotFoundError:
            return 0, 0
        return int(json.loads(entry.value or b"{}").get("timeline", 0)), entry.revision or 0
