"""What operators see of programs' messages and of events on a real hub, also of hostile devices, by the API and the CLI."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import subjects, wire
from edgeagent.errors import UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.chosen import Whose
from edgeagent.fleet.following import last_sequence
from edgeagent.fleet.leftout import LeftOut
from edgeagent.publish import published
from edgeagent.trust.creds import Credentials
from tests.support.administering import inside
from tests.support.chunking import Sender, logins, now_ms, point, senders
from tests.support.fleet import LiveFleet, cli, start_cli
from tests.support.servers import until

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("data"), 0) as fleet, fleet.borrowed():
        yield fleet


@pytest.fixture(scope="module")
def known(hub: LiveFleet) -> dict[str, Credentials]:
    return asyncio.run(logins(hub))


@pytest_asyncio.fixture
async def devices(hub: LiveFleet, known: dict[str, Credentials]) -> AsyncIterator[dict[str, Sender]]:
    async with senders(hub, known) as found:
        yield found


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


# ---- data --------------------------------------------------------------------------------------------------------------------


async def test_messages_are_told_by_topic_and_time(fleet: Fleet, devices: dict[str, Sender]) -> None:
    now = now_ms()
    await devices["pi-01"].data(("told.front", now - 1000, b"3"), ("told.back.bell", now - 900, b"4"))
    await devices["pi-02"].data(("told.front", now - 950, b"3.5"))
    await devices["pi-01"].data(("told.front", now - 5000, b"1"), ("told.back", now - 4000, b"2"), ("other", now, b"0"))

    async def bodies(topic: str, whose: Whose) -> list[bytes]:
        return [message.body async for message in fleet.data.history(topic, whose, since=HOUR)]

    assert await bodies("told.>", Whose()) == [b"1", b"2", b"3", b"3.5", b"4"]
    assert await bodies("told.*", Whose(devices=["pi-01"])) == [b"1", b"2", b"3"]
    assert await bodies("told.front", Whose(groups=["munich"])) == []
    with pytest.raises(UsageProblem, match="no topic"):
        await bodies("told..", Whose())


async def test_a_hostile_device_breaks_nothing_of_others(fleet: Fleet, devices: dict[str, Sender]) -> None:
    now, left, heard = now_ms(), LeftOut(), list[bytes]()
    ready = asyncio.Event()
    tail = fleet.data.tail("hostile", ready=ready.set)
    async with aclosing(tail):
        first = asyncio.ensure_future(anext(tail))
        await until(ready.is_set, "the tail listens")
        await devices["pi-02"].store("data", b"\xff" * 500_000)
        await devices["pi-02"].data(("hostile", now + 86_400_000, b"far"), ("hostile\x1b[2J", now, b"odd"))
        await devices["pi-01"].data(("hostile", now, b"good"))
        heard.append((await first).body)
    assert heard == [b"good"]
    found = [message.body async for message in fleet.data.history("hostile", since=HOUR, left=left)]
    assert found == [b"good"] and left.ahead == {"pi-02": 1} and list(left.unreadable) == ["pi-02"]


async def test_exports(devices: dict[str, Sender], tmp_path: Path) -> None:
    now = now_ms()
    await devices["pi-01"].data(("export.a", now - 20, "grüß\x1b".encode()), ("export.b", now - 10, b"\xff\x00"))
    await devices["pi-02"].data(("export.a", now, b"{}"))
    words = ["data", "export", "export.*", "--since", "1h"]
    said = await asyncio.to_thread(cli, *words)
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [(row["device"], row["topic"], row.get("data")) for row in rows] == [
        ("pi-01", "export.a", "grüß\x1b"),
        ("pi-01", "export.b", None),
        ("pi-02", "export.a", "{}"),
    ]
    assert base64.b64decode(rows[1]["data_base64"]) == b"\xff\x00" and "\x1b" not in said.out and "3 messages in " in said.err
    raw = await asyncio.to_thread(cli, *words, "--format", "raw", "-O", str(tmp_path))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert raw.code == 0 and [path.relative_to(tmp_path).parts[:2] for path in files] == [
        ("pi-01", "export.a"),
        ("pi-01", "export.b"),
        ("pi-02", "export.a"),
    ]
    assert files[1].read_bytes() == b"\xff\x00"
    assert (await asyncio.to_thread(cli, "data", "export", "export.a", "-d", "pi-02", "--format", "raw")).out == "{}"
    assert (await asyncio.to_thread(cli, *words, "--format", "raw")).code == 2


async def test_a_tail_on_the_command_line(devices: dict[str, Sender]) -> None:
    tail = start_cli("data", "tail", "tail.>")
    try:
        assert tail.stderr and tail.stdout
        assert "listening" in await asyncio.to_thread(tail.stderr.readline)
        await devices["pi-01"].data(("tail.a\x1b", now_ms(), b"one\x1b[2J\ntwo"), ("tail.b", now_ms(), b"\xff"))
        first = await asyncio.to_thread(tail.stdout.readline)
        assert first.endswith(
            "pi-01  tail.a\N{REPLACEMENT CHARACTER}  one\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}two\n"
        )
        assert (await asyncio.to_thread(tail.stdout.readline)).endswith("tail.b  1 bytes that are no text\n")
        tail.terminate()
        assert await asyncio.to_thread(tail.wait, 30) == 143 and await asyncio.to_thread(tail.stderr.read) == ""
    finally:
        tail.kill()
        tail.wait()


# ---- events ------------------------------------------------------------------------------------------------------------------


async def hub_event(hub: LiveFleet, text: str) -> None:
    async with inside(hub) as client:
        await published(client, subjects.event(subjects.HUB, "error"), wire.encode(wire.Event(kind="test.hub", text=text)))


async def test_events_of_devices_and_of_the_hub(hub: LiveFleet, fleet: Fleet, devices: dict[str, Sender]) -> None:
    start = await last_sequence(fleet.client, "EDGE_EVENTS")
    await devices["pi-01"].event("warning", "first", id="a")
    await devices["pi-01"].event("warning", "first", id="a")
    await devices["pi-02"].event("info", "second", id="a")
    await hub_event(hub, "third")
    left = LeftOut()
    await devices["pi-03"].store("event.error", b"\x1b no event")

    async def texts(whose: Whose = Whose(), least: str = "info") -> list[str]:  # noqa: B008  # frozen
        events = fleet.events.history(whose, since=HOUR, least=least, left=left)
        return [event.text async for event in events if event.sequence > start]

    assert await texts() == ["first", "second", "third"] and left.unreadable["pi-03"][0] == 1
    assert await texts(least="warning") == ["first", "third"] and await texts(least="error") == ["third"]
    assert await texts(Whose(groups=["berlin"])) == ["first", "second"]
    assert await texts(Whose(devices=["hub"])) == ["third"] and await texts(Whose(devices=["hub", "pi-02"])) == [
        "second",
        "third",
    ]


async def test_following_begins_with_what_there_was_and_tells_each_once(fleet: Fleet, devices: dict[str, Sender]) -> None:
    await devices["pi-01"].event("error", "before", id="before")
    ready, told = asyncio.Event(), list[str]()
    events = fleet.events.follow(Whose(devices=["pi-01"]), since=HOUR, least="error", ready=ready.set)

    async def follow() -> None:
        async with aclosing(events):
            async for event in events:
                told.append(event.text)

    task = asyncio.create_task(follow())
    try:
        await until(ready.is_set, "it listens")
        await devices["pi-01"].event("error", "before", id="before")
        await devices["pi-02"].event("error", "of another")
        await devices["pi-01"].event("info", "too mild")
        await devices["pi-01"].event("critical", "after", id="after")
        await until(lambda: "after" in told, "what came after is told")
        assert told.count("before") == 1 and told[-2:] == ["before", "after"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_a_person_aims_at_anothers_view_hides_nothing(fleet: Fleet, devices: dict[str, Sender]) -> None:
    """A Direct Get names its reply, and may name a live view: its answer has the sequence of another stream."""
    while await last_sequence(fleet.client, subjects.METRICS) < await last_sequence(fleet.client, "EDGE_EVENTS") + 10:
        await devices["pi-01"].metrics(point(now_ms(), 1))
    ready = asyncio.Event()
    events = fleet.events.follow(ready=ready.set)
    async with aclosing(events):
        first = asyncio.ensure_future(anext(events))
        await until(ready.is_set, "it listens")
        aimed = subjects.live("pi-01", "event.error")
        heard = await fleet.client.subscribe(aimed)
        await fleet.client.publish(subjects.direct_get(subjects.METRICS, subjects.metric("pi-01")), b"", reply=aimed)
        assert (await heard.next_msg(10)).headers["Nats-Stream"] == subjects.METRICS, "the attack works as such"
        await devices["pi-01"].event("error", "not hidden")
        assert (await first).text == "not hidden"


async def test_following_nothing_but_what_comes(fleet: Fleet, devices: dict[str, Sender]) -> None:
    await devices["pi-01"].event("error", "old")
    ready = asyncio.Event()
    events = fleet.events.follow(ready=ready.set)
    async with aclosing(events):
        first = asyncio.ensure_future(anext(events))
        await until(ready.is_set, "it listens")
        await devices["pi-01"].event("debug", "new")
        assert (await first).text == "new"


async def test_events_on_the_command_line(devices: dict[str, Sender]) -> None:
    await devices["pi-03"].event("critical", "on \x1b[31mfire\nfake line", kind="battery\u202e", time="2026-11-21T10:00:00Z")
    said = await asyncio.to_thread(cli, "events", "-d", "pi-03", "--severity", "critical", "--since", "1h")
    row = said.out.splitlines()[1]
    assert said.code == 0 and "\x1b" not in said.out and "\u202e" not in said.out and "pi-03" in row and "fake line" in row
    (found,) = json.loads((await asyncio.to_thread(cli, "events", "-d", "pi-03", "--severity", "critical", "--json")).out)
    assert (
        found["text"] == "on \x1b[31mfire\nfake line"
        and found["device"] == "pi-03"
        and found["time"] == "2026-11-21T10:00:00.000Z"
    )
    follow = start_cli("events", "-f", "-d", "pi-03", "--severity", "critical", "-o", "ndjson")
    try:
        assert follow.stdout
        assert json.loads(await asyncio.to_thread(follow.stdout.readline)) == found, "both have the same form"
        await devices["pi-03"].event("critical", "again")
        assert json.loads(await asyncio.to_thread(follow.stdout.readline))["text"] == "again"
    finally:
        follow.kill()
        follow.communicate()
