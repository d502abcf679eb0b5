"""Tests against the real parts: the embedded PostgreSQL, real sockets, real processes."""
