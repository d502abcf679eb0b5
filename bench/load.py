"""Compiles the load generator (loadgen.c), starts it and sends it commands."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
CONNECT_TIMEOUT_SECONDS = 150.0
# Concurrent handshakes, unless the scenario is a connection storm.
MAX_HANDSHAKES_IN_FLIGHT = 64
MAX_REPORT_BYTES = 1 << 24
TLS_FLAGS = ("-DWITH_TLS", "-lssl", "-lcrypto")


class CompilerMissing(Exception):
    """The machine has no C compiler."""


class LoadGeneratorFailed(Exception):
    """The load generator exited, or could not execute a command."""


def compile_c(source: Path, *flags: str) -> Path:
    """Return the program of a C file and its headers, compiled once for each content. Raises CompilerMissing."""
    parts = [source.read_bytes(), *(path.read_bytes() for path in sorted(source.parent.glob(f"{source.stem}*.h")))]
    digest = hashlib.sha256(b"\0".join([*parts, *(flag.encode() for flag in flags)])).hexdigest()
    program = CACHE / f"{source.stem}-{digest[:12]}"
    if not program.exists():
        compiler = _find_compiler()
        CACHE.mkdir(exist_ok=True)
        # Several processes may compile it at a time; the last one to finish replaces an equal program.
        fresh = program.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(fresh), str(source), *flags]
        subprocess.run(command, check=True)
        fresh.replace(program)
    return program


def has_openssl_headers() -> bool:
    """Whether C programs can be compiled with OpenSSL. Raises CompilerMissing."""
    check = [_find_compiler(), "-E", "-include", "openssl/ssl.h", "-x", "c", "/dev/null"]
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


def _find_compiler() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CompilerMissing(
            "the load generator is C, and this machine has no cc: on Debian and Ubuntu, apt install gcc libc6-dev"
        )
    return compiler


class ClientKind(StrEnum):
    """How the clients of a load generator connect: a word of its command ``connect``."""

    WEBSOCKET = ""
    DEFLATE = "deflate"
    SSE = "sse"
    TLS = "tls"


class Receiver:
    """What receives marked messages and executes commands, one at a time: a line each, answered by a line of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def command(self, text: str) -> dict[str, Any]:
        try:
            self._writer.write(text.encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line:
            raise LoadGeneratorFailed(f"the load generator ended at: {text}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadGeneratorFailed(f"{text}: {answer['error']}")
        return answer

    async def wait_for_frames(self, frames: int, seconds: float) -> bool:
        """Whether every client receives ``frames`` marked frames, counted from the reset, within ``seconds``."""
        return bool((await self.command(f"await {frames} {seconds}"))["done"])


class LoadGenerator(Receiver):
    """One load generator process: many clients of one server."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        super().__init__(process.stdout, process.stdin)
        self._process = process

    @classmethod
    async def start(cls, port: int, trigger_port: int | None = None, *, tls: bool = False) -> Self:
        """``tls``: its clients can use TLS. Needs has_openssl_headers(). Raises CompilerMissing."""
        arguments = ["127.0.0.1", str(port)]
        if trigger_port is not None:
            arguments.append(str(trigger_port))
        return cls(
            await asyncio.create_subprocess_exec(
                str(compile_c(HERE / "loadgen.c", *(TLS_FLAGS if tls else ()))),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_REPORT_BYTES,
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def connect(
        self,
        clients: int,
        path: str | None = None,
        in_flight: int = MAX_HANDSHAKES_IN_FLIGHT,
        kind: ClientKind = ClientKind.WEBSOCKET,
        token: str | None = None,
    ) -> dict[str, Any]:
        """Open ``clients`` more connections, with this token. Raises LoadGeneratorFailed unless all of them were opened."""
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            path = path or ("/api/sse" if kind is ClientKind.SSE else "/api/ws")
            options = [kind, f"token={token}"] if token else [kind]
            answer = await self.command(f"connect {clients} {in_flight} {path} {' '.join(options)}".rstrip())
        if answer["connected"] != clients:
            raise LoadGeneratorFailed(f"{answer['connected']} of {clients} clients could connect")
        return answer

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
