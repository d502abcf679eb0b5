"""The embedded PostgreSQL: `make run` starts it when DATABASE_URL is not set."""
