"""The heart: events, totals, relay, hub, sessions. Imports neither aiohttp nor asyncpg."""
