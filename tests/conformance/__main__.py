"""``python -m tests.conformance``: writes docs/reference/conformance.md; exit code 1 when the server deviates."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from tests.conformance.run import DEVIATION, SETTINGS, Result, report, run_all
from tests.support import ROOT, Server

PAGE = ROOT / "docs" / "reference" / "conformance.md"


async def run(url: str) -> list[Result]:
    server = await Server.serve(url, **SETTINGS)
    try:
        await server.wait_until_ready()
        return await run_all(server.http_url)
    finally:
        await server.kill()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="orderwire-conformance-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", report=lambda line: None)
        try:
            results = asyncio.run(run(postgres.start()))
        finally:
            postgres.release()
    PAGE.write_text(report(results), encoding="utf-8")
    for result in results:
        if result.note:
            print(f"{result.case.number:<8}{result.outcome:<11}{result.note}   ({result.case.description})")
    print(f"{len(results)} cases; {PAGE.relative_to(ROOT)} is written")
    return 1 if any(result.outcome == DEVIATION for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
