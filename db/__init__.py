"""The database side, the only package that imports asyncpg. Listener, queries, migrations, the embedded server."""
