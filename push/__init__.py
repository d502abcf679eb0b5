"""The engine: journal events, totals, relay, hub and sessions. Imports neither aiohttp nor asyncpg."""
