"""database_state: what the relay has read of the database, as other servers get it."""

from __future__ import annotations

import pytest

from service.database_state import MAX_SHARED_BYTES, DatabaseState

EMPTY = DatabaseState({}, 0.0, None, 0.0)


def test_another_server_gets_what_was_read() -> None:
    state = DatabaseState({"user-7": 1700000000.5}, 0.25, "the trigger is disabled", 17.0)
    assert EMPTY.updated_from_json(state.to_json()) == state


def test_long_revocations_are_not_sent_and_are_missed_where_they_are_other_ones() -> None:
    revoked = {f"user-{number}": 1.0 for number in range(MAX_SHARED_BYTES // 20)}
    state = DatabaseState(revoked, 0.5, None, 1.0)
    text = state.to_json()
    assert len(text) < 1000
    assert EMPTY.updated_from_json(text) is None
    assert DatabaseState(dict(revoked), 0.0, None, 0.0).updated_from_json(text) == state
    assert DatabaseState(revoked | {"user-x": 2.0}, 0.0, None, 0.0).updated_from_json(text) is None


def test_an_unknown_field_is_ignored() -> None:
    text = EMPTY.to_json()
    assert EMPTY.updated_from_json(text[:-1] + ', "new": [1]}') == EMPTY


@pytest.mark.parametrize("text", ["", "7", "[]", "{}", '{"revoked": {}, "queue_usage": "much"}'])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        EMPTY.updated_from_json(text)
