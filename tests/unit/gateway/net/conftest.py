"""Fixtures of the tests of gateway.net."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

SocketPairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def make_pairs() -> Iterator[Callable[[int], SocketPairs]]:
    """Makes connected socket pairs, which are closed after the test."""
    with ExitStack() as stack:

        def make(count: int) -> SocketPairs:
            pairs = [socket.socketpair() for _ in range(count)]
            for pair in pairs:
                for end in pair:
                    stack.enter_context(end)
            return pairs

        yield make
