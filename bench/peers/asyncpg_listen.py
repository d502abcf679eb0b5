"""Not a server: a bare asyncpg LISTEN callback, the floor of a latency from an INSERT. It has no client.

The callback takes the time first. It serves one connection on PORT, which sends the commands "reset", "await" and "report" of
the load generator (bench/loadgen.c) and gets the same answers: the callback counts as the one client.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time

import asyncpg

from bench.peers.feed import HOST, PORT

MARK = re.compile(r"@@(\d+):(\d+)@@")

# For each notification: its time in nanoseconds, and its payload, of which the mark is read afterwards.
arrivals: list[tuple[int, str]] = []
arrived = asyncio.Event()


def on_notification(_: object, __: int, ___: str, payload: object) -> None:
    arrivals.append((time.time_ns(), str(payload)))
    arrived.set()


async def wait_for_frames(count: int, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while len(arrivals) < count:
                arrived.clear()
                await arrived.wait()
    except TimeoutError:
        return False
    return True


def report() -> dict[str, object]:
    marks = []
    for at, payload in arrivals:
        if match := MARK.search(payload):
            microseconds = (at - int(match[2])) // 1000
            marks.append((int(match[1]), 1, microseconds, microseconds))
    return {"clients": 1, "lost": 0, "marked": len(marks), "marks": marks}


async def execute(words: list[str]) -> dict[str, object]:
    match words:
        case ["reset"]:
            arrivals.clear()
            return {}
        case ["await", count, seconds]:
            return {"done": await wait_for_frames(int(count), float(seconds))}
        case ["report"]:
            return report()
    return {"error": "unknown command"}


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        writer.write(json.dumps(await execute(line.decode().split())).encode() + b"\n")
    writer.close()


async def main() -> None:
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.add_listener("orders", on_notification)
    async with await asyncio.start_server(handle, HOST, PORT):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
