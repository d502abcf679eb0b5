"""Nodes of NATS on this machine, and a cluster of servers with them: ``make cluster``. For trying out, and for the tests."""
