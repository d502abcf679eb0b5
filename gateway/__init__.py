"""The network side, on aiohttp: WebSocket and SSE sessions, HTTP routes, sockets, drain."""
