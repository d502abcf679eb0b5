"""WebSocket sessions (RFC 6455): handshake, frames, compression and broadcast writes."""
