"""Run a command as uid 65534 of a new user namespace: ``python -I userns.py COMMAND [ARG ...]``.

PostgreSQL refuses to run as root. Inside the namespace the process is "nobody", while outside, where file permissions are
checked, it is still root: so root's own directories stay readable and nobody's permissions have to change (user_namespaces(7)).
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
NOBODY_UID = 65534


def main() -> None:
    """Enter the namespace, then become the command. Exit code 125 means that the kernel does not allow it."""
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        sys.exit(125)
    try:
        # "deny" has to come before gid_map: user_namespaces(7), "Writing to gid_map".
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{NOBODY_UID} {uid} 1"),
            ("gid_map", f"{NOBODY_UID} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError:
        sys.exit(125)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
