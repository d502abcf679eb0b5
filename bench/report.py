"""The results: kept as JSON, shown as one table."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from bench.scenarios import Measures

# More of the machine than this used by others makes a result doubtful.
BUSY_CPUS = 0.15


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario with one server, once."""

    scenario: str
    subject: str
    round: int
    # Processors that others used meanwhile.
    strangers: float
    measures: Measures
    failure: str = ""


@dataclass(slots=True)
class Report:
    """All that was found in one run."""

    machine: dict[str, str]
    results: list[Result] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def save(self, directory: Path) -> Path:
        directory.mkdir(exist_ok=True)
        path = directory / f"{datetime.now():%Y%m%d-%H%M%S}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))
        return path

    def table(self, yardstick: str, own: str) -> str:
        """For each measure a line for each server: median, spread, and its ratios to the yardstick and to Orderwire."""
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines += [f"left out: {name}: {why}" for name, why in self.skipped.items()]
        for scenario in dict.fromkeys(result.scenario for result in self.results):
            here = [result for result in self.results if result.scenario == scenario]
            lines += ["", f"{scenario:<44} {'median':>11}  {'from – to':<23} {'/ C':>7} {'/ Orderwire':>12}"]
            subjects = list(dict.fromkeys(result.subject for result in here))
            for measure in dict.fromkeys(measure for result in here for measure in result.measures):
                lines.append(f"  {measure}")
                found = {s: [r.measures[measure] for r in here if r.subject == s and measure in r.measures] for s in subjects}
                medians = {subject: statistics.median(values) for subject, values in found.items() if values}
                for subject, median in medians.items():
                    busy = max(r.strangers for r in here if r.subject == subject) > BUSY_CPUS
                    spread = f"{_number(min(found[subject]))} – {_number(max(found[subject]))}"
                    ratios = f"{_ratio(median, medians.get(yardstick)):>7} {_ratio(median, medians.get(own)):>12}"
                    lines.append(f"    {subject:<40} {_number(median):>11}  {spread:<23} {ratios}{'  !' if busy else ''}")
            lines += [f"  failed: {r.subject}, round {r.round}: {r.failure}" for r in here if r.failure]
        if any(result.strangers > BUSY_CPUS for result in self.results):
            lines += ["", f"!  others used more than {BUSY_CPUS:.2f} processors meanwhile: take it again on a quiet machine"]
        return "\n".join(lines)


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float, base: float | None) -> str:
    return "" if not base or math.isinf(base) or math.isinf(value) else f"{value / base:.2f}"
