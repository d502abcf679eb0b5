"""The network side: every module that imports aiohttp. WebSocket and SSE sessions, HTTP routes, sockets, drain."""
