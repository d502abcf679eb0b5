"""server: the command line, and what each command does with its exit code."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import Any

import jwt
import pytest

import logs
import server
from db.errors import BadDatabaseUrl
from gateway.net.listening import ListenError
from service.application import __version__
from service.serving import exit_code
from service.supervisor import WorkerFailed
from settings import BadSetting, Settings
from tests.helpers.command_line import CommandLine
from tests.helpers.tokens import SECRET


def claims(*arguments: str) -> dict[str, Any]:
    return server.claims_from_options(server.make_parser().parse_args(["token", *arguments]))


def test_the_default_command_is_serve() -> None:
    options = server.parse_arguments([])
    assert (options.command, options.worker_id) == (None, None)


def test_the_command_for_workers_is_parsed() -> None:
    options = server.parse_arguments(["worker", "2", "7"])
    assert (options.command, options.worker_id, options.fd) == ("worker", 2, 7)


def test_the_command_for_workers_is_not_listed() -> None:
    listed = re.findall(r"^    ([a-z]+)\b", server.make_parser().format_help(), re.MULTILINE)
    assert set(listed) == {
        *("serve", "migrate", "attach", "detach", "uninstall"),
        *("watch", "doctor", "demo", "token", "psql"),
    }


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (
            ["nonsense"],
            [*("serve", "migrate", "attach", "detach", "uninstall"), *("watch", "doctor", "demo", "token", "psql")],
        ),
        (["token", "--role", "boss"], ["admin", "viewer", "customer"]),
    ],
)
def test_a_wrong_choice_is_answered_with_the_names_to_choose_from(
    arguments: list[str], choices: list[str], command_line: CommandLine
) -> None:
    error = command_line(*arguments).stderr.splitlines()[-1]
    (listed,) = re.findall(r"\(choose from (.*)\)", error)
    assert re.sub("'", "", listed).split(", ") == choices  # Python 3.11 prints the quotes


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-c", "select 1"],
        ["-At", "-c", "select 1"],
        ["--command=select 1", "--version", "-h", "db.example"],
        ["--", "-c"],
        ["shop", "anna"],
    ],
)
def test_what_follows_psql_is_for_psql(
    arguments: list[str], command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command_line("psql", *arguments, DATABASE_URL="postgresql://db.example/shop").returncode == 3
    assert started == [["psql", "-d", "postgresql://db.example/shop", *arguments]]


@pytest.mark.parametrize("arguments", [["--version"], ["serve", "--version"], ["token", "--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        server.make_parser().parse_args(arguments)
    assert (raised.value.code, capsys.readouterr().out) == (0, f"orderwire {__version__}\n")


def test_claims_are_those_of_the_options() -> None:
    now = int(time.time())
    found = claims("--role", "customer", "--sub", "anna", "--order", "1", "--order", "a/b", "--ttl", "90m")
    assert found["exp"] - found["iat"] == 5400
    assert 0 <= found["iat"] - now <= 60
    assert (found["role"], found["sub"], found["orders"]) == ("customer", "anna", ["1", "a/b"])
    assert set(claims("--role", "admin")) == {"role", "iat", "exp"}


def test_a_customer_needs_orders() -> None:
    with pytest.raises(BadSetting, match=r"--sub or --order \(with make: SUB=user-7 or ORDER=5\)"):
        claims("--role", "customer")


@pytest.mark.parametrize("text", ["", "k" * 201, "\ud800"])
def test_a_text_that_is_no_key_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        claims("--role", "customer", "--order", text)
    assert raised.value.code == 2
    assert "is not the key of an order: up to 200 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1e7", "nan", "inf", "fast"])
def test_a_rate_out_of_range_is_wrong_usage(text: str) -> None:
    with pytest.raises(SystemExit) as raised:
        server.make_parser().parse_args(["demo", f"--rate={text}"])
    assert raised.value.code == 2


def test_a_rate_may_be_below_one() -> None:
    assert server.parse_rate("0.5") == 0.5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadSetting("x"), 2),
        (BadDatabaseUrl("x"), 2),
        (ListenError("x"), 1),
        (WorkerFailed("x", 7), 7),
    ],
)
def test_an_expected_error_is_one_line_and_an_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_options: Any, _settings: Settings) -> int:
        raise error

    monkeypatch.setattr(server, "run_command", fail)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["server.py"])
    assert exit_code(error) == code
    assert server.main() == code
    assert capsys.readouterr().err == "server.py: x\n"


def test_ctrl_c_before_the_command_handles_it_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_options: Any, _settings: Settings) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run_command", interrupt)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["server.py"])
    assert server.main() == 130


def test_the_command_token_prints_a_signed_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "environ", {"JWT_SECRET": SECRET})
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["server.py", "token", "--role", "viewer"])
    assert server.main() == 0
    assert jwt.decode(capsys.readouterr().out.strip(), SECRET, ["HS256"])["role"] == "viewer"


async def test_the_diagnosis_is_printed_with_its_fixes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [("a trigger is missing", "run migrate")]

    async def diagnose(_url: str) -> list[tuple[str, str]]:
        return problems

    monkeypatch.setattr(server, "diagnose", diagnose)
    settings = Settings.from_environment({"DATABASE_URL": "postgresql://host/database"})
    assert await server.print_diagnosis(settings) == 1
    assert capsys.readouterr().out == "problem: a trigger is missing\n   fix: run migrate\n"
    problems.clear()
    assert await server.print_diagnosis(settings) == 0
    assert capsys.readouterr().out == "no problem found: events can arrive\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rate", "0"], "'0' is not a number above 0"),
        (["demo", "--rate", "fast"], "'fast' is not a number above 0"),
        (["token", "--role", "admin", "--ttl", "5"], "'5' is not a period from 10s to 3650d"),
    ],
)
def test_wrong_values_are_reported_with_what_is_expected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        server.make_parser().parse_args(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
