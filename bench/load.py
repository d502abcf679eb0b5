"""Compiles the load generator (loadgen.c), starts it and sends it commands."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
CONNECT_TIMEOUT_SECONDS = 150.0
# Concurrent handshakes, unless the scenario is a connection storm.
MAX_HANDSHAKES_IN_FLIGHT = 64
MAX_REPORT_BYTES = 1 << 24


class CompilerMissing(Exception):
    """The machine has no C compiler."""


class LoadGeneratorFailed(Exception):
    """The load generator exited, or could not execute a command."""


def compile_c(source: Path) -> Path:
    """Return the program of a C file, compiled once for each content of the file. Raises CompilerMissing."""
    program = CACHE / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise CompilerMissing(
                "the load generator is C, and this machine has no cc: on Debian and Ubuntu, apt install gcc libc6-dev"
            )
        CACHE.mkdir(exist_ok=True)
        # Several processes may compile it at a time; the last one to finish replaces an equal program.
        fresh = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(fresh), str(source)], check=True)
        fresh.replace(program)
    return program


class LoadGenerator:
    """One load generator process: many clients of one server. It executes one command at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, trigger_port: int | None = None) -> Self:
        arguments = ["127.0.0.1", str(port)]
        if trigger_port is not None:
            arguments.append(str(trigger_port))
        return cls(
            await asyncio.create_subprocess_exec(
                str(compile_c(HERE / "loadgen.c")),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_REPORT_BYTES,
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def command(self, text: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        except ConnectionError:
            line = b""
        if not line:
            raise LoadGeneratorFailed(f"the load generator ended at: {text}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadGeneratorFailed(f"{text}: {answer['error']}")
        return answer

    async def connect(
        self, clients: int, path: str = "/api/ws", in_flight: int = MAX_HANDSHAKES_IN_FLIGHT, *, deflate: bool = False
    ) -> dict[str, Any]:
        """Open ``clients`` more connections. Raises LoadGeneratorFailed unless all of them were opened."""
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            answer = await self.command(f"connect {clients} {in_flight} {path}{' deflate' if deflate else ''}")
        if answer["connected"] != clients:
            raise LoadGeneratorFailed(f"{answer['connected']} of {clients} clients could connect")
        return answer

    async def wait_for_frames(self, frames: int, seconds: float) -> bool:
        """Whether every client receives ``frames`` marked frames, counted from the reset, within ``seconds``."""
        return bool((await self.command(f"await {frames} {seconds}"))["done"])

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
