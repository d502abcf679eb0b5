"""The commands as a user runs them, in a checkout of their own, with the clients that a user has."""
