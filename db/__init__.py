"""The database side: every module that imports asyncpg. Listener, queries, migrations, the embedded server."""
