"""This server as one of several, with a broker between them: it reads the journal for all, or follows the one that does.

Imported only where BROKER_URL is set. Without it service/application.py runs the same parts by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Never

from bus.connection import BrokerOptions, tls_context
from bus.credentials import Credentials
from bus.doctor import diagnose
from bus.nats import NatsBus, Subjects
from db.database import Database
from db.errors import DatabaseError, DatabaseUnavailable, cause_of, name_server
from db.identity import DatabaseIdentity, FollowedDatabase, WrongDatabase
from db.relay_lease import RelayLease
from logs import FailureLog
from push.backoff import Backoff
from push.journal.events import Event
from push.journal.fact_journal import FactJournalConnection
from push.journal.fact_publisher import FactPublisher
from push.journal.queries import JournalConnection
from push.journal.relay import Relay
from push.journal.relay_election import LEASE_SECONDS, MAX_EXTRA_SILENCE, RENEW_SECONDS, RelayElection
from push.metrics import Metrics
from service.database_state import DatabaseWatch, reported
from service.fact_feed import FactFeed, OwnReading
from settings import BadSetting, Settings

__all__ = ["ClusterNode", "broker_options", "diagnose_broker"]

log = logging.getLogger("orderwire.cluster")

RELAY_LINE = "this server reads the journal for all others"
EDGE_LINE = "this server gets its events from another one, through NATS"
# All times are in seconds. How often a server looks whether it is the relay.
ROLE_INTERVAL = 0.25
# How often it looks where the database's address leads; at once when the pool has found another server there.
IDENTITY_INTERVAL = 5.0
# Without news from the relay for so long, an edge reads revocations and the like from the database.
STATE_TIMEOUT = 3.0
INITIAL_BACKOFF = 0.1
MAX_BACKOFF = 2.0
RELEASE_TIMEOUT = 1.0
CONNECT_PATIENCE = 1.0


def broker_options(settings: Settings, name: str = "orderwire") -> BrokerOptions:
    """Raises BadSetting for a file that cannot be used."""
    tls = None
    if any(url.startswith("tls:") for url in settings.broker_url):
        try:
            tls = tls_context(settings.broker_ca_file, settings.broker_cert_file, settings.broker_key_file)
        except (OSError, ssl.SSLError) as error:
            files = {
                "BROKER_CA_FILE": settings.broker_ca_file,
                "BROKER_CERT_FILE": settings.broker_cert_file,
                "BROKER_KEY_FILE": settings.broker_key_file,
            }
            named = ", ".join(f"{name}={file}" for name, file in files.items() if file is not None)
            raise BadSetting(f"{named} cannot be used: {error.strerror or error}") from None
    elif settings.broker_ca_file or settings.broker_cert_file:
        raise BadSetting("BROKER_CA_FILE and BROKER_CERT_FILE need TLS: write tls:// instead of nats:// in BROKER_URL")
    if settings.broker_credentials_file is not None:
        try:
            Credentials.read(settings.broker_credentials_file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise BadSetting(f"BROKER_CREDENTIALS_FILE={settings.broker_credentials_file} is not usable: {reason}") from None
    return BrokerOptions(settings.broker_url, name, settings.broker_credentials_file, tls)


async def diagnose_broker(settings: Settings, url: str) -> list[tuple[str, str]]:
    """Pairs of a problem with the broker and its fix. Raises BadSetting for a file that cannot be used."""
    subjects = None
    lease = RelayLease(FollowedDatabase(url), "doctor")
    with suppress(DatabaseError):  # found by the diagnosis of the database
        identity = await lease.read_identity()
        subjects = Subjects.of_database(identity.system_identifier, identity.database_oid)
    return await diagnose(broker_options(settings, "orderwire doctor"), settings.broker_replicas, subjects)


class ClusterNode:
    """Owns the connection to the broker, the lease, and the role of this server. Raises BadSetting when it is made.

    ``update_schema`` is awaited before the first connection. The listener of ``own_reading`` passes its connections to
    ``follow``. ``is_awaited`` is that of the hub.
    """

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        database: Database,
        followed: FollowedDatabase,
        metrics: Metrics,
        update_schema: Callable[[], Awaitable[object]],
        watch: DatabaseWatch,
        own_reading: OwnReading,
        is_awaited: Callable[[Sequence[Event]], bool],
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._setting = "DATABASE_URL" if settings.database_url else None
        self._is_candidate = settings.node_role == "auto"
        self._relay = relay
        self._followed = followed
        self._metrics = metrics
        self._update_schema = update_schema
        self._watch = watch
        self._own_reading = own_reading
        self._bus = NatsBus(broker_options(settings, f"orderwire {self.name}"), settings.broker_replicas, self._on_timeline)
        self._lease = RelayLease(followed, self.name)
        self._publisher = FactPublisher(self._bus, relay, self.name)
        self._facts = FactJournalConnection(
            self._bus, database.journal, metrics, node=self.name, on_state=self._on_state, is_awaited=is_awaited
        )
        self._feed = FactFeed(relay, self._facts, metrics, own_reading)
        self._identity: DatabaseIdentity | None = None
        self._election: RelayElection | None = None
        self._prepared = asyncio.Event()
        self._has_role = asyncio.Event()
        self._identity_check_due = asyncio.Event()
        self._state_poll_due = asyncio.Event()
        # When a fact has brought a state last, and which one.
        self._state_at: float | None = None
        self._state_text = ""

    # ---------------------------------------------------------------- tasks

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Around ``tasks``. Gives the lease back at the end, so that another server takes over at once."""
        async with self._lease.open():
            try:
                yield
            finally:
                if self._is_candidate:
                    with suppress(DatabaseError, TimeoutError):
                        async with asyncio.timeout(RELEASE_TIMEOUT):
                            await self._lease.release()

    def tasks(self) -> dict[str, Coroutine[Any, Any, Never]]:
        """What must run while the application serves, by name."""
        started_at = asyncio.get_running_loop().time()
        self._followed.on_follow = self._on_follow
        self._followed.on_superseded = self._identity_check_due.set
        self._metrics.broker_silence.set_function(lambda: self._silence(started_at))
        tasks = {
            "broker": self._bus.run(),
            "facts": self._publisher.run(),
            "cluster role": self._decide_role(),
            "journal": self._run_feed(),
            "database identity": self._watch_identity(),
            "database state": self._poll_state_without_relay(),
        }
        if self._is_candidate:
            tasks["relay lease"] = self._keep_lease()
        return tasks

    def share_state(self, text: str) -> None:
        """Send what was found in the database (``DatabaseState.to_json``) to the other servers. Called on the relay."""
        self._publisher.set_state(text)

    def _silence(self, started_at: float) -> float:
        since = self._bus.lost_at if self._feed.is_relay else self._bus.heard_at or started_at
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    # ---------------------------------------------------------------- the role

    async def _decide_role(self) -> Never:
        await self._prepare()
        loop = asyncio.get_running_loop()
        known: bool | None = None
        while True:
            is_relay = self._election is not None and self._election.is_relay(
                loop.time(), self._bus.lost_at, self._bus.heard_at
            )
            if is_relay != known:
                known = is_relay
                log.info(RELAY_LINE if is_relay else EDGE_LINE)
                self._followed.on_superseded = self._identity_check_due.set  # each listener sets its own
                self._feed.set_relay(is_relay)
                self._has_role.set()
            await asyncio.sleep(ROLE_INTERVAL)

    async def _run_feed(self) -> Never:
        await self._has_role.wait()
        with suppress(TimeoutError):  # an edge begins with the facts, if it can
            async with asyncio.timeout(CONNECT_PATIENCE):
                await self._bus.connected.wait()
        await self._feed.run()

    async def _prepare(self) -> None:
        """Wait for the database: its schema, which one it is, and who has the lease. Raises DatabaseMisconfigured."""
        backoff, failures = Backoff(INITIAL_BACKOFF, MAX_BACKOFF), FailureLog(log)
        while True:
            try:
                with name_server(self._followed.url, self._setting):
                    if self._is_candidate:
                        await self._update_schema()
                    self._followed.follow(await self._lease.read_identity())
                break
            except DatabaseUnavailable as error:
                failures.report(f"no connection to PostgreSQL, waiting for it: {error}", cause_of(error))
                self._relay.report_outage(error.public_text)
            await asyncio.sleep(backoff.next_delay())
        failures.recovered("connected to PostgreSQL")
        if self._is_candidate:
            loop = asyncio.get_running_loop()
            self._election = RelayElection(loop.time(), random.uniform(0, MAX_EXTRA_SILENCE))
            await self._renew_lease(self._election, FailureLog(log))
        self._prepared.set()

    async def _keep_lease(self) -> Never:
        await self._prepared.wait()
        assert self._election is not None
        failures = FailureLog(log)
        while True:
            await self._renew_lease(self._election, failures)
            await asyncio.sleep(RENEW_SECONDS)

    async def _renew_lease(self, election: RelayElection, failures: FailureLog) -> None:
        asked_at = asyncio.get_running_loop().time()
        if election.wants_lease(asked_at, self._bus.lost_at):
            with reported(failures, "the lease of the relay cannot be had"):
                election.record_answer(asked_at, await self._lease.hold(LEASE_SECONDS))

    async def follow(self, connection: JournalConnection) -> Never:
        """Publish what this connection reads, here and for the other servers, until it fails with ConnectionLost."""
        try:
            await self._publisher.follow(connection)
        finally:
            self._bus.set_relaying(None)

    # ---------------------------------------------------------------- which database

    def _on_follow(self, identity: DatabaseIdentity) -> None:
        """The listener, or this class, has found where the address leads."""
        self._identity = identity
        self._bus.use_database(*identity)
        if self._feed.is_relay:
            self._bus.set_relaying(identity.timeline)

    def _on_timeline(self, timeline: int) -> None:
        """The broker says that there is a newer primary than the one that we know."""
        if self._identity is None or timeline <= self._identity.timeline:
            return
        log.warning(
            "NATS tells of a newer primary, on timeline %d; this server's is on timeline %d. If no standby was promoted (an "
            "older backup was put back, or servers of a copy of this database use the same NATS), end what should not be "
            "there, then: nats kv rm %s, and restart the servers",
            timeline,
            self._identity.timeline,
            Subjects.of_database(*self._identity[:2]).stream,
        )
        newer = self._identity._replace(timeline=timeline)
        if self._feed.is_relay:  # leave the old primary: the listener connects again
            with suppress(WrongDatabase):
                self._followed.require(newer)
        else:
            self._followed.follow(newer)

    async def _watch_identity(self) -> Never:
        """Find out when the address leads to another database: without a listener an edge would not notice."""
        await self._prepared.wait()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDENTITY_INTERVAL):
                    await self._identity_check_due.wait()
            if self._identity_check_due.is_set():  # an old primary may still hold the connection of the lease
                await self._lease.expire_connections()
            self._identity_check_due.clear()
            if not self._feed.is_relay:
                with suppress(DatabaseError):
                    await self._check_identity()

    async def _check_identity(self) -> None:
        try:
            await self._lease.identity()
        except WrongDatabase as error:
            self._relay.pool_problem = str(error)
            self._followed.follow(await self._lease.read_identity())
            await self._own_reading.on_lost()
            self._relay.recheck_identity()
        self._relay.pool_problem = None

    # ---------------------------------------------------------------- what else the relay reads

    def _on_state(self, text: str) -> None:
        """A fact has brought what the relay has found in the database."""
        if self._feed.is_relay:
            return
        self._state_at = asyncio.get_running_loop().time()
        if text == self._state_text:  # every heartbeat has it
            return
        self._state_text = text
        with suppress(ValueError):  # of another version
            if self._watch.receive(text):
                self._publisher.set_state(text)  # for when this server becomes the relay: until its own poll this is the newest
            else:
                self._state_poll_due.set()

    async def _poll_state_without_relay(self) -> Never:
        """As an edge: while no relay says what is in the database, read it."""
        await self._relay.started.wait()
        loop = asyncio.get_running_loop()
        failures = FailureLog(log)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._state_poll_due.wait()
            is_due = self._state_poll_due.is_set() or self._state_at is None or loop.time() - self._state_at > STATE_TIMEOUT
            self._state_poll_due.clear()
            if is_due and not self._feed.is_relay:
                self._state_text = ""  # what is read now may be newer than what the next fact brings, or older
                with reported(failures, "revoked tokens cannot be read"):
                    await self._watch.poll_once()
