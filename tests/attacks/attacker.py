"""The attacker: ``python -m tests.attacks.attacker NAME URL TOKEN`` attacks until SIGTERM, then prints the answers it received.

A separate process with the lowest priority, so that it takes no processor time from the server and the measured clients. It
connects from its own address.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from tests.attacks.floods import ATTACKS, Attack
from tests.attacks.loads import LOADS

__all__: list[str] = []


async def main() -> None:
    name, url, token = sys.argv[1:]
    os.nice(19)
    attack = Attack(url, token)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    run = ATTACKS[name][0] if name in ATTACKS else LOADS[name].attack
    task = asyncio.ensure_future(run(attack))
    print("attacking", flush=True)
    await asyncio.wait({task, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        print(repr(task.exception()), flush=True)
    print("answers", json.dumps(attack.answers.most_common()), flush=True)
    os._exit(1 if task.done() else 0)


if __name__ == "__main__":
    asyncio.run(main())
