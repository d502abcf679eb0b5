"""The results: saved as JSON, printed as one table."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from bench.scenario import Measures

# If other programs used more processors than this, the result is marked as doubtful.
MAX_OTHER_CPUS = 0.15


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement of one subject in one scenario and round."""

    scenario: str
    subject: str
    round: int
    # Processors that other programs used meanwhile.
    other_cpus: float
    measures: Measures
    failure: str = ""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """A target and its value in each round in which it was measured. ``met`` is None if it was not measured."""

    what: str
    bound: str
    rounds: list[float]
    met: bool | None

    def line(self) -> str:
        spread = f"{format_number(min(self.rounds))} – {format_number(max(self.rounds))}"
        median = format_number(statistics.median(self.rounds))
        return f"{self.what:<88} {self.bound:>8} {median:>9}  {spread:<17} {'met' if self.met else 'NOT MET'}"


@dataclass(slots=True)
class Report:
    """The results of one run."""

    machine: dict[str, str]
    results: list[Result] = field(default_factory=list)
    # Lines that say what was skipped, and why.
    skipped: list[str] = field(default_factory=list)
    targets: list[TargetResult] = field(default_factory=list)

    def add_skipped(self, line: str) -> None:
        """Add a line, unless it is there already."""
        if line not in self.skipped:
            self.skipped.append(line)

    def save(self, directory: Path) -> Path:
        directory.mkdir(exist_ok=True)
        path = directory / f"{datetime.now():%Y%m%d-%H%M%S}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))
        return path

    def table(self, baselines: Collection[str], own: str) -> str:
        """For each measure a line for each subject: median, range, and the ratios to Orderwire and to the baseline."""
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines += [f"skipped: {line}" for line in self.skipped]
        for scenario in dict.fromkeys(result.scenario for result in self.results):
            lines += self._scenario(scenario, baselines, own)
        if any(result.other_cpus > MAX_OTHER_CPUS for result in self.results):
            lines += [
                "",
                f"!  other programs used more than {MAX_OTHER_CPUS:.2f} processors: measure again on an idle machine",
            ]
        measured = [target for target in self.targets if target.rounds]
        if measured:
            lines += ["", f"{'target':<88} {'bound':>8} {'median':>9}  from – to", *(target.line() for target in measured)]
            lines.append(f"({len(self.targets) - len(measured)} of {len(self.targets)} were not measured)")
        return "\n".join(lines)

    def _scenario(self, scenario: str, baselines: Collection[str], own: str) -> list[str]:
        here = [result for result in self.results if result.scenario == scenario]
        subjects = list(dict.fromkeys(result.subject for result in here))
        baseline = next((name for name in subjects if name in baselines), "")
        ratio_head = f"/ {baseline}" if baseline else ""
        lines = ["", f"{scenario:<54} {'median':>11}  {'from – to':<23} {'/ Orderwire':>12}  {ratio_head}"]
        for measure in dict.fromkeys(measure for result in here for measure in result.measures):
            lines.append(f"  {measure}")
            found = {s: [r.measures[measure] for r in here if r.subject == s and measure in r.measures] for s in subjects}
            medians = {subject: statistics.median(values) for subject, values in found.items() if values}
            for subject, median in medians.items():
                busy = max(r.other_cpus for r in here if r.subject == subject) > MAX_OTHER_CPUS
                spread = f"{format_number(min(found[subject]))} – {format_number(max(found[subject]))}"
                ratios = f"{_ratio(median, medians.get(own)):>12}  {_ratio(median, medians.get(baseline))}"
                lines.append(
                    f"    {subject:<50} {format_number(median):>11}  {spread:<23} {ratios}{'  !' if busy else ''}".rstrip()
                )
        return lines + [f"  failed: {r.subject}, round {r.round}: {r.failure}" for r in here if r.failure]


def format_number(value: float) -> str:
    """Three significant digits, or integers."""
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float, base: float | None) -> str:
    return "" if not base or math.isinf(base) or math.isinf(value) else f"{value / base:.2f}"
