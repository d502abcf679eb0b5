"""TCP: listening sockets, connection limits, client addresses, TLS, and transports with batched writes."""
