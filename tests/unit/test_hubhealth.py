"""What /healthz answers, and to whom."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from edgeagent import wire
from edgeagent.administration import Person
from edgeagent.assembly import doctorservers, hubhealth
from edgeagent.assembly.doctoralarms import Told
from edgeagent.assembly.doctoralarms import findings as trouble
from edgeagent.assembly.doctorlogins import findings as logins
from edgeagent.assembly.doctorlogins import named
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.hubhealth import HubHealth, page
from edgeagent.errors import Closed, Failed, Unreachable
from edgeagent.hub.alarmtally import Tally
from edgeagent.hub.cluster import ALONE

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
DAY = 86_400


def test_it_is_wrong_when_something_is_and_names_no_more_than_checks() -> None:
    good, warn = Finding("good", "fine", check="clock"), Finding("warn", "many", "more", "links")
    wrong = Finding("wrong", "/srv/hub is full", "free some", "store")
    assert page([good, warn], "t", verbose=False) == (200, {"status": "ok", "time": "t", "wrong": [], "warn": ["links"]})
    status, said = page([good, wrong, wrong], "t", verbose=False)
    assert (status, said["wrong"]) == (503, ["store"]) and "/srv" not in str(said)
    _, said = page([wrong], "t", verbose=True)
    assert said["findings"] == [{"level": "wrong", "check": "store", "text": "/srv/hub is full", "remedy": "free some"}]


@pytest.fixture
def health() -> HubHealth:
    return HubHealth(None, None, ALONE, SimpleNamespace(tally=Tally(0)))  # type: ignore[arg-type]  # nobody is asked here


async def test_a_server_that_does_not_answer_and_what_others_know(health: HubHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unreachable("ask the hub's servers", "none answered")

    monkeypatch.setattr(doctorservers, "look", away)

    def fails() -> list[Finding]:
        raise Failed("look at the store", "no such disk", "mount it")

    health.known = {"fine": lambda: [Finding("good", "a")], "bad": fails, "odd": lambda: [][0]}
    await health.look()
    status, said = health.answer(True)
    assert status == 503 and said["wrong"] == ["nats-server", "bad"] and said["warn"] == ["odd"]
    assert not health.is_healthy and len(said["findings"]) == 4


async def test_what_nobody_looks_at_any_more_is_wrong(health: HubHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fine(*_: object) -> tuple[list[object], list[Finding]]:
        return [], []

    monkeypatch.setattr(doctorservers, "look", fine)
    assert health.answer(False)[0] == 503, "nobody has looked yet"
    await health.look()
    assert health.is_healthy
    health.looked -= hubhealth.OLD_SECONDS + 1
    assert health.answer(False)[1]["wrong"] == ["services"]


async def test_the_end_of_its_connection_is_told_by_whose_it_is(health: HubHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(*_: object) -> None:
        raise Closed("ask", "the connection is closed")

    monkeypatch.setattr(doctorservers, "look", closed)
    await health.run()


def test_trouble_of_the_last_hour() -> None:
    assert [finding.level for finding in trouble([], NOW)] == ["good"]
    told = [
        Told("warning", "hub.auth_errors", "old", NOW - timedelta(minutes=50)),
        Told("warning", "hub.auth_errors", "new", NOW - timedelta(minutes=1)),
        Told("info", "hub.server_stopped", "hub-2 was stopped", NOW),
        Told("error", "hub.jetstream.quorum_lost", "long ago", NOW - timedelta(minutes=30)),
        Told("error", "hub.jetstream.stream_deleted", "now", NOW),
        Told("error", "device.twins", "of others", NOW),
        Told("odd", "hub.auth_errors", "of nobody", NOW),
    ]
    found = {finding.text.split()[0]: finding for finding in trouble(told, NOW)}
    assert {word: finding.level for word, finding in found.items()} == {"new": "warn", "long": "warn", "now": "wrong"}
    assert all(finding.remedy for finding in found.values())


def test_logins_that_end() -> None:
    now = NOW.timestamp()
    soon = wire.DeviceRecord(id="x", expires_at=int(now + DAY))
    records = dict.fromkeys(("pi-1", "pi-2"), soon) | {"pi-3": wire.DeviceRecord(id="pi-3", expires_at=0)}
    assert [finding.level for finding in logins(records, {"pi-3"}, [], now)] == ["good"], "the others renew when they are back"
    (late,) = logins(records, {"pi-1", "pi-3"}, [], now)
    assert late.level == "warn" and "pi-1:" in late.text and "2026-11-23" in late.text
    admin = Person(name="olga", role="admin", key="U", expires_at=int(now - 1))
    (nobody,) = logins({}, set(), [admin], now)
    assert nobody.level == "wrong" and "no administrator" in nobody.text
    lasting = Person(name="anna", role="admin", key="U")
    assert logins({}, set(), [admin, lasting], now)[0].good


def test_names_are_few() -> None:
    assert named("edcba") == "a, b, c, d, e" and named("gfedcba") == "a, b, c, d, e and 2 more"
