"""Fan-out scenarios: frames to many clients, without database and INSERT. Measures the CPU time of one delivery."""

from __future__ import annotations

from bench.load import ClientKind, LoadGenerator, LoadGeneratorFailed, has_openssl_headers
from bench.machine import cpu_seconds, resident_bytes
from bench.scenario import Bench, Measures, start_load_generator, summary
from bench.subjects import RunningServer, Subject, SubjectUnavailable

WARM_CLIENTS = 50
PUMP_TIMEOUT_SECONDS = 60.0
BATCHES = {1: "batches of one", 16: "batches of sixteen"}

HANDSHAKE = "CPU µs per handshake"
MEMORY = "KiB per idle connection"


def deliveries(batch_size: int) -> str:
    """The name of the measure."""
    return f"deliveries per CPU-second, {BATCHES[batch_size]}"


def wire_bytes(batch_size: int) -> str:
    """The name of the measure."""
    return f"bytes per delivery, {BATCHES[batch_size]}"


async def fan_out(
    bench: Bench, subject: Subject, clients: int, kind: ClientKind = ClientKind.WEBSOCKET, *, count_bytes: bool = False
) -> Measures:
    """Measure handshakes and idle memory, then trigger batches of one and of sixteen frames of 200 bytes.

    The next batch begins when every client has received all frames of this one. Only the CPU time of the server counts.
    """
    tls = kind is ClientKind.TLS
    if tls and not has_openssl_headers():
        raise SubjectUnavailable("the load generator's TLS needs the headers of OpenSSL: on Debian, apt install libssl-dev")
    async with (
        bench.start_server(subject, written=False) as (running, _),
        start_load_generator(running, pump=True, tls=tls) as load,
    ):
        await _connect(load, WARM_CLIENTS, kind)
        memory, spent = resident_bytes(running.pid), cpu_seconds(running.pid)
        await _connect(load, clients - WARM_CLIENTS, kind)
        added = clients - WARM_CLIENTS
        found = {
            HANDSHAKE: (cpu_seconds(running.pid) - spent) / added * 1e6,
            MEMORY: (resident_bytes(running.pid) - memory) / added / 1024,
        }
        for frames, name in BATCHES.items():
            # More batches for fewer clients, so that there are enough deliveries.
            batches = max(3, round(bench.size.batches * (1 if frames == 1 else 0.2) * min(1000 / clients, 10)))
            await _pump(load, running, 2, frames, clients)
            before = cpu_seconds(running.pid)
            seconds = await _pump(load, running, batches, frames, clients)
            spent = cpu_seconds(running.pid) - before
            found[deliveries(frames)] = batches * frames * clients / spent
            found[f"ms until the last client has it, {name}"] = seconds / batches * 1000
            if count_bytes:
                found[wire_bytes(frames)] = await _bytes_per_frame(load, batches * frames, clients)
        if count_bytes:  # a compressor allocates its memory at the first frame
            found["KiB per connection, in the end"] = (resident_bytes(running.pid) - memory) / added / 1024
        return found


async def _connect(load: LoadGenerator, clients: int, kind: ClientKind) -> None:
    answer = await load.connect(clients, kind=kind)
    if kind is ClientKind.DEFLATE and answer["deflate"] != clients:
        raise SubjectUnavailable("does not negotiate permessage-deflate: nothing to compare with compression")


async def _pump(load: LoadGenerator, running: RunningServer, batches: int, batch_size: int, clients: int) -> float:
    await load.command("reset")
    answer = await load.command(f"pump {batches} {batch_size} {running.write_trigger_file(batch_size)} {PUMP_TIMEOUT_SECONDS}")
    if answer["batches"] != batches:
        raise LoadGeneratorFailed(
            f"only {answer['batches']} of {batches} batches reached all of {clients} clients ({answer['lost']} closed)"
        )
    return float(answer["seconds"])


async def _bytes_per_frame(load: LoadGenerator, frames: int, clients: int) -> float:
    report = await load.command("report")
    # A compressed frame is counted without being read. If other messages than events were counted, batches ended too early.
    if not frames * clients <= report["marked"] <= (frames + 1) * clients:
        raise LoadGeneratorFailed(f"{frames} frames were sent to {clients} clients, and {summary(report)}")
    return float(report["wire"] / report["marked"])
