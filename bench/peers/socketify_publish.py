"""socketify (Python bindings of uWebSockets, C++): its own publish() to a topic.

Its event loop polls while it is idle; that CPU time is counted too.
"""

from __future__ import annotations

from typing import Any

from socketify import App, OpCode

from bench.peers.feed import HOST, PORT, follow_feed


def main() -> None:
    app = App()
    app.ws(
        "/api/ws",
        {
            "open": lambda ws: ws.subscribe("orders"),
            "message": lambda ws, message, opcode: None,
            "max_backpressure": 64 * 1024 * 1024,
            "idle_timeout": 120,
        },
    )
    app.listen({"host": HOST, "port": PORT}, lambda config: None)

    def publish(text: str) -> None:
        app.publish("orders", text, OpCode.TEXT)

    loop: Any = app.loop.loop
    feeding = loop.create_task(follow_feed(publish))
    app.run()
    feeding.cancel()


if __name__ == "__main__":
    main()
