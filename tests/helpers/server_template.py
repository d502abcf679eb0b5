"""A process that has imported the server, and forks for each server that a test starts.

To import the server takes 0.5 s of CPU, and the suite starts some three hundred. A fork is the same program from there on: it
has a session, an environment and an output of its own, reads its settings from the environment, and runs ``server.main``.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self

__all__ = ["ForkedProcess", "main"]

ROOT = Path(__file__).resolve().parent.parent.parent
# prctl(2), of Linux.
PR_SET_PDEATHSIG = 1
MAX_REQUEST_BYTES = 64 * 1024


@cache
def _start_template(test_process: int) -> Path:
    """Start the template of this process; return the path of its socket. ``test_process``: a fork needs one of its own."""
    directory = tempfile.TemporaryDirectory(prefix="orderwire-template-")
    path = Path(directory.name) / "socket"
    template = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.server_template", str(path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,  # it ends at the end of its standard input
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert template.stdin is not None
    assert template.stdout is not None
    assert template.stdout.readline() == b"ready\n"

    def stop() -> None:
        template.communicate()
        directory.cleanup()

    atexit.register(stop)
    return path


class ForkedProcess:
    """A server, with what its users need of ``asyncio.subprocess.Process``. Standard error goes to standard output."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, exit_code: asyncio.Task[int]) -> None:
        self.pid = pid
        self.stdout = stdout
        self._exit_code = exit_code

    @classmethod
    async def start(cls, arguments: list[str], environment: dict[str, str]) -> Self:
        """Run ``server.py`` with these arguments, in exactly this environment."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(_start_template(os.getpid())))
        read_end, write_end = os.pipe()
        request = json.dumps({"arguments": arguments, "environment": environment}).encode()
        assert len(request) < MAX_REQUEST_BYTES
        socket.send_fds(connection, [request], [write_end])
        os.close(write_end)
        stdout = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(read_end, "rb")
        )
        reader, writer = await asyncio.open_connection(sock=connection)
        pid = int(await reader.readline())

        async def wait() -> int:
            try:
                return int(await reader.readline())
            finally:
                writer.close()

        return cls(pid, stdout, asyncio.create_task(wait(), name="exit of a server"))

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal; None while it runs."""
        return self._exit_code.result() if self._exit_code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _fork_on_request(path: str) -> list[str]:
    """Serve requests until standard input ends. Returns in each fork, with the arguments of its command line."""
    selector = selectors.DefaultSelector()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    selector.register(listening, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    connections: dict[int, tuple[int, socket.socket]] = {}  # by the pidfd of the fork: its pid, and who asked for it
    print("ready")
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                os._exit(0)
            elif key.fileobj is listening:
                connection, _ = listening.accept()
                data, [output], _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 1)
                template = os.getpid()
                pid = os.fork()
                if pid == 0:
                    _end_with(template)
                    selector.close()
                    for pidfd, (_, other) in connections.items():
                        os.close(pidfd)
                        other.close()
                    listening.close()
                    connection.close()
                    return _become(json.loads(data), output)
                os.close(output)
                with suppress(OSError):  # the test no longer wants it
                    connection.send(b"%d\n" % pid)
                pidfd = os.pidfd_open(pid)
                connections[pidfd] = pid, connection
                selector.register(pidfd, selectors.EVENT_READ)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
                pid, connection = connections.pop(key.fd)
                _, status = os.waitpid(pid, 0)
                with connection, suppress(OSError):
                    connection.send(b"%d\n" % os.waitstatus_to_exitcode(status))


def _end_with(parent: int) -> None:
    """Be killed when this process ends. A template ends with its test process, however that ends; a server would run on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(request: dict[str, object], output: int) -> list[str]:
    """Take the place of a new process. Returns the arguments."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    os.environ.clear()
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.update(environment)
    return arguments


def main() -> None:
    """What ``server.py`` does when it is run, after a fork."""
    import logging

    import logs
    import server

    sys.argv = ["server.py", *_fork_on_request(sys.argv[1])]
    sys.excepthook = logs.log_uncaught
    logging.captureWarnings(True)
    sys.exit(server.main())


if __name__ == "__main__":
    main()
