"""The PostgreSQL that `make run` starts when DATABASE_URL is not set."""
