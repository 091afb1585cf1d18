"""Messages become chunks that the hub takes; what cannot is counted, and stops nobody."""

from __future__ import annotations

import json
import random

import pytest

from edgeagent.chunk import (
    MAX_CHUNK_BYTES,
    MAX_DATA_CHUNK_BYTES,
    MAX_MESSAGE_BYTES,
    Progress,
    decode_data,
    decode_metrics,
    points_of,
)
from edgeagent.patterns.forwardchunks import DATA, METRICS, Draft, Kind, Local, as_stored
from edgeagent.patterns.forwardprogress import Range, passed

NOW = 1795281475_682115644


def built(kind: Kind, *payloads: bytes, subject: str = "local.metric.n") -> tuple[Draft, bytes]:
    messages = [Local(5 + number, NOW + number, subject, data) for number, data in enumerate(payloads)]

    def after(draft: Draft) -> Progress:
        return passed(Progress(next=5), Range(5, messages[draft.taken - 1].sequence), draft.sent, draft.dropped)

    return kind.build(messages, as_stored, after)


def test_samples_go_with_their_source_and_time() -> None:
    draft, payload = built(METRICS, b"21.5", b'{"a": 1, "room": "x", "time": 1795281000.5}')
    chunk = decode_metrics(payload)
    assert draft.taken == 2 and chunk.progress == Progress(next=7, forwarded=2)
    assert [(p.source, p.sample.metric, p.sample.value, p.time_ms) for p in points_of(chunk)] == [
        ("n", "n", 21.5, NOW // 10**6),
        ("n", "n.a", 1, 1795281000500),
    ]


def test_five_hundred_samples_at_most_but_for_one_message_with_more() -> None:
    draft, _ = built(METRICS, *[b"1"] * 501)
    assert (draft.taken, len(draft.items)) == (500, 500)
    many = b"\n".join(b"n v%d=1" % number for number in range(600))
    draft, payload = built(METRICS, many, b"1")
    assert (draft.taken, len(draft.items)) == (1, 600) and len(list(points_of(decode_metrics(payload)))) == 600


def test_malformed_messages_are_counted_and_told_and_stop_nobody() -> None:
    draft, payload = built(METRICS, b"rubbish{", b"1", b"\xff", b"[]", b"2", b'{"a": "\\ud800", "b": 1}')
    assert len(draft.complaints) >= 3 and {subject for _, subject, _ in draft.complaints} == {"local.metric.n"}
    chunk = decode_metrics(payload)
    assert [point.sample.value for point in points_of(chunk)][:2] == [1, 2]
    assert chunk.progress.forwarded + sum(chunk.progress.dropped.values()) == draft.taken


def test_nothing_but_rubbish_makes_no_chunk() -> None:
    draft, payload = built(METRICS, b"", b"x")
    assert (draft.taken, draft.sent, draft.dropped, payload) == (2, [], {"malformed": 2}, b"")


def test_samples_that_do_not_compress_are_spread_over_chunks() -> None:
    drawn = random.Random(1)
    table = json.dumps({"samples": [{"metric": f"m{drawn.random()}", "value": drawn.random()} for _ in range(450)]}).encode()
    draft, payload = built(METRICS, *[table] * 3)
    assert draft.taken == 1 and 0 < len(payload) <= MAX_CHUNK_BYTES


def test_a_message_that_would_be_a_bomb_is_dropped() -> None:
    """16 long attributes of each of thousands of samples: 32 KiB that would be megabytes in a chunk."""
    texts = {f"t{number}": "x" * 200 for number in range(16)}
    bomb = json.dumps({**texts, **{f"v{number}": 1 for number in range(2000)}}).encode()
    assert len(bomb) < 32 << 10
    draft, payload = built(METRICS, bomb, b"1")
    assert draft.dropped == {"too_large": 1} and [p.sample.value for p in points_of(decode_metrics(payload))] == [1]


def poison() -> bytes:
    """7 KB of line protocol that are more than 1 MiB in a chunk: JSON needs six bytes for a control character."""
    tags = ",".join(f"{chr(97 + number)}" + "\x01" * 199 + "=" + "\x01" * 200 for number in range(16))
    return f"m,{tags} {','.join(f'f{number}=1' for number in range(70))}".encode()


def test_control_characters_make_no_chunk_that_nobody_can_read() -> None:
    draft, payload = built(METRICS, b"1", poison(), b"2")
    assert [point.sample.value for point in points_of(decode_metrics(payload))] == [1, 2]
    assert draft.dropped == {"too_large": 1} and [cause for cause, *_ in draft.complaints] == ["too_large"]


def test_long_sources_make_no_chunk_that_nobody_can_read() -> None:
    sample = b'{"samples":[{"metric":"m","value":1}]}'
    messages = [Local(5 + number, NOW, f"local.metric.s{number}{'a' * 3900}", sample) for number in range(500)]
    draft, payload = METRICS.build(messages, as_stored, lambda draft: Progress(next=5 + draft.taken))
    assert 0 < draft.taken == len(list(points_of(decode_metrics(payload))))


def test_no_message_ends_the_forwarder_whatever_is_wrong_with_it() -> None:
    def when(message: Local, own: float) -> tuple[int, bool]:
        if own:
            raise ZeroDivisionError("of this one nobody thought")
        return as_stored(message, own)

    messages = [Local(5, NOW, "local.metric.n", b'{"a": 1, "time": 7}'), Local(6, NOW, "local.metric.n", b"1")]
    draft, payload = METRICS.build(messages, when, lambda draft: Progress(next=5 + draft.taken))
    assert draft.dropped == {"malformed": 1} and "nobody thought" in draft.complaints[0][2]
    assert [point.sample.value for point in points_of(decode_metrics(payload))] == [1]


@pytest.mark.parametrize("time_ms", [-1, 1 << 62], ids=["before-1970", "far"])
def test_a_clock_that_is_far_off_loses_no_message(time_ms: int) -> None:
    for kind in (METRICS, DATA):
        local = kind.subject.replace(">", "n")
        draft, payload = kind.build([Local(5, NOW, local, b"1")], lambda *_: (time_ms, True), lambda _: Progress(next=6))
        assert not draft.dropped and kind.decode(payload).progress.next == 6


def test_messages_of_programs_go_as_they_are() -> None:
    _, payload = built(DATA, b"a\n\xff", b"", subject="local.data.doors.front")
    head, bodies = decode_data(payload)
    assert bodies == [("doors.front", NOW // 10**6, b"a\n\xff"), ("doors.front", NOW // 10**6, b"")]
    assert head.progress == Progress(next=7, forwarded=2)


def test_the_largest_message_fits_alone() -> None:
    draft, payload = built(DATA, bytes(MAX_MESSAGE_BYTES), b"x", subject="local.data." + "t" * 4000)
    assert draft.taken == 1 and MAX_MESSAGE_BYTES < len(payload) <= MAX_DATA_CHUNK_BYTES


def test_a_topic_that_leaves_no_room_is_counted() -> None:
    draft, payload = built(DATA, bytes(MAX_MESSAGE_BYTES), subject="local.data." + "t" * 20000)
    assert (draft.dropped, payload) == ({"too_large": 1}, b"")


def test_many_small_messages_of_many_topics_fit() -> None:
    messages = [Local(5 + number, NOW, f"local.data.{number}.{'t' * 2000}", b"x") for number in range(600)]
    draft, payload = DATA.build(messages, as_stored, lambda draft: Progress(next=5 + draft.taken))
    assert 100 < draft.taken <= 500 and len(payload) <= MAX_DATA_CHUNK_BYTES
