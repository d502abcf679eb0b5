"""What the tests of the benchmark need from the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load import CompilerMissing, compile_c


@pytest.fixture(scope="module")
def c_compiler() -> None:
    """Skips the tests where the load generator cannot be compiled."""
    try:
        compile_c(Path(__file__).parents[2] / "bench" / "loadgen.c")
    except CompilerMissing as error:
        pytest.skip(str(error))
