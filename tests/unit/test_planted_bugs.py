"""tests/planted_bugs: each bug can still be planted. `make planted-bugs` runs the tests that find it."""

from __future__ import annotations

import pytest

from tests.planted_bugs.__main__ import Bug, load_bugs
from tests.support import ROOT


@pytest.mark.parametrize("bug", load_bugs(), ids=lambda bug: bug.name)
def test_the_text_that_a_bug_replaces_occurs_once(bug: Bug) -> None:
    assert (ROOT / bug.file).read_text(encoding="utf-8").count(bug.old) == 1
    for path in bug.tests:
        assert (ROOT / path).exists()
