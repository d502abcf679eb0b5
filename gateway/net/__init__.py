"""Sockets: accepting limits, client addresses, TLS, and the ways to write to many sockets."""
