"""The JetStream stream of the facts: created, repaired, and read by batched direct gets. No consumer anywhere.

A direct get (NATS 2.11) is answered by any node that has the stream, also while it has no leader.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import nats.errors
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from bus.connection import Connection, NoResponders, describe_error
from push.errors import BusUnavailable

__all__ = ["FactStream"]

log = logging.getLogger("orderwire.broker")

# The stream is a help for edges that have missed something, so it is small: PostgreSQL has the rest.
MAX_BYTES = 64 * 1024 * 1024
MAX_AGE_SECONDS = 300.0
WANTED_REPLICAS = 3
# Seconds.
API_TIMEOUT = 2.0
READ_TIMEOUT = 2.0
# A node ends a batch before, where it holds too many bytes.
BATCH_SIZE = 256

# error codes of JetStream (nats-server, server/errors.json): the cluster has too few nodes for so many replicas.
_TOO_FEW_NODES = (10005, 10023, 10074)


class FactStream:
    """The stream ``name``, over one connection. It stores what is published on ``subject``, which may have a wildcard."""

    def __init__(self, connection: Connection, name: str, subject: str) -> None:
        self._connection = connection
        self._name = name
        self._subject = subject
        self._jetstream = JetStreamContext(connection.client, timeout=API_TIMEOUT)

    async def ensure(self, replicas: int | None) -> int:
        """Create the stream or bring it up to date; returns how many replicas it has. Raises BusUnavailable.

        ``replicas``: what BROKER_REPLICAS says; None for three, or one where the cluster is smaller.
        """
        try:
            present = (await self._jetstream.stream_info(self._name)).config
        except NotFoundError:
            present = None
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise BusUnavailable(f"JetStream: {describe_error(error)}") from error
        counts = [replicas] if replicas is not None else [WANTED_REPLICAS, 1]
        for count in counts:
            config = self._config(count)
            try:
                if present is None:
                    await self._jetstream.add_stream(config)
                    log.info("created the stream %s in NATS, on %d nodes, in memory", self._name, count)
                elif _differs(present, config):
                    if replicas is None and count < (present.num_replicas or 1):
                        config = replace(config, num_replicas=present.num_replicas)
                    await self._jetstream.update_stream(replace(config, storage=present.storage))
                return count
            except APIError as error:
                if error.err_code not in _TOO_FEW_NODES:
                    raise BusUnavailable(f"JetStream does not create the stream {self._name}: {error.description}") from error
                reason = error.description
            except (OSError, TimeoutError, nats.errors.Error) as error:
                raise BusUnavailable(f"JetStream: {describe_error(error)}") from error
        raise BusUnavailable(
            f"JetStream cannot keep the stream on {counts[0]} nodes (BROKER_REPLICAS): {reason or 'there are too few nodes'}"
        )

    def _config(self, replicas: int) -> StreamConfig:
        return StreamConfig(
            name=self._name,
            description="Orderwire: the latest facts about the journal. May be deleted at any time: the relay creates it again",
            subjects=[self._subject],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.MEMORY,
            max_bytes=MAX_BYTES,
            max_age=MAX_AGE_SECONDS,
            duplicate_window=60.0,
            num_replicas=replicas,
            allow_direct=True,
        )

    async def newest(self, count: int, subject: str) -> Sequence[bytes]:
        """The newest ``count`` messages whose subject matches, oldest first. Raises BusUnavailable."""
        if not self._connection.has_batches:
            raise BusUnavailable(
                f"NATS at {self._connection.server} has no batches of direct gets: upgrade it to 2.11 or newer"
            )
        last = await self._last_sequence(subject)
        messages: list[bytes] = []
        start = max(1, last - count + 1)
        while last and start <= last:
            batch, start = await self._batch(subject, start, min(BATCH_SIZE, last - start + 1))
            if not batch:
                break
            messages += batch
        return messages[-count:]

    async def _last_sequence(self, subject: str) -> int:
        """0 where there is none."""
        answer = await self._connection.request(self._direct_get, json.dumps({"last_by_subj": subject}).encode(), READ_TIMEOUT)
        headers = answer.headers or {}
        return int(headers.get("Nats-Sequence", 0))

    async def _batch(self, subject: str, start: int, size: int) -> tuple[list[bytes], int]:
        """Up to ``size`` messages from this sequence number on, and the number after the last of them."""
        request = {"seq": start, "next_by_subj": subject, "batch": size}
        messages: list[bytes] = []
        next_sequence = start
        ended = asyncio.Event()
        problem: str | None = None
        inbox = self._connection.client.new_inbox()

        async def receive(message: Any) -> None:
            nonlocal next_sequence, problem
            headers = message.headers or {}
            status = headers.get("Status")
            if status is not None:
                if status == "503":
                    problem = "there is no stream"
                elif status not in ("204", "404"):  # the end of the batch; no message with such a number
                    problem = headers.get("Description", status)
                ended.set()
                return
            messages.append(message.data)
            next_sequence = int(headers["Nats-Sequence"]) + 1

        try:
            subscription = await self._connection.subscribe(inbox, receive)
            try:
                await self._connection.publish(self._direct_get, json.dumps(request).encode(), inbox)
                async with asyncio.timeout(READ_TIMEOUT):
                    await ended.wait()
            finally:
                await self._connection.unsubscribe(subscription)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise BusUnavailable(f"the stream {self._name} cannot be read: {describe_error(error)}") from error
        if problem is not None:
            raise (NoResponders if problem == "there is no stream" else BusUnavailable)(f"the stream {self._name}: {problem}")
        return messages, next_sequence

    @property
    def _direct_get(self) -> str:
        return f"$JS.API.DIRECT.GET.{self._name}"


def _differs(present: StreamConfig, wanted: StreamConfig) -> bool:
    """Whether what can be changed is not as it should be. Storage cannot be changed, and is the operator's choice."""
    return (
        present.subjects != wanted.subjects
        or present.max_bytes != wanted.max_bytes
        or present.max_age != wanted.max_age
        or not present.allow_direct
        or (present.num_replicas or 1) < (wanted.num_replicas or 1)
    )
