"""Tokens and the keys that verify them."""
