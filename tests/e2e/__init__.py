"""The make targets and commands, run in a copy of the checkout, with the clients that users have: curl, psql, wscat."""
