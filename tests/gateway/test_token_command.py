"""`server.py token`: the application accepts the tokens that it prints; errors are one line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.gateway.conftest import App, StartApp
from tests.helpers.command_line import CommandLine
from tests.helpers.tokens import ED25519, P256, RSA, SECRET, private_pem, public_pem
from tests.support import BASE_ENVIRONMENT, ROOT, TIMEOUT_SECONDS

Token = Callable[..., subprocess.CompletedProcess[str]]


def token_process(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "server.py", "token", *arguments]
    env = {**BASE_ENVIRONMENT, **settings}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)


@pytest.fixture
def token(command_line: CommandLine) -> Token:
    """Run the command in the test's process: ``token("--role", "admin", JWT_SECRET="…")``."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return command_line("token", *arguments, **settings)

    return run


async def status(app: App, shown: str) -> int:
    async with app.http.get("/api/orders", headers={"Authorization": f"Bearer {shown}"}) as response:
        return response.status


async def test_a_printed_token_is_accepted(start_app: StartApp, token: Token) -> None:
    settings = {"JWT_SECRET": SECRET, "JWT_AUDIENCE": "orderwire", "JWT_ISSUER": "https://login.example"}
    app = await start_app(**settings)
    for run, arguments, allowed in (
        (token_process, ["--role", "admin"], True),
        (token, ["--role", "viewer", "--ttl", "7d"], False),
        (token, ["--role", "customer", "--sub", "anna"], True),
        (token, ["--role", "customer", "--order", "1", "--order", "2"], True),
    ):
        # In a thread: the server is in this process, and would not get its answers from the database in time.
        done = await asyncio.to_thread(run, *arguments, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert await status(app, done.stdout.strip()) == (200 if allowed else 403)
    claims = jwt.decode(done.stdout.strip(), options={"verify_signature": False})
    assert claims["orders"] == ["1", "2"]
    assert claims["exp"] - claims["iat"] == 3600
    # Tokens of another issuer or for another audience are rejected.
    assert await status(app, token("--role", "admin", **{**settings, "JWT_ISSUER": "other"}).stdout.strip()) == 401
    assert await status(app, token("--role", "admin", **{**settings, "JWT_AUDIENCE": "other"}).stdout.strip()) == 401


@pytest.mark.parametrize("key", [RSA, P256, ED25519], ids=["RSA", "P-256", "Ed25519"])
async def test_a_token_signed_with_a_private_key_is_accepted_by_its_public_key(
    start_app: StartApp, token: Token, tmp_path: Path, key: Any
) -> None:
    (tmp_path / "private.pem").write_text(private_pem(key))
    (tmp_path / "public.pem").write_text(public_pem(key))
    app = await start_app(JWT_PUBLIC_KEY=str(tmp_path / "public.pem"))
    done = token("--role", "admin", "--key", str(tmp_path / "private.pem"))
    assert done.returncode == 0, done.stderr
    assert await status(app, done.stdout.strip()) == 200


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--role", "admin"], {}, "nothing to sign with: set JWT_SECRET"),
        (["--role", "admin"], {"JWT_SECRET": "short"}, "JWT_SECRET is not usable: expected at least 32 bytes"),
        (["--role", "customer"], {"JWT_SECRET": SECRET}, "a customer's token needs --sub or --order"),
        (["--role", "owner"], {"JWT_SECRET": SECRET}, "invalid choice: 'owner'"),
        (["--role", "admin", "--ttl", "soon"], {"JWT_SECRET": SECRET}, "--ttl"),
        (["--role", "admin", "--key", "/no/such/file"], {}, "/no/such/file: No such file or directory"),
        (["--role", "admin", "--key", "README.md"], {}, "README.md: no private key in PEM form"),
        (["--role", "admin"], {"JWT_SECRET": SECRET, "JWT_PUBLIC_KEY": "x"}, "are both set"),
        ([], {"JWT_SECRET": SECRET}, "--role"),
    ],
)
def test_a_token_that_cannot_be_signed_is_reported_in_one_line(
    token: Token, arguments: list[str], settings: dict[str, str], message: str
) -> None:
    done = (token if settings or "--key" in arguments else token_process)(*arguments, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "short" not in done.stderr
