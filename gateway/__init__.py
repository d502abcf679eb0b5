"""All that touches aiohttp: the WebSocket, the HTTP routes, the drain."""
