"""What docstrings and comments name in double backticks exists.

A bare name has to occur in the code of its own module: as a definition, a parameter, a variable, an attribute, an imported
name or a string. Classes of the project may be named from anywhere; functions of other modules need their class or module
in front (``Hub.add``, ``gateway.app.runner_options``). SQL names are those of sql/.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SOURCES = sorted(
    [*ROOT.glob("*.py"), *(path for package in ("push", "gateway", "db", "service") for path in (ROOT / package).rglob("*.py"))]
)

# Functions of the operating system, programs and types of PostgreSQL, a parameter of RFC 7692.
EXTERNAL_NAMES = {"bind", "client_no_context_takeover", "initdb", "pg_snapshot", "psql", "postgres", "sk_clone_lock"}

# What else may stand in double backticks, by kind.
LITERALS = (
    r"(GET|POST|PUT|PATCH|DELETE) /\S*",  # a request
    r"[/?]\S*",  # a path or a query
    r"[\w-]+\.(json|sql|md|toml|cfg|js|html)",
    r"--?[\w-]+",  # an option of a command
    r"(python|kill|make|git) .*",  # a command
    r"[\[{].*[\]}]",  # JSON
    r"\S*<\w+>\S*",  # a format with placeholders
    r"[A-Z]\w*(-\w+)+",  # an HTTP header
    r"\w+:\w+",  # host:port
    r"[A-Z_]+=\S*",  # a setting with a value
)


@dataclass(frozen=True)
class Module:
    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")


@cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def modules() -> dict[str, Module]:
    found = [Module(path, parse(path.read_text(encoding="utf-8"))) for path in SOURCES]
    return {module.name: module for module in found}


@cache
def sql_names() -> frozenset[str]:
    return frozenset(
        name
        for path in (ROOT / "sql").glob("*.sql")
        for name in re.findall(r"[a-z_]\w*", re.sub(r"--.*|'[^']*'", "", path.read_text(encoding="utf-8")))
    )


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                yield first.value


def prose(source: str, tree: ast.Module) -> str:
    """All docstrings and comments. Consecutive lines of comments belong together."""
    comments = [
        (token.start[0], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    text = "\n\n".join(str(constant.value) for constant in docstrings(tree)) + "\n"
    previous = 0
    for line, comment in comments:
        text += (" " if line == previous + 1 else "\n\n") + comment
        previous = line
    return text


def code_names(tree: ast.Module) -> set[str]:
    """Every name in the code of a module, docstrings and comments excluded."""
    ignored = {id(constant) for constant in docstrings(tree)}
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.keyword(arg=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.MatchClass(kwd_attrs=attributes):
                names.update(attributes)
            case ast.alias(name=name, asname=asname):
                names.update(name.split("."), [asname] if asname else [])
            case ast.ImportFrom(module=str(module)):
                names.update(module.split("."))
            case ast.Constant(value=str(text) | bytes(text)) if id(node) not in ignored:
                # Column names, JSON members and the like; not the words of a sentence.
                words = text if isinstance(text, str) else text.decode(errors="replace")
                names.update(re.findall(r"(?<![\w ])\w+(?![\w ])|\b\w+_\w+\b", words))
    return names


@cache
def message_types() -> frozenset[str]:
    """The values of ``type`` in the messages of server and clients."""
    return frozenset(
        node.value
        for name in ("messages", "commands")
        for node in ast.walk(modules()[f"push.protocol.{name}"].tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[a-z_]+", node.value)
    )


@cache
def members() -> dict[str, frozenset[str]]:
    """Classes of the project by name, each with the names of its members, inherited ones included."""
    own: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                found = own.setdefault(node.name, set())
                for child in ast.walk(node):
                    match child:
                        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                            found.add(name)
                        case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                            found.add(name)
                bases.setdefault(node.name, set()).update(
                    base.id if isinstance(base, ast.Name) else base.attr
                    for base in node.bases
                    if isinstance(base, ast.Name | ast.Attribute)
                )
    for name, found in own.items():
        waiting, seen = set(bases[name]), {name}
        while waiting:
            base = waiting.pop()
            seen.add(base)
            found |= own.get(base, set())
            waiting |= bases.get(base, set()) - seen
    return {name: frozenset(found) for name, found in own.items()}


@cache
def is_importable(path: str) -> bool:
    """Whether a dotted path leads to something in an installed package."""
    package, *rest = path.split(".")
    try:
        found: object = importlib.import_module(package)
    except ImportError:
        return False
    for position, name in enumerate(rest, start=2):
        try:
            found = getattr(found, name)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(path.split(".")[:position]))
            except ImportError:
                return False
    return True


def imports(tree: ast.Module) -> dict[str, str]:
    """Imported names, each with its full path."""
    found = {"loop": "asyncio.AbstractEventLoop"}  # what every variable of that name is
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                found.update({alias.asname or alias.name.split(".")[0]: alias.name for alias in aliases})
            case ast.ImportFrom(module=str(module), names=aliases):
                found.update({alias.asname or alias.name: f"{module}.{alias.name}" for alias in aliases})
    return found


def is_module_member(path: str) -> bool:
    """``package.module.name``, or ``package.module.Class.member``, or a module of the project."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        if module := modules().get(".".join(parts[:length])):
            rest = parts[length:]
            names: set[str] = set()
            for node in module.tree.body:
                match node:
                    case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        names.add(name)
                    case ast.Assign(targets=targets):
                        names.update(target.id for target in targets if isinstance(target, ast.Name))
                    case ast.AnnAssign(target=ast.Name(id=name)):
                        names.add(name)
            return not rest or (rest[0] in names and (len(rest) == 1 or rest[1] in members().get(rest[0], ())))
    return False


def exists(name: str, tree: ast.Module, names: set[str]) -> bool:
    first, *rest = name.split(".")
    if not rest:
        return (
            name in names
            or name in members()
            or name in modules()
            or name in sql_names()
            or name in message_types()
            or name in EXTERNAL_NAMES
            or hasattr(builtins, name)
            or keyword.iskeyword(name)
        )
    if first in members():
        return rest[0] in members()[first]
    if first == "orderwire":
        return rest[0] in sql_names()
    if is_module_member(name):
        return True
    if first in names and rest[0] in names:
        return True  # an attribute that the module uses
    return is_importable(".".join([imports(tree).get(first, first), *rest]))


def unknown_names(source: str) -> list[str]:
    """What docstrings and comments of a module name in double backticks and does not exist."""
    tree = parse(source)
    names = code_names(tree)
    unknown = []
    for span in re.findall(r"``([^`]+)``", prose(source, tree)):
        if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(\(\))?", span):
            if not exists(span.removesuffix("()"), tree, names) and not any(re.fullmatch(kind, span) for kind in LITERALS):
                unknown.append(span)
        elif re.fullmatch(r"[\w.-]+(/[\w.-]*)+", span):
            if not (ROOT / span).exists():
                unknown.append(span)
        elif not any(re.fullmatch(kind, span) for kind in LITERALS):
            # An expression: all names in it must exist.
            try:
                expression = ast.parse(span, mode="eval")
            except SyntaxError:
                unknown.append(span)
                continue
            if not all(exists(node.id, tree, names) for node in ast.walk(expression) if isinstance(node, ast.Name)):
                unknown.append(span)
    return unknown


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_exists(path: Path) -> None:
    assert unknown_names(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "may_follow",
        "may_follow()",
        "Relay.may_follow",
        "Entrance.choose",
        "push.journal.relay.may_follow",
        "push.no_such_module.Relay",
        "asyncio.may_follow",
        "orderwire.may_follow",
        "limit <= may_follow",
        "what might this be",
        "docs/no_such_page.md",
    ],
)
def test_name_that_does_not_exist_is_found(text: str) -> None:
    source = f'"""See ``{text}``."""\nimport asyncio\nlimit = asyncio.sleep  # ``{text}``\n'
    assert unknown_names(source) == [text, text]


@pytest.mark.parametrize(
    "text",
    [
        "parameter",
        "attribute",
        "total_orders",
        "Relay",
        "Relay.follow",
        "push.journal.relay.Relay.follow",
        "asyncio.timeout",
        "asyncio.Future.set_result",
        "orderwire.event_json",
        "journal_page",
        "TimeoutError",
        "None",
        "parameter.attribute",
        "parameter < attribute",
        "GET /api/orders?limit=N",
        "Sec-WebSocket-Key",
        '{"type":"ping"}',
        "order:<id>",
    ],
)
def test_name_that_exists_is_accepted(text: str) -> None:
    source = f'import asyncio\ndef f(parameter):\n    """See ``{text}``."""\n    parameter.attribute = row["total_orders"]\n'
    assert unknown_names(source) == []


def test_span_may_continue_on_the_next_line_of_a_comment() -> None:
    assert unknown_names("x = 1\n# See ``x <\n# may_follow``.\n") == ["x < may_follow"]
