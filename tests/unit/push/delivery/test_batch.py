"""Batches: chunks, concatenation, and the cache of the encoded form."""

from __future__ import annotations

from collections.abc import Sequence

from push.delivery.batch import CHUNK_BYTES, Batch, concat, in_chunks


def test_chunks_contain_each_message_once_and_respect_the_size_limit() -> None:
    messages = [b"%d" % n * (n * 37 % 30_000) for n in range(200)] + [b"x" * (2 * CHUNK_BYTES)]
    batches = list(in_chunks(messages))
    assert [message for batch in batches for message in batch.messages] == messages
    assert all(batch.size <= CHUNK_BYTES or batch.count == 1 for batch in batches)
    assert list(in_chunks([])) == []


def test_concat_keeps_messages_parts_and_the_first_offset() -> None:
    parts = [Batch([b"a", b"bb"]), Batch([b"ccc"])]
    for offset, part in enumerate(parts, 7):
        part.offset = offset
    whole = concat(parts)
    assert (list(whole.messages), whole.count, whole.size) == ([b"a", b"bb", b"ccc"], 3, 6)
    assert (whole.offset, whole.parts) == (7, parts)


def test_encoded_form_is_computed_once_per_encoder() -> None:
    calls = []

    def joined(messages: Sequence[bytes]) -> bytes:
        calls.append("joined")
        return b"".join(messages)

    def lines(messages: Sequence[bytes]) -> bytes:
        calls.append("lines")
        return b"\n".join(messages)

    batch = Batch([b"a", b"b"])
    assert [batch.encoded(joined), batch.encoded(joined)] == [b"ab", b"ab"]
    assert [batch.encoded(lines), batch.encoded(lines)] == [b"a\nb", b"a\nb"]
    assert batch.encoded(joined) == b"ab"
    assert calls == ["joined", "lines"], "transports of two kinds take turns"


def test_parts_are_encoded_once_for_all_that_contain_them() -> None:
    encoded: list[bytes] = []

    def encode(messages: Sequence[bytes]) -> bytes:
        encoded.extend(messages)
        return b"".join(messages)

    first, second, third = Batch([b"a"]), Batch([b"b"]), Batch([b"c"])
    assert concat([first, second]).encoded(encode) == b"ab"
    assert concat([second, third]).encoded(encode) == b"bc"
    assert concat([concat([first, second]), third]).encoded(encode) == b"abc"
    assert encoded == [b"a", b"b", b"c"]
