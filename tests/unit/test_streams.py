from __future__ import annotations

import pytest
from nats.js import api

from edgeagent import actions
from edgeagent.builtin import actions as builtin_actions
from edgeagent.errors import UsageProblem
from edgeagent.hub import streams
from edgeagent.hub.stream import Stream
from edgeagent.hub.streams import MIN_STORE_BYTES, STREAMS
from edgeagent.transfer import PIECE_BYTES

assert builtin_actions.__path__  # has them registered
BY_NAME = {stream.name: stream for stream in STREAMS}
GIB = 1 << 30


def test_all_are_declared_once():
    assert all(type(stream) is Stream for stream in STREAMS)
    assert len(BY_NAME) == len(STREAMS) == 16


@pytest.mark.parametrize("store_bytes", [MIN_STORE_BYTES, 10 * GIB, 2000 * GIB])
def test_limits_leave_a_fifth_of_the_store_free(store_bytes):
    limits = [stream.configuration(store_bytes).max_bytes for stream in STREAMS]
    assert all(limit > 0 for limit in limits) and sum(limits) <= 0.8 * store_bytes


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_what_holds_for_every_stream(stream):
    made = stream.configuration(GIB, 3)
    assert made.storage == api.StorageType.FILE and made.num_replicas == 3 and made.allow_direct
    assert made.duplicate_window == 0.1
    assert (made.max_age is None) == (stream.name not in ("EDGE_FILES", "EDGE_UPLOADS"))
    # What is not asked for is off: time to live, schedules, counters and batches are ways to write around the rules.
    assert not (
        made.allow_msg_ttl or made.allow_msg_schedules or made.allow_msg_counter or made.allow_atomic or made.allow_batched
    )


def test_none_takes_rollups_or_single_deletes():
    made = {stream.name: stream.configuration(GIB) for stream in STREAMS}
    assert [name for name, config in made.items() if config.allow_rollup_hdrs] == []
    assert [name for name, config in made.items() if not config.deny_delete] == []


@pytest.mark.parametrize("store_bytes", [MIN_STORE_BYTES, 10 * GIB])
def test_one_device_cannot_fill_the_events(store_bytes):
    made, parts = BY_NAME["EDGE_EVENTS"].configuration(store_bytes), 8
    assert made.max_msgs_per_subject >= 14
    assert made.max_msgs_per_subject * len(made.subjects) * made.max_msg_size <= made.max_bytes / parts
    assert made.discard == api.DiscardPolicy.OLD


@pytest.mark.parametrize(("name", "most"), [("EDGE_METRICS", 21 * 24 * 60), ("EDGE_DATA", 5 * 24 * 60)])
def test_small_chunks_last_for_weeks(name, most):
    """One a minute, on a hub with 1 GiB. Who shares the bytes: tests/live/test_retention.py."""
    made = BY_NAME[name].configuration(GIB)
    assert most < made.max_msgs_per_subject < made.max_bytes / 4 / 1000 and made.discard == api.DiscardPolicy.OLD


def test_one_device_cannot_fill_the_uploads():
    made = BY_NAME["EDGE_UPLOADS"].configuration(10 * GIB)
    assert 64 << 20 < made.max_msgs_per_subject * PIECE_BYTES <= made.max_bytes / 4
    assert made.discard == api.DiscardPolicy.OLD


def test_a_device_cannot_invent_events():
    assert BY_NAME["EDGE_EVENTS"].subjects == tuple(f"edge.from.*.event.{severity}" for severity in streams.SEVERITIES)


def test_commands_are_written_once_and_never_evicted():
    made = BY_NAME["EDGE_COMMANDS"].configuration(GIB)
    assert made.discard == api.DiscardPolicy.NEW and made.discard_new_per_subject and made.max_msgs_per_subject == 1


def test_pieces_of_files_are_written_once_and_outlive_every_command():
    made = BY_NAME["EDGE_FILES"].configuration(GIB)
    assert made.discard == api.DiscardPolicy.NEW and made.discard_new_per_subject and made.max_msgs_per_subject == 1
    longest = max(action.max_expiry_seconds + action.timeout_seconds for action in actions.every())
    assert made.max_age is not None and made.max_age > longest


def test_a_new_command_rings_a_doorbell_without_its_content():
    assert BY_NAME["EDGE_COMMANDS"].configuration(GIB).republish == api.RePublish(
        src="edge.to.*.*.cmd.*", dest="edge.to.{{wildcard(1)}}.{{wildcard(2)}}.command", headers_only=True
    )


def test_results_are_refused_rather_than_evicted():
    made = BY_NAME["EDGE_RESULTS"].configuration(GIB)
    assert made.discard == api.DiscardPolicy.NEW and not made.discard_new_per_subject


def test_config_rings_a_doorbell_without_its_content():
    made = BY_NAME["KV_edge_config"].configuration(GIB)
    assert made.republish == api.RePublish(
        src="$KV.edge_config.*.*", dest="edge.to.{{wildcard(1)}}.{{wildcard(2)}}.config", headers_only=True
    )
    assert made.max_msgs_per_subject == 64


@pytest.mark.parametrize(
    ("name", "source", "destination"),
    [
        ("EDGE_REPORTS", "edge.from.*.*", "edge.live.{{wildcard(1)}}.{{wildcard(2)}}"),
        ("EDGE_RESULTS", "edge.from.*.result.*", "edge.live.{{wildcard(1)}}.result.{{wildcard(2)}}"),
        ("EDGE_METRICS", "edge.from.*.metric", "edge.live.{{wildcard(1)}}.metric"),
        ("EDGE_EVENTS", "edge.from.*.event.*", "edge.live.{{wildcard(1)}}.event.{{wildcard(2)}}"),
        ("EDGE_DATA", "edge.from.*.data", "edge.live.{{wildcard(1)}}.data"),
        ("KV_edge_presence", "$KV.edge_presence.*", "edge.live.{{wildcard(1)}}.presence"),
    ],
)
def test_what_is_stored_is_seen_live(name, source, destination):
    assert BY_NAME[name].configuration(GIB).republish == api.RePublish(src=source, dest=destination, headers_only=False)


def test_the_hubs_own_records_are_not_sent_on():
    for name in ("KV_edge_people", "KV_edge_tokens", "KV_edge_revocations"):
        assert BY_NAME[name].republish is None


def test_a_changed_record_rings_at_its_device_without_saying_anything():
    republish = BY_NAME["KV_edge_devices"].configuration(GIB).republish
    assert republish is not None and republish.headers_only
    assert (republish.src, republish.dest) == ("$KV.edge_devices.*", "edge.to.device.{{wildcard(1)}}.record")


def test_the_audit_copies_what_people_write_and_cannot_be_purged():
    made = BY_NAME["EDGE_AUDIT"].configuration(GIB)
    assert made.subjects is None and made.sources is not None
    assert [source.name for source in made.sources] == ["KV_edge_config", "KV_edge_trust", "EDGE_COMMANDS"]
    assert made.deny_purge and made.deny_delete
    earlier = [stream.name for stream in STREAMS[: STREAMS.index(BY_NAME["EDGE_AUDIT"])]]
    assert {source.name for source in made.sources} <= set(earlier)


def test_what_the_audit_copies_can_be_filled_once_without_an_entry_of_it_going():
    """Each copy has a header more, which says where it is from (a tenth of the smallest commands)."""
    audit = BY_NAME["EDGE_AUDIT"]
    assert audit.share > 1.1 * sum(BY_NAME[source].share for source in audit.sources)


def test_everything_a_device_may_store_has_one_stream():
    for what in streams.UPWARD:
        assert len([stream for stream in STREAMS if f"edge.from.*.{what}" in stream.subjects]) == 1


async def test_a_store_that_is_too_small_is_refused_before_anything_is_asked():
    with pytest.raises(UsageProblem, match="256 MiB"):
        await streams.ensure(None, MIN_STORE_BYTES - 1)  # type: ignore[arg-type]  # must not be used


@pytest.mark.parametrize(
    ("found", "wanted", "agrees"),
    [
        ({"a": 1, "more": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": False}, True),
        ({}, {"a": {"b": False}}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": [{"n": 1, "x": 0}]}, {"a": [{"n": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
    ],
)
def test_agreement_ignores_what_the_server_adds(found, wanted, agrees):
    assert streams._agrees(found, wanted) is agrees
