"""``python -m db.embedded DIRECTORY``: a PostgreSQL for the tests of an application, until standard input ends.

It prints its URL. What it says besides goes to standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from db.errors import EmbeddedPostgresError


def main(arguments: list[str]) -> int:
    """The exit code: 0, 1 if PostgreSQL does not start, 2 for wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m db.embedded DIRECTORY\n")
        return 2
    server = EmbeddedPostgres(Path(arguments[0]), report=lambda _: None)
    try:
        url = server.start()
    except EmbeddedPostgresError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        server.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
