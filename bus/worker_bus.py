"""The ``Bus`` among the worker processes of one supervisor: each has a socket pair with it, and it passes facts on.

``WorkerBus`` is a worker's end, ``FactExchange`` the supervisor's. The exchange keeps the newest facts, and appoints one worker
as the relay: another one as soon as that has ended, or has said nothing for RELAY_TIMEOUT. Messages (a kind, content as JSON,
and bytes; service/supervisor.py carries them):

    worker → supervisor    hello (it runs) · beat (the relay lives) · fact · stored? [id, count] · read? id (a fresh read) ·
                           read [asker, id] (its answer; no bytes: it cannot)
    supervisor → worker    relay (true or false) · fact · stored [id, lengths] · read? [asker, id] · read id
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Never, Protocol

from push.errors import BusUnavailable
from push.journal.bus import Bus

__all__ = ["BEAT_INTERVAL", "FactExchange", "MessageSender", "WorkerBus"]

# All times are in seconds. A relay that is silent for so long is stopped, or its event loop hangs.
RELAY_TIMEOUT = 2.5
BEAT_INTERVAL = 0.5
REQUEST_TIMEOUT = 1.0
# What the exchange keeps for workers that have a gap, or that have just been started.
MAX_FACTS = 1000
MAX_BYTES = 16 * 1024**2


class MessageSender(Protocol):
    """Sends one message to the other end. False if it does not read, or is gone: the message is dropped."""

    def __call__(self, kind: str, content: Any = None, data: bytes = b"") -> bool:
        """``content`` as JSON."""


class WorkerBus(Bus):
    """A worker's end. ``handle`` gets what arrives; ``on_role`` is called with whether this worker is the relay."""

    def __init__(self, send: MessageSender) -> None:
        self._send = send
        self._receive: Callable[[bytes], None] = lambda _message: None
        self._read: Callable[[], Awaitable[bytes]] | None = None
        self._next_id = 0
        # What waits for an answer, by the id of the request.
        self._pending: dict[int, asyncio.Future[bytes | list[bytes]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self.is_relay = False
        self.on_role: Callable[[bool], None] = lambda _is_relay: None

    # ---------------------------------------------------------------- Bus

    def subscribe(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    async def publish(self, message: bytes) -> None:
        if not self._send("fact", None, message):
            raise BusUnavailable("the supervisor does not read")

    async def stored(self, count: int) -> Sequence[bytes]:
        found: list[bytes] = await self._request("stored?", count)
        return found

    def serve_reads(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    async def request_read(self) -> bytes:
        answer = await self._request("read?")
        assert isinstance(answer, bytes)
        if not answer:
            raise BusUnavailable("the relay does not answer")
        return answer

    async def _request(self, kind: str, *content: Any) -> Any:
        self._next_id += 1
        request_id = self._next_id
        answer: asyncio.Future[bytes | list[bytes]] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = answer
        try:
            if not self._send(kind, [request_id, *content]):
                raise BusUnavailable("the supervisor does not read")
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await answer
        except TimeoutError:
            raise BusUnavailable("the supervisor does not answer") from None
        finally:
            del self._pending[request_id]

    # ---------------------------------------------------------------- what arrives

    def handle(self, kind: str, content: Any, data: bytes) -> bool:
        """Handle a message of the supervisor. False if it is of another kind."""
        match kind:
            case "fact":
                self._receive(data)
            case "relay":
                self.is_relay = content
                self.on_role(content)
            case "stored":
                request_id, lengths = content
                bounds = pairwise(accumulate(lengths, initial=0))
                self._resolve(request_id, [data[start:end] for start, end in bounds])
            case "read":
                self._resolve(content, data)
            case "read?":
                task = asyncio.create_task(self._answer_read(content), name="read for another worker")
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case _:
                return False
        return True

    def _resolve(self, request_id: int, answer: bytes | list[bytes]) -> None:
        waiting = self._pending.get(request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _answer_read(self, asked: Any) -> None:
        answer = b""
        try:
            if self.is_relay and self._read is not None:
                answer = await self._read()
        except BusUnavailable:
            pass
        self._send("read", asked, answer)

    async def run(self) -> Never:
        """Say that this worker runs, and as the relay, that it lives, until this task is cancelled."""
        self._send("hello")
        while True:
            await asyncio.sleep(BEAT_INTERVAL)
            if self.is_relay:
                self._send("beat")


class FactExchange:
    """The supervisor's end. All methods are called on its event loop; none blocks."""

    def __init__(self) -> None:
        # Workers that have said that they run, in this order.
        self._senders: dict[int, MessageSender] = {}
        self._facts: deque[bytes] = deque()
        self._bytes = 0
        self._heard_at = 0.0
        self.relay_id: int | None = None

    def handle(self, worker_id: int, send: MessageSender, kind: str, content: Any, data: bytes) -> bool:
        """Handle a message of this worker, to which ``send`` leads. False if it is of another kind."""
        if worker_id == self.relay_id:
            self._heard_at = asyncio.get_running_loop().time()
        match kind:
            case "hello":
                self._senders[worker_id] = send
                if self.relay_id is None:
                    self._appoint(worker_id)
            case "beat":
                if worker_id != self.relay_id:  # it did not read when it was told that another one is the relay
                    send("relay", False)
            case "fact":
                self._store(data)
                for other, sender in self._senders.items():
                    if other != worker_id:
                        sender("fact", None, data)
            case "stored?":
                request_id, count = content
                facts = list(self._facts)[-count:]
                send("stored", [request_id, list(map(len, facts))], b"".join(facts))
            case "read?":
                relay = None if self.relay_id is None else self._senders.get(self.relay_id)
                if relay is None or not relay("read?", [worker_id, *content]):
                    send("read", content[0])
            case "read":
                asker, request_id = content
                if (sender_of_asker := self._senders.get(asker)) is not None:
                    sender_of_asker("read", request_id, data)
            case _:
                return False
        return True

    def remove(self, worker_id: int) -> None:
        """The process of this worker has ended."""
        self._senders.pop(worker_id, None)
        if worker_id == self.relay_id:
            self.relay_id = None
            if self._senders:
                self._appoint(next(iter(self._senders)))

    def replace_silent_relay(self) -> None:
        """Appoint another relay if the present one has been silent. To be called every BEAT_INTERVAL."""
        silence = asyncio.get_running_loop().time() - self._heard_at
        if self.relay_id is None or silence <= RELAY_TIMEOUT:
            return
        workers = list(self._senders)
        following = workers[(workers.index(self.relay_id) + 1) % len(workers)]
        if following != self.relay_id:
            self._senders[self.relay_id]("relay", False)
            self._appoint(following)

    def _appoint(self, worker_id: int) -> None:
        self.relay_id = worker_id
        self._heard_at = asyncio.get_running_loop().time()
        self._senders[worker_id]("relay", True)

    def _store(self, fact: bytes) -> None:
        self._facts.append(fact)
        self._bytes += len(fact)
        while self._facts and (len(self._facts) > MAX_FACTS or self._bytes > MAX_BYTES):
            self._bytes -= len(self._facts.popleft())
