"""Example programs that use the database or the protocol. They import nothing of the server."""
