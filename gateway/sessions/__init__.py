"""What WebSocket and Server-Sent Events sessions share."""
