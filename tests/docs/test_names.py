"""What the documentation names exists: settings, metrics, make targets, files, classes and their members, other identifiers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from db.demo import NEXT_STATUS
from push.metrics import Metrics
from settings import Settings
from tests.docs.pages import PAGES, ROOT, code_spans, prose

SOURCE_SUFFIXES = {
    ".py",
    ".sql",
    ".ts",
    ".tsx",
    ".mjs",
    ".js",
    ".c",
    ".h",
    ".cfg",
    ".toml",
    ".yml",
    ".yaml",
    ".service",
    ".json",
    ".conf",
    ".in",
    ".sh",
}
SKIPPED_DIRECTORIES = {"node_modules", "dist", "build", "results", "__pycache__", "docs", "static", "built"}

# Names of PostgreSQL, its hosters, proxies, Linux, Python and its packages; the names of locks, which
# test_the_table_of_locks_is_that_of_the_sql checks; an example of a good name.
EXTERNAL = {
    "pg_stat_activity",
    "json_build_object",
    "max_locks_per_transaction",
    "pg_upgrade",
    "CommitTransaction",
    "LockAcquireExtended",
    "aio_write",
    "io_submit",
    "io_uring",
    "PR_SET_PDEATHSIG",
    "RWF_NOWAIT",
    "SO_TIMESTAMPNS",
    "SCHED_FIFO",
    "IORING_SETUP_SINGLE_ISSUER",
    "DEFER_TASKRUN",
    "COOP_TASKRUN",
    "IOSQE_FIXED_FILE",
    "os.write",
    "loop.add_reader",
    "get_extra_info",
    "connect_accepted_socket",
    "web.Server",
    "RequestHandler",
    "WebSocketResponse",
    "send_str",
    "notify_required",
    "add_session",
    "rds_superuser",
    "has_timeline",
    "LimitNOFILE",
    "neon_superuser",
    "worker_connections",
    "worker_rlimit_nofile",
    "worker_shutdown_timeout",
    "stream_close_delay",
    "net.ipv4.ip_local_port_range",
    "GracefulShutdownTimeout",
    "MaxRequestWorkers",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def source_files() -> Iterator[Path]:
    """Every source file of the project except the documentation and this directory."""
    waiting = [ROOT]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.is_dir():
                if not path.name.startswith(".") and path.name not in SKIPPED_DIRECTORIES and path != Path(__file__).parent:
                    waiting.append(path)
            elif (path.suffix in SOURCE_SUFFIXES and path.name != "package-lock.json") or path.name == "Makefile":
                yield path


@cache
def words_in_source() -> frozenset[str]:
    words = {field.name.upper() for field in fields(Settings)}
    for path in source_files():
        words.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", path.read_text(encoding="utf-8")))
    return frozenset(words)


@cache
def classes() -> dict[str, frozenset[str]]:
    """Python classes by name, each with its members: methods, annotated names, slots, attributes set on self, base classes'."""
    members: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for path in source_files():
        if path.suffix != ".py" or path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(_members(node))
                bases.setdefault(node.name, set()).update(base.id for base in node.bases if isinstance(base, ast.Name))
    for name, own in members.items():
        waiting = set(bases[name])
        while waiting:
            base = waiting.pop()
            own |= members.get(base, set())
            waiting |= bases.get(base, set()) - {name, base}
    return {name: frozenset(own) for name, own in members.items()}


def _members(node: ast.ClassDef) -> Iterator[str]:
    for child in ast.walk(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=attribute, ctx=ast.Store()):
                yield attribute


def unknown_names(text: str) -> list[str]:
    """The code spans of ``text`` that look like a name of the code base and are none."""
    unknown = []
    for span in code_spans(text):
        name = span.removesuffix("()")
        if name in EXTERNAL or name.endswith(".py") or not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
            continue
        first, *rest = name.split(".")
        if first in classes() and rest:
            if rest[0] not in classes()[first]:
                unknown.append(name)
        elif _looks_like_code(name) and not set(name.split(".")) <= words_in_source():
            unknown.append(name)
    return unknown


def _looks_like_code(name: str) -> bool:
    """Snake case, camel case with two humps, or a capitalized name with a member: not ``orders``, ``admin`` or ``NOTIFY``."""
    return bool(re.search(r"[A-Za-z0-9]_[A-Za-z0-9]|[a-z][A-Z]|[A-Z][a-z]+[A-Z]|^[A-Z][a-z]+\.", name))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_name_exists(page: Path) -> None:
    assert unknown_names(prose(page)) == []


@pytest.mark.parametrize("name", ["NoSuchClass", "no_such_function()", "Session.no_such_method", "orderwire.no_such_function"])
def test_a_name_that_does_not_exist_is_found(name: str) -> None:
    assert unknown_names(f"See `{name}`.") == [name.removesuffix("()")]


def test_files_exist() -> None:
    missing = [
        f"{name_of(page)}: {span}"
        for page in PAGES
        for span in code_spans(prose(page))
        if re.fullmatch(r"(tests|docs|push|db|gateway|service|sql|examples|bench|web|deploy)/[\w./-]+", span)
        and not (ROOT / span).exists()
        if span not in ("bench/results/", "deploy/compose/.env", "deploy/compose/tls/")  # made by a run
    ]
    assert missing == []


def test_test_modules_exist() -> None:
    present = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = {span for page in PAGES for span in code_spans(prose(page)) if re.fullmatch(r"test_\w+\.py", span)}
    assert named
    assert named - present == set()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|^|&& )make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert {"run", "test", "check"} <= named
    assert named - targets == set()


def test_the_settings_page_lists_every_setting_and_nothing_else() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^  ([A-Z_]+) ", Settings.describe(), flags=re.MULTILINE))
    rows = re.findall(r"^\|([^|]*)\|", page, flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == named


def test_the_metrics_page_lists_every_metric_and_nothing_else() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(orderwire_\w+)` \| (\w+) \|", page, flags=re.MULTILINE))
    exist = {
        family.name + ("_total" if family.type == "counter" else ""): family.type for family in Metrics().registry.collect()
    }
    assert listed == exist


def test_the_table_of_locks_is_that_of_the_sql() -> None:
    page = (ROOT / "docs/explanation/notify-suppression.md").read_text(encoding="utf-8")
    sql = (ROOT / "sql/functions/02_notify.sql").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`, (?:shared|exclusive) \| (\d) \|", page, flags=re.MULTILINE)
    assert [(number, name) for name, number in rows] == re.findall(r"^--   (\d) (\w+) ", sql, flags=re.MULTILINE)
    assert rows
    glossary = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    (line,) = (line for line in glossary.splitlines() if "advisory locks" in line)
    assert [span for span in code_spans(line) if "/" not in span] == [name for name, _ in rows]


@pytest.mark.parametrize("name", ["docs/reference/protocol.md", "docs/tutorial/first-events.md"])
def test_the_page_lists_every_status_and_nothing_else(name: str) -> None:
    (listed,) = re.findall(r"(`pending`, [^.]*? (?:and|or)\s`\w+`)", (ROOT / name).read_text(encoding="utf-8"))
    assert code_spans(listed) == [*NEXT_STATUS, *(set(NEXT_STATUS.values()) - set(NEXT_STATUS)), "cancelled"]


def metric_names() -> set[str]:
    names = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("", "_bucket", "_count", "_sum"), "gauge": ("",)}[family.type]
        names |= {family.name + suffix for suffix in suffixes}
    return names


def renamed_metrics() -> dict[str, str]:
    """Old names to new ones, from the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(orderwire_\w+)` \| `(orderwire_\w+)` \|$", changelog, flags=re.MULTILINE))


def names_of_the_pytest_plugin() -> set[str]:
    """Its fixtures and settings."""
    return set(re.findall(r"orderwire_\w+", (ROOT / "clients/python/orderwire/pytest_plugin.py").read_text(encoding="utf-8")))


def test_every_named_metric_exists() -> None:
    for page in PAGES:
        named = {span for span in code_spans(prose(page)) if re.fullmatch(r"orderwire_\w+", span)}
        if page.name == "CHANGELOG.md":
            named -= set(renamed_metrics())
        named -= names_of_the_pytest_plugin() | {"orderwire_server"}  # also the name of a database role in an example
        assert named - metric_names() == set()


def test_renamed_metrics_have_only_their_new_names() -> None:
    renamed = renamed_metrics()
    assert renamed
    assert set(renamed) & metric_names() == set()
    assert set(renamed.values()) - metric_names() == set()


def test_the_newest_release_in_the_changelog_has_a_date() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    assert len(headings) >= 2


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sentences_name_their_subject(page: Path) -> None:
    assert re.findall(r"\b(?:whoever|nobody|somebody)\b", page.read_text(encoding="utf-8"), flags=re.IGNORECASE) == []
