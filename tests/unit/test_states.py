"""What is known of a device, how it is merged out of what the hub keeps, and what state that makes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from edgeagent import wire
from edgeagent.direct import Stored
from edgeagent.fleet.roster import Roster, merge
from edgeagent.fleet.states import Known, State, state_of
from edgeagent.fleet.suspects import Suspects
from edgeagent.times import rfc3339

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
REVOKED = wire.DeviceRecord(id="pi-01", revoked=True)
RECORD = wire.DeviceRecord(id="pi-01", groups=["berlin"])


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def online(seconds: float) -> wire.Presence:
    return wire.Presence(online=True, since=rfc3339(ago(seconds)), connection="S:1")


def gone(seconds: float, reason: str = "Client Closed") -> wire.Presence:
    return wire.Presence(online=False, since=rfc3339(ago(seconds)), connection="S:1", reason=reason)


def known(heard: float | None = None, presence: wire.Presence | None = None, beat: float = 60, **more: object) -> Known:
    device = Known("pi-01", presence=presence, **more)  # type: ignore[arg-type]  # passed on as they are
    return device if heard is None else device.heard_at(ago(heard), beat)


@pytest.mark.parametrize(
    ("device", "state"),
    [
        # Nothing at all, or only that it was registered.
        (known(), State.NEVER_SEEN),
        (known(record=RECORD), State.NEVER_SEEN),
        # By its age alone: two heartbeats may be missed with their jitter, then it is suspect, after three offline.
        (known(0), State.ONLINE),
        (known(134), State.ONLINE),
        (known(135), State.ONLINE),
        (known(136), State.SUSPECT),
        (known(180), State.SUSPECT),
        (known(181), State.OFFLINE),
        (known(11, beat=5), State.ONLINE),
        (known(12, beat=5), State.SUSPECT),
        (known(16, beat=5), State.OFFLINE),
        # The server still holds the connection, but nothing comes through it.
        (known(136, online(9999)), State.SUSPECT),
        (known(181, online(9999)), State.OFFLINE),
        # A fresh connection is a sign of life as good as a heartbeat.
        (known(9999, online(5)), State.ONLINE),
        (known(None, online(5)), State.ONLINE),
        (known(None, online(136)), State.SUSPECT),
        (known(None, online(181)), State.OFFLINE),
        # The server saw the connection end; a heartbeat that it stored later says otherwise.
        (known(20, gone(10)), State.OFFLINE),
        (known(10, gone(10)), State.OFFLINE),
        (known(10, gone(20)), State.ONLINE),
        (known(10, gone(20, "unknown")), State.ONLINE),
        (known(140, gone(150)), State.SUSPECT),
        (known(None, gone(10)), State.OFFLINE),
        # Revoked wins over everything.
        (known(record=REVOKED), State.REVOKED),
        (known(0, online(5), record=REVOKED), State.REVOKED),
        (known(20, gone(10), record=REVOKED), State.REVOKED),
        # Heard "later" than the clock that was asked first: no error, it is there.
        (known(-2), State.ONLINE),
    ],
)
def test_state(device: Known, state: State) -> None:
    assert state_of(device, NOW) is state


@pytest.mark.parametrize(
    ("device", "silent", "state"),
    [
        (known(10), 5, State.SUSPECT),
        (known(5), 5, State.SUSPECT),
        (known(4), 5, State.ONLINE),
        (known(10, online(4)), 5, State.ONLINE),
        (known(10, online(20)), 5, State.SUSPECT),
        (known(181), 5, State.OFFLINE),
        (known(20, gone(10)), 5, State.OFFLINE),
        (known(10, record=REVOKED), 5, State.REVOKED),
        (known(), 5, State.NEVER_SEEN),
    ],
)
def test_silence_makes_suspect_until_a_newer_sign_of_life(device: Known, silent: float, state: State) -> None:
    assert state_of(device, NOW, silent_since=ago(silent)) is state


@pytest.mark.parametrize("said", [0.0, -1.0, 1e300, 1e9])
def test_a_device_cannot_stay_online_for_ever_by_its_own_word(said: float) -> None:
    assert state_of(known(1, beat=said), NOW) is State.ONLINE
    assert state_of(known(3600 * 3 + 1, beat=said), NOW) is State.OFFLINE


@pytest.mark.parametrize(
    ("device", "seen", "since"),
    [
        (known(), None, None),
        (known(30), 30, None),
        (known(30, gone(10)), 10, 10),
        (known(None, gone(10)), 10, 10),
        # Concluded from silence: when it left nobody knows, only when it was heard.
        (known(120, gone(10, "Stale Connection")), 120, 10),
        (known(120, gone(10, "unknown")), 120, 10),
        (known(5, gone(10)), 5, None),
        (known(30, online(50)), 30, None),
    ],
)
def test_last_seen(device: Known, seen: float | None, since: float | None) -> None:
    assert device.last_seen == (None if seen is None else ago(seen))
    assert device.gone_since == (None if since is None else ago(since))


def test_signs_of_life_may_come_in_any_order() -> None:
    assert known(10).heard_at(ago(20), 5).heard == ago(10)
    assert known(20).heard_at(ago(10), 5).heard == ago(10)


@pytest.mark.parametrize(
    ("facts", "groups"),
    [({"groups": ["a", "b"]}, ["a", "b"]), ({"groups": "a"}, []), ({"groups": ["a", {"b": 1}, None]}, ["a"]), ({}, [])],
)
def test_groups_are_the_hubs_word_before_the_devices_own(facts: wire.Facts, groups: list[str]) -> None:
    report = wire.Report(id="pi-01", facts=facts)
    assert Known("pi-01", report=report).groups == groups
    assert Known("pi-01", report=report, record=RECORD).groups == ["berlin"]


def stored(subject: str, message: msgspec.Struct | bytes, seconds: float = 0) -> Stored:
    data = message if isinstance(message, bytes) else wire.encode(message)
    return Stored(subject, 1, ago(seconds), data, False)


def merged(
    heard: list[Stored] | None = None, presence: list[Stored] | None = None, records: list[Stored] | None = None
) -> Roster:
    return merge(NOW, heard or [], presence or [], records or [])


def test_merge_puts_everything_about_a_device_together() -> None:
    report = wire.Report(id="pi-01", facts={"model": "Pi"}, heartbeat_seconds=5)
    roster = merged(
        [
            stored("edge.from.pi-01.report", report, 30),
            stored("edge.from.pi-01.heartbeat", wire.Heartbeat(heartbeat_seconds=7), 3),
        ],
        [stored("$KV.edge_presence.pi-01", online(40))],
        [stored("$KV.edge_devices.pi-01", RECORD), stored("$KV.edge_devices.pi-02", wire.DeviceRecord(id="pi-02"))],
    )
    device = roster.devices["pi-01"]
    assert (device.report, device.reported, device.heard, device.heartbeat_seconds) == (report, ago(30), ago(3), 7)
    assert (device.presence, device.record, roster.unreadable) == (online(40), RECORD, 0)
    assert state_of(roster.devices["pi-02"], NOW) is State.NEVER_SEEN
    assert list(roster.devices) == ["pi-01", "pi-02"]


def test_whose_a_report_is_says_its_subject_not_its_content() -> None:
    roster = merged([stored("edge.from.pi-09.report", wire.Report(id="pi-01", facts={}))])
    assert list(roster.devices) == ["pi-09"]


@pytest.mark.parametrize(
    "bad",
    [
        {"heard": stored("edge.from.pi-02.report", b"")},
        {"heard": stored("edge.from.pi-02.report", b'{"id":"pi-02","facts":7}')},
        {"heard": stored("edge.from.pi-02.report", b'{"id":"pi-02","facts":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}")},
        {"heard": stored("edge.from.pi-02.heartbeat", b"\xff")},
        {"heard": stored("edge.from.*.report", wire.Report(id="x", facts={}))},
        {"heard": stored("edge.from.PI.report", wire.Report(id="x", facts={}))},
        {"presence": stored("$KV.edge_presence.pi-02", b'{"online":true}')},
        {"presence": stored("$KV.edge_presence.pi-02", wire.Presence(online=True, since="just now"))},
        {"records": stored("$KV.edge_devices.pi-02", b'{"id":"pi-02","groups":"berlin"}')},
    ],
)
def test_what_cannot_be_read_is_counted_and_costs_nobody_else(bad: dict[str, Stored]) -> None:
    good = stored("edge.from.pi-01.heartbeat", wire.Heartbeat(), 3)
    items = {name: [item] for name, item in bad.items()}
    items["heard"] = [*items.get("heard", []), good]
    roster = merged(**items)
    assert roster.unreadable == 1
    assert [device for device, what in roster.devices.items() if state_of(what, NOW) is State.ONLINE] == ["pi-01"]


def test_an_unreadable_report_leaves_the_heartbeat() -> None:
    roster = merged([stored("edge.from.pi-01.report", b"?", 1), stored("edge.from.pi-01.heartbeat", wire.Heartbeat(), 3)])
    device = roster.devices["pi-01"]
    assert (device.facts, device.heard, roster.unreadable) == (None, ago(3), 1)


def test_suspects_are_remembered_between_two_calls(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "suspects.json"
    exact = NOW.replace(microsecond=123_999)
    first = Suspects(path)
    first.update(silent={"pi-01": exact, "pi-02": NOW}, spoke=set())
    assert [Suspects(path).get(device) for device in ("pi-01", "pi-02", "pi-03")] == [exact, NOW, None]
    assert state_of(Known("pi-01").heard_at(exact, 60), exact, silent_since=Suspects(path).get("pi-01")) is State.SUSPECT


def test_who_speaks_is_no_suspect_any_more(tmp_path: Path) -> None:
    path = tmp_path / "suspects.json"
    suspects = Suspects(path)
    suspects.update(silent={"pi-01": NOW, "pi-02": NOW}, spoke=set())
    suspects.update(silent={}, spoke={"pi-01", "pi-09"})
    assert (suspects.get("pi-01"), Suspects(path).get("pi-01"), Suspects(path).get("pi-02")) == (None, None, NOW)


def test_suspects_without_a_file_are_kept_in_memory() -> None:
    suspects = Suspects()
    suspects.update(silent={"pi-01": NOW}, spoke=set())
    assert suspects.get("pi-01") == NOW


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pi-01":7}', b'{"pi-01":"soon"}', b'{"pi-01":"\xff"}'])
def test_a_damaged_file_of_suspects_costs_one_wait(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "suspects.json"
    path.write_bytes(content)
    suspects = Suspects(path)
    assert suspects.get("pi-01") is None
    suspects.update(silent={"pi-01": NOW}, spoke=set())
    assert Suspects(path).get("pi-01") == NOW


def test_a_folder_that_cannot_be_written_fails_no_query(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    suspects = Suspects(tmp_path / "file" / "suspects.json")
    suspects.update(silent={"pi-01": NOW}, spoke=set())
    assert suspects.get("pi-01") == NOW
