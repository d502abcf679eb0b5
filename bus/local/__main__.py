"""``make cluster``: three nodes of NATS, two servers that may be the relay, an edge, and a proxy in front, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from bus.local.nodes import BrokerNodes, NodeError

ROOT = Path(__file__).resolve().parent.parent.parent
DIRECTORY = ROOT / ".data" / "cluster"
READY = "ready; Ctrl-C stops"
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 25.0

NGINX_CONF = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream orderwire {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://orderwire;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""
HAPROXY_CFG = """
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind 127.0.0.1:{port}
    default_backend orderwire
backend orderwire
    option httpchk GET /readyz
{servers}
"""


class ClusterError(Exception):
    """The cluster cannot be started; the text says why, in one line."""


class _Server:
    """One ``server.py serve``, whose output is printed with its name in front."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._ready = asyncio.Event()
        self.url = ""
        self.psql = ""
        self._printer = asyncio.create_task(self._print_output(), name=f"output of {name}")

    @classmethod
    async def start(cls, name: str, **settings: str) -> _Server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "server.py"), "serve"),
            env={**os.environ, "PYTHONUNBUFFERED": "1", "LOG_FORMAT": "text", **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this program, which ends them in order
        )
        return cls(name, process)

    async def _print_output(self) -> None:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()
            what, _, rest = line.partition(" ")
            if what == "dashboard":
                self.url = rest.strip().removesuffix("/admin/dashboard")
            elif what == "psql":
                self.psql = rest.strip()
            elif line == READY:
                self._ready.set()
            elif what not in ("websocket", "login"):
                print(f"{self.name:<10}{line}", flush=True)

    async def wait_until_ready(self) -> None:
        """Raises ClusterError."""
        ready = asyncio.create_task(self._ready.wait(), name=f"start of {self.name}")
        done, _ = await asyncio.wait({ready, self._printer}, timeout=START_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            raise ClusterError(f"{self.name} " + ("could not start" if done else "is not ready in time"))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def report_end(self) -> None:
        """Return when it has ended, for instance because it was killed to see what the others do."""
        await self._process.wait()
        print(f"{self.name:<10}has ended; the others go on", flush=True)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._printer


async def run(port: int) -> None:
    """Start everything, print the addresses, and end it all at SIGINT or SIGTERM. Raises ClusterError and NodeError."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        nodes = BrokerNodes(DIRECTORY)
        stack.push_async_callback(nodes.stop)
        print("starting three nodes of NATS in .data/cluster", flush=True)
        await nodes.start()
        servers: list[_Server] = []

        async def start(name: str, **settings: str) -> _Server:
            number = port + 1 + len(servers)
            servers.append(await _Server.start(name, BROKER_URL=nodes.urls, PORT=str(number), **settings))
            stack.push_async_callback(servers[-1].stop)
            return servers[-1]

        # Each of the first two uses the embedded PostgreSQL, so it runs on when one of them ends. The first becomes the relay.
        first = await start("server 1", NODE_ROLE="auto")
        await first.wait_until_ready()
        await start("server 2", NODE_ROLE="auto")
        database_url = os.environ.get("DATABASE_URL") or first.psql.rpartition(" ")[2].strip("'\"")
        await start("edge", NODE_ROLE="edge", DATABASE_URL=database_url)
        for server in servers[1:]:
            await server.wait_until_ready()
        front = await _start_proxy(port, [port + 1 + number for number in range(len(servers))])
        if front is not None:
            stack.push_async_callback(front.wait)
            stack.callback(_terminate, front)
        for node_port, pid in zip(nodes.ports, nodes.pids, strict=True):
            print(f"nats      127.0.0.1:{node_port}  (process {pid})")
        for server in servers:
            print(f"{server.name:<10}{server.url}/admin/dashboard  (process {server.pid})")
        print(f"proxy     http://127.0.0.1:{port}/admin/dashboard" if front else "proxy     none: install nginx or HAProxy")
        print(f"psql      {first.psql}")
        print(f"doctor    BROKER_URL={nodes.urls} make doctor")
        print(READY, flush=True)
        endings = [asyncio.create_task(server.report_end(), name=f"end of {server.name}") for server in servers]
        await stop.wait()
        for task in endings:
            task.cancel()
        await asyncio.gather(*endings, return_exceptions=True)
        print("stopping", flush=True)


def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()


async def _start_proxy(port: int, servers: list[int]) -> asyncio.subprocess.Process | None:
    """Nginx or HAProxy, if one of them is installed."""
    if program := shutil.which("nginx"):
        config = DIRECTORY / "nginx.conf"
        lines = " ".join(f"server 127.0.0.1:{server};" for server in servers)
        config.write_text(NGINX_CONF.format(directory=DIRECTORY, port=port, servers=lines))
        arguments = ["-c", str(config), "-p", str(DIRECTORY)]
    elif program := shutil.which("haproxy"):
        config = DIRECTORY / "haproxy.cfg"
        lines = "\n".join(f"    server s{server} 127.0.0.1:{server} check" for server in servers)
        config.write_text(HAPROXY_CFG.format(port=port, servers=lines))
        arguments = ["-f", str(config)]
    else:
        return None
    return await asyncio.create_subprocess_exec(program, *arguments, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)


def main() -> int:
    """PORT is that of the proxy; the servers have the ones after it."""
    try:
        asyncio.run(run(int(os.environ.get("PORT") or 8000)))
    except (ClusterError, NodeError) as error:
        print(f"make cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
