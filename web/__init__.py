"""The page, the client and how they are built. The server only sends what comes out."""
