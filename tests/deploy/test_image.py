"""What is in the image: a server that starts from the files that the Containerfile copies, and its health check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.helpers.certificates import issue_certificate
from tests.support import BASE_ENVIRONMENT, ROOT, Server, StartServer, free_port

HEALTHCHECK = ROOT / "deploy" / "healthcheck.py"


def copied_paths() -> list[str]:
    """The arguments of COPY in the stage "server", but for what other stages have built: sources, then the target."""
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    stage = text[text.index(" AS server\n") :]
    stage = stage[: stage.index("\nFROM ")]
    return re.findall(r"^COPY (?!--from)(.+)$", stage, re.MULTILINE)


def test_a_server_starts_from_the_copied_files(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for line in copied_paths():
        *sources, target = line.split()
        for source in sources:
            for path in ROOT.glob(source.rstrip("/")):
                if path.is_dir():
                    shutil.copytree(path, tmp_path / target, ignore=ignored)
                else:
                    (tmp_path / target).mkdir(exist_ok=True)
                    shutil.copy(path, tmp_path / target)
    command = [sys.executable, "-B", "server.py", "serve"]
    # The last thing that it does before it needs a database.
    environment = {**BASE_ENVIRONMENT, "DATABASE_URL": "postgresql://user@127.0.0.1/shop", "JWT_PUBLIC_KEY": "no such file"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.match(r"server.py: JWT_PUBLIC_KEY", done.stderr), done.stderr


def test_what_is_copied_is_not_ignored() -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    copied = {
        source.rstrip("/") for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    }
    assert {source for source in copied if not source.startswith("web/")} | {"web"} == set(allowed)


def check_health(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(HEALTHCHECK)]  # -S: without packages
    return subprocess.run(command, env={**BASE_ENVIRONMENT, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_the_health_check_passes_while_the_server_answers(
    start_server: StartServer, database_url: str, tmp_path: Path, tls: bool
) -> None:
    settings = {}
    if tls:
        cert_file, key_file = issue_certificate(tmp_path, "shop.example")
        settings = {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)}
    port = free_port()
    server: Server = await start_server(database_url, PORT=port, **settings)
    assert str(urlsplit(server.ws_url).port) == port
    assert check_health(PORT=port, **settings).returncode == 0
    await server.stop()
    failed = check_health(PORT=port, **settings)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
    assert port in failed.stderr
