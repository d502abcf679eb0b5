"""Programs around the server. They know the database, or the wire, and nothing of the server's inside."""
