"""The push engine: from the journal to the sessions of clients. Imports neither aiohttp nor asyncpg; no I/O of its own."""
