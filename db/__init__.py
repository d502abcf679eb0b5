"""The database side, on asyncpg: listener, queries, migrations, and the embedded PostgreSQL."""
