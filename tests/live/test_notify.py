"""People are told by webhook: once, in order, also afterwards, and of many lost devices at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("aiohttp")

from edgeagent import subjects, wire
from edgeagent.assembly.hubnotify import try_out
from edgeagent.direct import read_all
from edgeagent.errors import SettingsProblem, UsageProblem
from edgeagent.hub import notify, notifyledger, notifylost, notifypresence, sinksconsumer, sinkspost
from edgeagent.hub.bucket import PREFIX
from edgeagent.hub.exportsettings import NotifyOptions, Webhook
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.notify import Receiver
from edgeagent.hub.notifypresence import PresenceTeller
from edgeagent.hub.notifyrules import LOST
from edgeagent.hub.sinksconsumer import DurableConsumer
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from edgeagent.times import rfc3339
from tests.support.exporting import Server, services
from tests.support.fleet import cli
from tests.support.provisioninghub import ProvisioningHub, started
from tests.support.servers import until

STREAM = "EDGE_EVENTS"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("notify")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(sinkspost, "RETRY_SECONDS", (0.05, 0.2))
    async with services(place, STREAM, "KV_edge_presence") as client:
        yield client


@contextlib.asynccontextmanager
async def receiving(hub: Client, server: Server, name: str = "ops", **options: Any) -> AsyncIterator[Receiver]:
    made = Receiver(hub, name, Webhook(url=f"{server.url}/hook", **options), Path())
    tasks = Tasks()
    await made.start()
    tasks.start(name, made.run())
    try:
        yield made
    finally:
        await tasks.close()


async def tell(hub: Client, device: str, severity: str, kind: str, **data: Any) -> None:
    event = wire.Event(kind=kind, text=f"{kind} {data}", data=data)
    await published(hub, subjects.event(device, severity), wire.encode(event))


def said(server: Server) -> list[tuple[str, str, bool]]:
    bodies = [json.loads(posted.body) for posted in server.posted]
    return [(body["device"], body["alert"] or body["kind"], body["resolved"]) for body in bodies]


async def test_a_receiver_that_was_down_gets_its_events_afterwards_once_and_in_order(hub: Client) -> None:
    server = Server()
    async with receiving(hub, server) as receiver:
        await tell(hub, "pi-01", "error", "alert.hot.raised")
        await tell(hub, "pi-01", "error", "alert.hot.raised")
        await tell(hub, "pi-02", "info", "app.said")
        await tell(hub, "pi-01", "info", "alert.hot.cleared")
        await until(lambda: receiver.retries > 2, "it is tried again")
        async with server.running():
            await until(lambda: len(server.posted) == 2, "it was told")
            await tell(hub, "pi-01", "critical", "app.burns")
            await until(lambda: len(server.posted) == 3, "and goes on")
    assert said(server) == [("pi-01", "hot", False), ("pi-01", "hot", True), ("pi-01", "app.burns", False)]
    assert receiver.outcomes == {"sent": 3}


async def test_another_instance_knows_what_is_open(hub: Client) -> None:
    server = Server()
    async with server.running():
        async with receiving(hub, server):
            await tell(hub, "pi-01", "error", "alert.hot.raised")
            await until(lambda: len(server.posted) == 1, "the first is told")
        async with receiving(hub, server):
            await tell(hub, "pi-01", "error", "alert.hot.raised")
            await tell(hub, "pi-01", "info", "alert.hot.cleared")
            await until(lambda: len(server.posted) == 2, "its end is told")
    assert said(server) == [("pi-01", "hot", False), ("pi-01", "hot", True)]


async def test_a_device_that_floods_does_not_silence_others_and_what_is_refused_is_dropped(hub: Client) -> None:
    server = Server(lambda number: 400 if number == 0 else 200)
    async with server.running(), receiving(hub, server) as receiver:
        for number in range(30):
            await tell(hub, "bad", "critical", f"a.{number}")
        await published(hub, subjects.event("bad", "critical"), b"no event")
        await tell(hub, "pi-01", "error", "app.failed")
        await until(lambda: bool(server.posted) and said(server)[-1][0] == "pi-01", "the other one is heard")
    assert receiver.outcomes["flood"] > 10 and receiver.outcomes["refused"] == 1


async def test_who_is_behind_costs_others_nothing(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each webhook reads the events once, wherever another one is; and comes to the same result, also from the beginning."""
    monkeypatch.setattr(notifyledger, "REMEMBERED", 2)
    webhook = Webhook(url="http://127.0.0.1:1")
    ahead, behind = (Receiver(hub, name, webhook, Path())._ledger for name in ("ops", "boss"))
    for state in ("raised", "raised", "cleared", "raised", "cleared"):
        await tell(hub, "pi-01", "error", f"alert.hot.{state}")
    last = (await hub.jetstream().stream_info(STREAM)).state.last_seq
    found, reads = [], 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += options["first"] == 1
        return read_all(*args, **options)

    monkeypatch.setattr(notifyledger, "read_all", counted)
    for step in range(5):
        await ahead.notice(last)
        found.append(await behind.notice(last - 4 + step))
    assert [notice and notice.resolved for notice in found] == [False, None, True, False, True]
    assert reads == 2
    assert await behind.notice(last - 4) == found[0] and reads == 3


def refuses(bad: str) -> Callable[[int, bytes], int]:
    """What stands before a receiver and does not like some words."""
    return lambda number, body: 403 if bad.encode() in body else 204


async def test_what_a_receiver_does_not_like_silences_nobody_else(hub: Client) -> None:
    server = Server(judge=refuses("<script>"))
    async with server.running(), receiving(hub, server) as receiver:
        for device in ("bad", "worse"):
            await tell(hub, device, "error", "app.failed", why="<script>")
        await until(lambda: receiver.retries > 0, "the first is refused")
        await tell(hub, "pi-01", "error", "alert.hot.raised")
        await tell(hub, "pi-01", "error", "alert.hot.cleared")
        await tell(hub, "pi-02", "error", "app.failed")
        await until(lambda: receiver.outcomes == {"sent": 3, "refused": 2}, "the others are told")
    assert [one for one in said(server) if one[0] == "pi-01"] == [("pi-01", "hot", False), ("pi-01", "hot", True)]


async def test_a_receiver_with_a_wrong_login_loses_nothing(hub: Client) -> None:
    right = False
    server = Server(judge=lambda number, body: 204 if right else 401)
    async with server.running(), receiving(hub, server) as receiver:
        for number in range(6):
            await tell(hub, f"pi-{number}", "error", "app.failed")
        await until(lambda: receiver.retries > 3 * notify.DOUBT, "many were tried")
        right = True
        await until(lambda: len(server.posted) == 6, "all are told")
    assert receiver.outcomes == {"sent": 6}


async def test_a_dead_receiver_holds_up_no_other_and_gets_its_events_afterwards(hub: Client) -> None:
    """Each answers in another way, and one behind a firewall's login takes nothing, though that says 200."""
    alive, login = Server(), Server(lambda number: 200)
    login.text = "<html>Log in to GuestNet</html>"
    others = [Server(lambda number: 500), Server(lambda number: 403), login]
    async with contextlib.AsyncExitStack() as stack:
        for server in (alive, *others):
            await stack.enter_async_context(server.running())
        await stack.enter_async_context(receiving(hub, alive))
        dead = [
            await stack.enter_async_context(receiving(hub, server, name=f"dead{number}", format="slack"))
            for number, server in enumerate(others)
        ]
        for number in range(12):
            await tell(hub, f"pi-{number}", "error", "app.failed")
        await until(lambda: len(alive.posted) == 12, "the one that works is told all")
        await until(lambda: all(one.retries > 2 * notify.DOUBT for one in dead), "the others are tried again and again")
        assert not any(one.outcomes for one in dead) and all(one.trouble.noted for one in dead)
        assert all(server.asked <= 1.5 * one.retries + 2 for server, one in zip(others, dead, strict=True)), "not more than that"
        login.posted.clear()
        for server in others:
            server.answer, server.text = lambda number: 200, "ok"
        await until(lambda: all(one.outcomes == {"sent": 12} for one in dead), "and told all afterwards")
        assert not any(one.trouble.noted for one in dead)
    for server in others:
        told = [json.loads(posted.body)["text"].split("*")[1] for posted in server.posted if posted.said == "ok"]
        assert sorted(told) == sorted({f"app.failed on pi-{number}" for number in range(12)}), "each once"


async def test_what_grew_old_while_it_was_tried_is_not_told(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(judge=lambda number, body: 500)
    async with server.running(), receiving(hub, server) as receiver:
        await tell(hub, "pi-01", "error", "app.failed")
        await until(lambda: receiver.retries > 1, "it is tried")
        monkeypatch.setattr(notify, "EXPIRE_SECONDS", 0.0)
        await until(lambda: receiver.outcomes == {"expired": 1}, "it is given up")


async def test_what_is_not_told_at_the_end_is_told_by_the_next_at_once(hub: Client) -> None:
    server = Server(judge=lambda number, body: 503)
    async with server.running(), receiving(hub, server) as receiver:
        for number in range(3):
            await tell(hub, f"pi-{number}", "error", "app.failed")
        await until(lambda: receiver.retries > 0 and len(receiver._held) == 3, "it has taken them")
    server = Server()
    async with server.running(), receiving(hub, server):
        await until(lambda: len(server.posted) == 3, "the next has them long before the hub would give them to others")


async def test_a_consumer_that_another_version_made_is_changed(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = DurableConsumer(hub, STREAM, "notify_old", batch=16)
    with monkeypatch.context() as before:
        before.setattr(sinksconsumer, "ACK_WAIT_SECONDS", 60.0)
        await consumer.ensure()
    await consumer.ensure()
    longest = sinkspost.TIMEOUT_SECONDS + 60  # and a pause
    assert (await hub.jetstream().consumer_info(STREAM, "notify_old")).config.ack_wait > 1.5 * longest


def presence(online: bool, seconds_ago: float = 0.0) -> bytes:
    since = rfc3339(datetime.now(timezone.utc) - timedelta(seconds=seconds_ago))
    return wire.encode(wire.Presence(online=online, since=since, connection="s:1"))


async def seen(hub: Client, devices: list[str], *, online: bool, seconds_ago: float = 0.0) -> None:
    for device in devices:
        await published(hub, subjects.kv("edge_presence", device), presence(online, seconds_ago))


async def test_many_lost_devices_are_one_message_whoever_watches(hub: Client, place: ProvisioningHub) -> None:
    server, options = Server(), NotifyOptions(offline_seconds=1.0, gather_seconds=0.5)
    other = await place.connect(place.owner.service_credentials("hub"))
    many = [f"pi-{number:02}" for number in range(40)]
    await seen(hub, many, online=True)
    tasks = Tasks()
    async with server.running(), receiving(hub, server):
        for client in (hub, other):
            teller = PresenceTeller(client, options)
            await teller.start()
            tasks.start("tell", teller.run())
        await seen(hub, many, online=False)
        await until(lambda: len(server.posted) == 1, "somebody tells")
        await seen(hub, many[:3], online=True)
        await until(lambda: len(server.posted) == 2, "and of the end")
        await seen(hub, ["pi-50"], online=False, seconds_ago=3600)
        await until(lambda: len(server.posted) == 3, "one more")
        await tasks.close()
    first, second, third = (json.loads(posted.body) for posted in server.posted)
    assert first["kind"] == LOST and first["devices"] == many and first["text"].startswith("40 devices are offline")
    assert (
        second["resolved"]
        and second["devices"] == many[:3]
        and second["text"] == "3 devices are online again: pi-00, pi-01, pi-02"
    )
    assert third["text"] == "pi-50 is offline"
    await other.close()


async def test_what_was_told_before_a_restart_is_not_told_again(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    options = NotifyOptions(offline_seconds=1.0, gather_seconds=0.1)
    monkeypatch.setattr(notifypresence, "READ_SECONDS", 0.05)
    await seen(hub, ["pi-01"], online=False, seconds_ago=60)

    async def told() -> int:
        return (await hub.jetstream().stream_info(STREAM)).state.messages

    before = await told()
    for _ in range(2):
        tasks, teller = Tasks(), PresenceTeller(hub, options)
        tasks.start("tell", teller.run())
        await until(lambda teller=teller: "pi-01" in teller._lost._told, "it is known that it was told")  # type: ignore[misc]  # of this round
        await tasks.close()
    assert await told() == before + 1


async def test_of_more_devices_than_an_event_names_nobody_is_told_twice(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One instance tells; another, which begins then, and the first one itself, have nothing to add."""
    options = NotifyOptions(offline_seconds=1.0, gather_seconds=0.1)
    monkeypatch.setattr(notifylost, "MAX_NAMED_CHARACTERS", 40)
    monkeypatch.setattr(notifypresence, "READ_SECONDS", 0.05)
    many = [f"pi-{number:02}" for number in range(30)]
    await seen(hub, many, online=False, seconds_ago=60)
    for _ in range(2):
        tasks, teller = Tasks(), PresenceTeller(hub, options)
        tasks.start("tell", teller.run())
        await until(lambda teller=teller: len(teller._lost._told) == 30, "all are known to be told")  # type: ignore[misc]  # of this round
        await tasks.close()
    (event,) = [one async for one in read_all(hub, STREAM, subjects.event("hub", "*"), prefix=PREFIX)]
    data = wire.decode(event.data, wire.Event).data
    assert data["count"] == 30 and 0 < len(data["devices"]) < 30


def made(folder: Path, text: str) -> HubFolder:
    place = HubFolder(folder / "hub")
    place.create(HubOptions(name="berlin"))
    with place.options_file.open("a") as file:
        file.write(text)
    return place


async def test_a_test_message_says_what_the_receiver_answered(tmp_path: Path) -> None:
    server = Server(lambda number: 200 if number == 0 else 403)
    place = made(
        tmp_path,
        f"""
[notify.webhooks.ops]
url = "{server.url}/pis"
format = "ntfy"
[notify.webhooks.boss]
url_file = "boss.url"
format = "slack"
""",
    )
    async with server.running():
        ops, boss = await try_out(place, [])
        assert ops.taken and ops.said == "200 said" and json.loads(server.posted[0].body)["topic"] == "pis"
        assert not boss.taken and "boss.url" in boss.said
        (place.path / "boss.url").write_text(f"{server.url}/secret")
        (boss,) = await try_out(place, ["boss"])
        assert not boss.taken and boss.said == "403 said"
        with pytest.raises(UsageProblem, match="no webhook 'x'"):
            await try_out(place, ["x"])
    done = cli("hub", "notify", "test", "ops", "--dir", str(place.path))
    assert done.code == 1 and done.out.startswith("WRONG  ops  ") and server.url not in done.out


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param('[notify.webhooks.ops]\nformat = "fax"\nurl = "http://x"', "notify.webhooks.ops.format", id="format"),
        pytest.param("[notify.webhooks.ops]", "url: it is needed", id="no-url"),
        pytest.param('[notify.webhooks.ops]\nurl = "http://u:p@x"', "a name and a password do not belong", id="password"),
        pytest.param('[remote_write]\nurl = "ftp://x"', "remote_write.url", id="scheme"),
        pytest.param('[influx]\nurl = "http://x"', "influx.bucket", id="bucket"),
        pytest.param('[metrics]\nlisten = "9464"', "metrics.listen", id="listen"),
        pytest.param("[metric]\n", "did you mean metrics?", id="section"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        made(tmp_path, text).options()
    assert problem in str(caught.value)
