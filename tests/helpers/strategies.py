"""Hypothesis strategies for untrusted input."""

from __future__ import annotations

import random

from hypothesis import strategies as st

__all__ = ["ANY_TEXT", "JSON", "SEEDS"]

# Includes halves of surrogate pairs: JSON can express them, and aiohttp makes them of bytes that are not UTF-8.
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=5),
    max_leaves=20,
)
SEEDS = st.integers(0, 2**32).map(random.Random)
