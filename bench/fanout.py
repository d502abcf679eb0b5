"""Frames to many clients: no database, no INSERT. What one event costs, times the number of those who watch."""

from __future__ import annotations

from bench.load import Load, LoadFailed
from bench.machine import cpu_seconds, resident_bytes
from bench.scenario import Bench, Measures, loading, summary
from bench.subjects import NotHere, Running, Subject

WARM_CLIENTS = 50
PUMP_SECONDS = 60.0
TURNS = {1: "one a turn", 16: "sixteen a turn"}

HANDSHAKE = "CPU µs per handshake"
MEMORY = "KiB per idle connection"


def deliveries(frames: int) -> str:
    """The measure's name."""
    return f"deliveries per CPU-second, {TURNS[frames]}"


def wire_bytes(frames: int) -> str:
    """The measure's name."""
    return f"bytes per delivery, {TURNS[frames]}"


async def fan_out(bench: Bench, subject: Subject, clients: int, *, compressed: bool | None = None) -> Measures:
    """Handshakes, idle memory, then frames of 200 bytes on the trigger: one a turn, and sixteen a turn.

    The next turn begins when every client has got all of this one's; only the server's own CPU time counts. Where
    compression is the question, the clients offer it or do not, and bytes are counted.
    """
    offer = bool(compressed)
    async with bench.server(subject, written=False) as (running, _), loading(running, pump=True) as load:
        await _connect(load, WARM_CLIENTS, offer)
        memory, spent = resident_bytes(running.pid), cpu_seconds(running.pid)
        await _connect(load, clients - WARM_CLIENTS, offer)
        added = clients - WARM_CLIENTS
        found = {
            HANDSHAKE: (cpu_seconds(running.pid) - spent) / added * 1e6,
            MEMORY: (resident_bytes(running.pid) - memory) / added / 1024,
        }
        for frames, name in TURNS.items():
            # As many turns for few clients as make enough deliveries.
            turns = max(3, round(bench.size.turns * (1 if frames == 1 else 0.2) * min(1000 / clients, 10)))
            await _pump(load, running, 2, frames, clients)
            before = cpu_seconds(running.pid)
            seconds = await _pump(load, running, turns, frames, clients)
            spent = cpu_seconds(running.pid) - before
            found[deliveries(frames)] = turns * frames * clients / spent
            found[f"ms until the last client has it, {name}"] = seconds / turns * 1000
            if compressed is not None:
                found[wire_bytes(frames)] = await _bytes_per_frame(load, turns * frames, clients)
        if compressed is not None:  # compressors make themselves at home when there is something to compress
            found["KiB per connection, in the end"] = (resident_bytes(running.pid) - memory) / added / 1024
        return found


async def _connect(load: Load, clients: int, offer: bool) -> None:
    answer = await load.connect(clients, deflate=offer)
    if offer and answer["deflate"] != clients:
        raise NotHere("does not negotiate permessage-deflate: nothing to compare with compression")


async def _pump(load: Load, running: Running, turns: int, frames: int, clients: int) -> float:
    await load.command("reset")
    answer = await load.command(f"pump {turns} {frames} {running.trigger_file(frames)} {PUMP_SECONDS}")
    if answer["turns"] != turns:
        raise LoadFailed(f"only {answer['turns']} of {turns} turns reached all of {clients} clients ({answer['lost']} closed)")
    return float(answer["seconds"])


async def _bytes_per_frame(load: Load, frames: int, clients: int) -> float:
    report = await load.command("report")
    # A compressed frame counts unread. Were others than events among them, turns would have ended too early.
    if not frames * clients <= report["marked"] <= (frames + 1) * clients:
        raise LoadFailed(f"{frames} frames were sent to {clients} clients, and {summary(report)}")
    return float(report["wire"] / report["marked"])
