"""Attaching a table of the shop from the command line: which table, by which map, and what would happen."""
