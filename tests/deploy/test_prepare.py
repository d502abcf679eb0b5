"""prepare.sh makes the passwords that compose.yaml asks for, and a certificate, and leaves what is there."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.support import BASE_ENVIRONMENT, ROOT

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
COMPOSE = ROOT / "deploy" / "compose"


def prepare(directory: Path) -> str:
    command = ["sh", str(directory / "prepare.sh")]
    return subprocess.run(command, env=BASE_ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def test_it_makes_what_is_missing_once(tmp_path: Path) -> None:
    shutil.copy(COMPOSE / "prepare.sh", tmp_path)
    assert len(prepare(tmp_path).splitlines()) == 2
    variables = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    assert variables.keys() == set(re.findall(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}", text))
    assert len(set(variables.values())) == len(variables)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "tls/fullchain.pem", tmp_path / "tls/privkey.pem")
    before = (tmp_path / ".env").read_text()
    assert prepare(tmp_path) == ""
    assert (tmp_path / ".env").read_text() == before
