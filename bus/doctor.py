"""Finds what would keep the broker from being of use. A part of ``make doctor``."""

from __future__ import annotations

import nats.errors
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from bus.connection import BrokerOptions, Connection, describe_error, open_connection, server_name
from bus.nats import Subjects
from bus.stream import WANTED_REPLICAS
from push.errors import BusUnavailable

__all__ = ["diagnose"]

# Seconds.
API_TIMEOUT = 2.0

Problem = tuple[str, str]


async def diagnose(options: BrokerOptions, replicas: int | None, subjects: Subjects | None) -> list[Problem]:
    """Return pairs of a problem and its fix. ``replicas``: BROKER_REPLICAS; ``subjects``: of the database, if it is known."""
    problems: list[Problem] = []
    is_cluster_examined = False
    for server in options.servers:
        try:
            async with open_connection(options, server) as connection:
                problems += connection.problems()
                if not is_cluster_examined:
                    is_cluster_examined = True
                    problems += await _find_in_jetstream(connection, len(options.servers), replicas, subjects)
        except BusUnavailable as error:
            fix = "start it, or correct BROKER_URL, BROKER_CA_FILE and the credentials; until then events come from PostgreSQL"
            problems.append((f"{error}", fix if "NATS" in str(error) else f"{fix} ({server_name(server)})"))
    return problems


async def _find_in_jetstream(
    connection: Connection, node_count: int, replicas: int | None, subjects: Subjects | None
) -> list[Problem]:
    jetstream = JetStreamContext(connection.client, timeout=API_TIMEOUT)
    try:
        await jetstream.account_info()
    except (OSError, TimeoutError, nats.errors.Error) as error:
        text = describe_error(error)
        return [
            (
                f"JetStream does not answer at {connection.server}: {text}",
                "enable JetStream for this account, and see that most of its nodes run; edges read PostgreSQL meanwhile",
            )
        ]
    problems: list[Problem] = []
    wanted = replicas if replicas is not None else WANTED_REPLICAS
    if node_count < wanted and replicas is None:
        problems.append(
            (
                f"BROKER_URL names {node_count} of NATS's nodes: without it each edge reads PostgreSQL",
                "name three nodes of one cluster; or set BROKER_REPLICAS=1 to say that this is meant",
            )
        )
    if subjects is not None:
        try:
            info = await jetstream.stream_info(subjects.stream)
        except NotFoundError:
            problems.append(
                (f"the stream {subjects.stream} is not in NATS", "start a server with NODE_ROLE=auto: it creates the stream")
            )
        except (OSError, TimeoutError, nats.errors.Error) as error:
            problems.append((f"the stream {subjects.stream} has no leader: {describe_error(error)}", "see that most nodes run"))
        else:
            present = info.config.num_replicas or 1
            if present < wanted and (replicas is not None or node_count >= wanted):
                problems.append(
                    (
                        f"the stream {subjects.stream} is on {present} of {wanted} nodes",
                        "see that so many are in one cluster: the relay then brings it to them; or correct BROKER_REPLICAS",
                    )
                )
            if info.cluster is not None and any(peer.offline or not peer.current for peer in info.cluster.replicas or []):
                problems.append(
                    (f"a node that has the stream {subjects.stream} is away, or behind", "see which: nats stream info")
                )
            if not info.config.allow_direct:
                problems.append((f"the stream {subjects.stream} allows no direct gets", "delete it: the relay creates it anew"))
    return problems
