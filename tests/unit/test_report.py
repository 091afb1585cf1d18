"""Heartbeats and reports, against a server that stores them as the hub does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from edgeagent import __version__, direct, link, publish, wire
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.link import settle
from edgeagent.patterns import report
from edgeagent.patterns.micro import Micro
from edgeagent.patterns.report import Reporter
from edgeagent.publish import published
from tests.support.accounts import AccountsServer, running
from tests.support.servers import until

SUBJECTS = ("edge.from.*.report", "edge.from.*.heartbeat")


class Facts:
    def __init__(self) -> None:
        self.now: wire.Facts = {"model": "Pi 4", "list": [1, 2]}

    def stable(self) -> wire.Facts:
        return self.now


class Rig:
    """A reporter at work, and the hub's side to look at."""

    def __init__(self, client: Client, hub: Client) -> None:
        self.client, self.hub, self.facts = client, hub, Facts()
        self.config = wire.ConfigState()
        self.links: list[EdgeError | None] = []
        self.reports: list[EdgeError | None] = []
        self.reporter = Reporter(
            client,
            "pi-01",
            self.facts,
            heartbeat_seconds=3600,
            facts_seconds=0.01,
            boot="b",
            on_link=self.links.append,
            on_report=self.reports.append,
            config=lambda: self.config,
        )

    async def stored(self, what: str) -> direct.Stored | None:
        return await direct.get_last(self.hub, "EDGE_REPORTS", f"edge.from.pi-01.{what}", prefix="$JS.API")

    async def facts_on_hub(self) -> wire.Facts | None:
        found = await self.stored("report")
        return wire.decode(found.data, wire.Report).facts if found else None

    async def facts_are(self, wanted: wire.Facts) -> bool:
        return await self.facts_on_hub() == wanted

    async def config_is_reported(self) -> bool:
        found = await self.stored("report")
        return found is not None and wire.decode(found.data, wire.Report).config == self.config

    async def beats(self, count: int) -> None:
        await until(lambda: len(self.links) >= count, f"{count} heartbeats")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.reporter.heartbeats()), asyncio.create_task(self.reporter.reports())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("report")) as server:
        yield server


@pytest.fixture
async def rig(server: AccountsServer) -> AsyncIterator[Rig]:
    await server.make_stream("EDGE_REPORTS", *SUBJECTS)
    client, hub = await server.connect("FLEET"), await server.connect("HUB")
    yield Rig(client, hub)
    await client.close()
    await hub.close()


async def test_a_usual_heartbeat_says_nothing_twice(rig: Rig) -> None:
    rig.reporter.set_intervals(heartbeat_seconds=60, facts_seconds=0.01)
    async with rig.running():
        await rig.beats(1)
    beat = await rig.stored("heartbeat")
    assert beat and beat.data == b"{}" and wire.decode(beat.data, wire.Heartbeat).heartbeat_seconds == 60


async def test_the_first_heartbeat_brings_the_report(rig: Rig) -> None:
    async with rig.running():
        await rig.beats(1)
    beat, said = await rig.stored("heartbeat"), await rig.stored("report")
    assert beat and said and rig.links == [None]
    assert wire.decode(beat.data, wire.Heartbeat).heartbeat_seconds == 3600
    found = wire.decode(said.data, wire.Report)
    assert (found.id, found.facts, found.boot, found.heartbeat_seconds) == ("pi-01", rig.facts.now, "b", 3600)
    assert found.instance


async def test_changed_facts_are_reported_without_waiting_for_the_heartbeat(rig: Rig) -> None:
    async with rig.running():
        await rig.beats(1)
        rig.facts.now = {"model": "Pi 5"}
        await rig.beats(2)
        assert await rig.facts_on_hub() == {"model": "Pi 5"}


async def test_the_same_facts_are_not_reported_again(rig: Rig) -> None:
    async with rig.running():
        await rig.beats(1)
        first = await rig.stored("report")
        rig.reporter.link_came()
        await rig.beats(2)
        again, beat = await rig.stored("report"), await rig.stored("heartbeat")
    assert first and again and beat and first.sequence == again.sequence < beat.sequence


@pytest.mark.parametrize(
    "hub_has",
    [
        None,
        b"\xff",
        wire.encode(
            wire.Report(id="pi-01", facts={"model": "Pi 4", "list": [1, 2]}, instance="another run", heartbeat_seconds=3600)
        ),
    ],
)
async def test_a_hub_that_lost_our_report_gets_it_again_when_the_link_comes(rig: Rig, hub_has: bytes | None) -> None:
    async with rig.running():
        await rig.beats(1)
        await rig.hub.jetstream().purge_stream("EDGE_REPORTS")
        if hub_has is not None:
            await rig.hub.request("edge.from.pi-01.report", hub_has)
        rig.reporter.link_came()
        await rig.beats(2)
        found = await rig.stored("report")
    assert found and wire.decode(found.data, wire.Report).facts == rig.facts.now
    assert wire.decode(found.data, wire.Report).instance != "another run"


async def test_a_hub_that_does_not_acknowledge_is_no_link(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(publish, "ACK_TIMEOUT_SECONDS", 0.2)
    await rig.hub.jetstream().delete_stream("EDGE_REPORTS")
    async with rig.running():
        await rig.beats(2)
        assert all(isinstance(error, Unreachable) for error in rig.links)
        stream = (await rig.hub.jetstream().add_stream(name="EDGE_REPORTS", subjects=list(SUBJECTS), allow_direct=True)).config
        assert stream.allow_direct
        await until(lambda: rig.links[-1] is None, "the link is good again")
    assert await rig.facts_on_hub() == rig.facts.now


async def test_what_was_sent_over_an_older_link_says_nothing_of_this_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "ACK_TIMEOUT_SECONDS", 0.5)
    await rig.hub.jetstream().delete_stream("EDGE_REPORTS")
    heard = asyncio.Event()

    async def hear(message: Msg) -> None:  # and acknowledge nothing
        heard.set()

    deaf = await rig.hub.subscribe("edge.from.pi-01.heartbeat", cb=hear)
    await settle(rig.hub, what="listen")
    async with rig.running():
        await asyncio.wait_for(heard.wait(), 30)
        rig.reporter.link_changed()
        await deaf.unsubscribe()
        await rig.hub.jetstream().add_stream(name="EDGE_REPORTS", subjects=list(SUBJECTS), allow_direct=True)
        rig.reporter.link_came()
        await rig.beats(1)
    assert rig.links[0] is None


async def test_a_report_that_the_hub_refuses_does_not_unmake_the_link(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RETRY_SECONDS", 0.01)
    await rig.hub.jetstream().update_stream(
        name="EDGE_REPORTS",
        subjects=list(SUBJECTS),
        allow_direct=True,
        max_msg_size=150,
        max_msgs_per_subject=1,
        storage="memory",
    )
    rig.facts.now = {"model": "x" * 150}
    async with rig.running():
        await rig.beats(2)
        assert set(rig.links) == {None}
        assert all(isinstance(error, Failed) and "message size exceeds" in error.why for error in rig.reports)
        rig.facts.now = {"model": "x"}
        await until(lambda: rig.reports[-1] is None, "a smaller one is taken")
    assert await rig.facts_on_hub() == {"model": "x"}


async def test_failures_are_retried_soon_at_first_and_then_ever_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses themselves: nothing is waited for."""
    pauses: list[float] = []
    outcomes = iter([False, False, False, True, False])

    async def beat() -> bool:
        return next(outcomes)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(report, "jittered", lambda seconds: seconds)
    monkeypatch.setattr(rig.reporter, "_beat", beat)
    monkeypatch.setattr(rig.reporter, "_pause", pause)
    with pytest.raises(asyncio.CancelledError):
        await rig.reporter.heartbeats()
    assert pauses == [2, 4, 8, 3600, 2]


async def test_a_heartbeat_that_is_stuck_is_a_failed_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over a leaf that hangs and takes no byte: nats-py waits for it without an end."""
    monkeypatch.setattr(report, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(report, "RETRY_SECONDS", 0.01)

    async def stuck(*_: object) -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    monkeypatch.setattr(report, "published", stuck)
    async with rig.running():
        await rig.beats(2)
    assert all(isinstance(error, Unreachable) and "took nothing" in error.why for error in rig.links)


async def test_progress_is_expected_of_heartbeats_and_of_pauses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the hub is away: a device that is offline makes progress, too."""
    expected: list[float] = []
    monkeypatch.setattr(rig.reporter._progress, "within", expected.append)
    rig.reporter.set_intervals(heartbeat_seconds=900, facts_seconds=3600)
    async with rig.running():
        await rig.beats(1)
        await until(lambda: len(expected) >= 2, "it pauses")
        rig.reporter.link_came()
        await rig.beats(2)
    beat, pause, *_ = expected
    assert beat == report.BEAT_SECONDS + report.SLACK_SECONDS
    assert 0.9 * 900 <= pause - report.SLACK_SECONDS <= 1.1 * 900


async def test_what_a_stream_refuses_is_no_success(rig: Rig) -> None:
    assert await published(rig.client, "edge.from.pi-01.report", b"1") == 1
    await rig.hub.jetstream().update_stream(
        name="EDGE_REPORTS", subjects=list(SUBJECTS), allow_direct=True, max_msg_size=10, max_msgs_per_subject=1, storage="memory"
    )
    with pytest.raises(Failed, match=r"cannot store edge\.from\.pi-01\.report: message size exceeds maximum allowed"):
        await published(rig.client, "edge.from.pi-01.report", b"x" * 100)
    with pytest.raises(Unreachable):
        await published(rig.client, "edge.to.pi-01.nobody", b"x")


async def test_nats_own_tools_list_the_agent(rig: Rig) -> None:
    micro, off = Micro(rig.client, "pi-01"), Micro(rig.hub, "pi-02")
    await micro.switch(on=True)
    await off.switch(on=False)
    await settle(rig.client, what="settle")
    answer = await rig.client.request("$SRV.INFO.edgeagent", b"", timeout=60)
    assert b'"device":"pi-01"' in answer.data.replace(b" ", b"") and __version__.encode() in answer.data
    with pytest.raises(EdgeError):
        await link.request(rig.hub, "$SRV.INFO.edgeagent", what="ask")


async def test_answering_natss_own_tools_is_switched_while_it_runs(rig: Rig) -> None:
    micro = Micro(rig.client, "pi-01")

    async def answers() -> bool:
        await settle(rig.client, what="settle")
        try:
            await rig.client.request("$SRV.PING.edgeagent", b"", timeout=1)
        except NoRespondersError:
            return False
        return True

    assert not await answers()
    for on in (True, True, False, False, True):
        await micro.switch(on=on)
        assert await answers() == on


async def test_other_intervals_count_at_once(rig: Rig) -> None:
    async with rig.running():
        await rig.beats(1)
        rig.reporter.set_intervals(heartbeat_seconds=0.05, facts_seconds=3600)
        await rig.beats(4)
        beat = await rig.stored("heartbeat")
        assert beat and wire.decode(beat.data, wire.Heartbeat).heartbeat_seconds == 0.05
        rig.reporter.set_intervals(heartbeat_seconds=3600, facts_seconds=0.01)
        rig.facts.now = {"model": "Pi 5"}
        await until(lambda: rig.facts_are({"model": "Pi 5"}), "the facts are looked at again")


async def test_what_is_said_of_the_configuration_is_reported_when_it_changed(rig: Rig) -> None:
    async with rig.running():
        await rig.beats(1)
        rig.config = wire.ConfigState(
            scopes={"fleet.all": wire.ScopeState(desired=2, applied=1, error="no")}, values={"a.b": [1, 2.5]}
        )
        rig.reporter.facts_changed()
        await until(rig.config_is_reported, "it is reported")
