"""Run a command as uid 65534 in a new user namespace: ``python -I user_namespace.py COMMAND [ARG ...]``.

PostgreSQL refuses to run as root. Inside the namespace the uid of the process is 65534. The kernel checks file permissions
against the uid outside of it, which is still root: root's directories stay readable, and no mode or owner has to change
(user_namespaces(7)). EmbeddedPostgres runs this file as a program; it imports nothing of the project.
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
INNER_UID = 65534


def main() -> None:
    """Create the namespace, then execute the command in it. Exit code 125: the kernel does not allow the namespace."""
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        sys.exit(125)
    try:
        # "deny" must be written before gid_map: user_namespaces(7), "Writing to gid_map".
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{INNER_UID} {uid} 1"),
            ("gid_map", f"{INNER_UID} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError:
        sys.exit(125)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
