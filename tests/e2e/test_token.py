"""`server.py token`: the server accepts the tokens that it prints, and it reports what it cannot sign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from tests.helpers.tokens import ED25519, P256, RSA, SECRET, private_pem, public_pem
from tests.support import BASE_ENVIRONMENT, ROOT, TIMEOUT_SECONDS, Server, StartServer


def token(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", "token", *arguments]
    env = {**BASE_ENVIRONMENT, **settings}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)


async def status(server: Server, sent: str, path: str = "/api/orders") -> int:
    headers = {"Authorization": f"Bearer {sent}"}
    async with aiohttp.ClientSession() as http, http.get(server.http_url + path, headers=headers) as response:
        return response.status


async def test_a_printed_token_is_accepted(start_server: StartServer, database_url: str) -> None:
    settings = {"JWT_SECRET": SECRET, "JWT_AUDIENCE": "orderwire", "JWT_ISSUER": "https://login.example"}
    server: Server = await start_server(database_url, **settings)
    for arguments, allowed in (
        (["--role", "admin"], True),
        (["--role", "viewer", "--ttl", "7d"], False),
        (["--role", "customer", "--sub", "anna"], True),
        (["--role", "customer", "--order", "1", "--order", "2"], True),
    ):
        done = token(*arguments, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert await status(server, done.stdout.strip()) == (200 if allowed else 403)
    claims = jwt.decode(done.stdout.strip(), options={"verify_signature": False})
    assert claims["orders"] == [1, 2]
    assert claims["exp"] - claims["iat"] == 3600
    # Tokens of another issuer or for another audience are not valid.
    assert await status(server, token("--role", "admin", **{**settings, "JWT_ISSUER": "other"}).stdout.strip()) == 401
    assert await status(server, token("--role", "admin", **{**settings, "JWT_AUDIENCE": "other"}).stdout.strip()) == 401


@pytest.mark.parametrize("key", [RSA, P256, ED25519], ids=["RSA", "P-256", "Ed25519"])
async def test_a_token_signed_with_a_private_key_is_accepted_by_its_public_key(
    start_server: StartServer, database_url: str, tmp_path: Path, key: Any
) -> None:
    (tmp_path / "private.pem").write_text(private_pem(key))
    (tmp_path / "public.pem").write_text(public_pem(key))
    server: Server = await start_server(database_url, JWT_PUBLIC_KEY=str(tmp_path / "public.pem"))
    done = token("--role", "admin", "--key", str(tmp_path / "private.pem"))
    assert done.returncode == 0, done.stderr
    assert await status(server, done.stdout.strip()) == 200


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
    arguments: list[str], settings: dict[str, str], message: str
) -> None:
    done = token(*arguments, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "short" not in done.stderr
