"""The broadcast log: readers get everything in order, or have overflowed."""

from __future__ import annotations

import random

from push.delivery.batch import Batch
from push.delivery.broadcast_log import MAX_CACHED_READS, BroadcastLog
from tests.helpers.builders import messages_of


def batch(*messages: bytes) -> Batch:
    return Batch(messages)


def test_read_joins_what_follows_and_returns_the_same_batch_to_all_readers_at_an_offset() -> None:
    log = BroadcastLog(100, 1000)
    log.append([batch(b"one"), batch(b"two", b"three")])
    log.append([batch(b"four")])
    got, offset = log.read(0, 1000)
    assert (list(got.messages), offset) == ([b"one", b"two", b"three", b"four"], 3)
    assert log.read(0, 1000)[0] is got
    assert (list(log.read(1, 1)[0].messages), log.read(1, 1)[1]) == ([b"two", b"three"], 2)
    assert messages_of(log.since(1)) == [b"two", b"three", b"four"]


def test_readers_at_several_offsets_get_the_same_batches_in_turn() -> None:
    log = BroadcastLog(100, 10_000)
    log.append(Batch([b"%d" % number]) for number in range(4))
    reads = [log.read(offset, 1000) for offset in (0, 2, 0, 2)]
    assert reads[0][0] is reads[2][0]
    assert reads[1][0] is reads[3][0]
    log.append([Batch([b"4"])])
    assert list(log.read(2, 1000)[0].messages) == [b"2", b"3", b"4"]


def test_batches_kept_for_readers_at_other_offsets_are_few() -> None:
    log = BroadcastLog(1000, 10_000)
    log.append(Batch([b"%d" % number]) for number in range(100))
    for offset in range(100):
        log.read(offset, 1000)
    assert len(log._reads) <= MAX_CACHED_READS


def test_random_readers_get_everything_in_order_or_have_overflowed() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    log = BroadcastLog(20, 300)
    published: list[bytes] = []
    readers = [[0, 0] for _ in range(10)]  # offset, number of messages received
    for _ in range(2000):
        if choose.random() < 0.4:
            messages = [b"%d" % (len(published) + n) for n in range(choose.randint(1, 8))]
            waiting = {id(reader): published[reader[1] :] for reader in readers if reader[0] >= log.first_offset}
            published += messages
            log.append([batch(message) for message in messages])
            for reader in readers:
                if id(reader) in waiting:
                    left = waiting[id(reader)]
                    overflowed = len(left) > 20 or sum(map(len, left)) > 300
                    assert (reader[0] < log.first_offset) == overflowed
        reader = choose.choice(readers)
        if reader[0] < log.first_offset:
            reader[0], reader[1] = log.end_offset, len(published)
        elif reader[0] < log.end_offset:
            got, reader[0] = log.read(reader[0], choose.choice([1, 10, 1000]))
            assert list(got.messages) == published[reader[1] : reader[1] + got.count]
            reader[1] += got.count
            assert log.messages_before(reader[0]) == reader[1]
            assert log.is_behind(reader[0]) == (len(published) - reader[1] > 10 or sum(map(len, published[reader[1] :])) > 150)
