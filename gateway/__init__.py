"""The network side, the only package that imports aiohttp. WebSocket and SSE sessions, HTTP routes, sockets, drain."""
