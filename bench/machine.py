"""Properties of the machine, the CPU time and memory of processes, and the load by other programs."""

from __future__ import annotations

import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))
# The server has the last processor for itself; everything else shares the others. With one processor, all share it.
SERVER_CPUS = set(CPUS[-1:])
LOAD_CPUS = set(CPUS[:-1]) or SERVER_CPUS
FLUSHES = 50
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def process_tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for process in found:
        with suppress(FileNotFoundError):  # the process has exited
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                found += map(int, _read(children).split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its descendants."""
    return sum(cpu_seconds_by_pid(pid).values())


def cpu_seconds_by_pid(pid: int) -> dict[int, float]:
    """The same by process id, with nanosecond resolution (proc(5), schedstat)."""
    found = {}
    for process in process_tree(pid):
        tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
        found[process] = sum(int((_read(task) or "0").split()[0]) for task in tasks) / 1e9
    return found


def cpu_seconds_since(before: Mapping[int, float], pid: int) -> list[float]:
    """What each process that lives now has used since ``before``, which ``cpu_seconds_by_pid`` returned then."""
    return [now - before.get(process, 0.0) for process, now in cpu_seconds_by_pid(pid).items()]


def resident_bytes(pid: int) -> int:
    """Proportional set size of the process and its descendants."""
    total = 0
    for process in process_tree(pid):
        match = re.search(r"^Pss: *(\d+) kB", _read(Path(f"/proc/{process}/smaps_rollup")), re.MULTILINE)
        total += int(match[1]) * 1024 if match else 0
    return total


@contextmanager
def on_all_cpus() -> Iterator[None]:
    """Let this program and its descendants use all processors; restore the previous set afterwards."""
    before = os.sched_getaffinity(0)
    _set_affinity(set(CPUS))
    try:
        yield
    finally:
        _set_affinity(before)


def _set_affinity(cpus: set[int]) -> None:
    for process in process_tree(os.getpid()):
        with suppress(ProcessLookupError):  # the process has exited
            os.sched_setaffinity(process, cpus)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has exited
        return ""


def flush_milliseconds(directory: Path) -> float:
    """Median duration of a fdatasync after a write of 8 KiB, the size of a page of PostgreSQL's log."""
    found = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(FLUSHES):
            file.seek(0)
            file.write(bytes(8192))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - start)
    return 1000 * statistics.median(found)


class OtherLoad:
    """Context manager; ``cpus`` is then the number of processors that programs other than ours used in the block."""

    def __enter__(self) -> OtherLoad:
        self._start = self._read_counters()
        return self

    def __exit__(self, *_: object) -> None:
        wall, busy, own = (after - before for after, before in zip(self._read_counters(), self._start, strict=True))
        self.cpus = max(0.0, (busy - own) / wall)

    def _read_counters(self) -> tuple[float, float, float]:
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        # Interrupts belong to no process; steal is the time of other virtual machines on the host.
        own = sum(_ticks(process) for process in process_tree(os.getpid()))
        return time.monotonic(), (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND, own / TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    """CPU time of the process and of its reaped children."""
    words = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, words[11:15])) if words else 0


def describe() -> dict[str, str]:
    """Properties of the machine, for the head of the report."""
    model = re.search(r"^model name\s*: (.*)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return {
        "processor": f"{model[1] if model else platform.machine()}, {len(CPUS)} usable",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "server on": f"CPU {', '.join(map(str, sorted(SERVER_CPUS)))}",
        "everything else on": f"CPU {', '.join(map(str, sorted(LOAD_CPUS)))}",
    }
