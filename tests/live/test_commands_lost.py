"""What gets lost between two who both did their part: acknowledgements, a hub that is killed between two logs, a hub with no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import direct, publish, subjects
from edgeagent.command import CANCEL, is_final
from edgeagent.direct import get_last, read_all
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.fleet import Fleet
from edgeagent.fleet.commandentry import LogEntry, log_entry
from tests.support.administering import inside, registered
from tests.support.commanding import Author, CommandDevice, heard, person, pins_of, result_of
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet
from tests.support.lossy import Lossy
from tests.support.servers import kill, until
from tests.support.trusthub import TrustHub

STREAM = "EDGE_COMMANDS"
BOTH = ("pi-01", "pi-02")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("lost"), 0) as fleet, fleet.borrowed():
        for device in BOTH:
            asyncio.run(_register(fleet, device))
        yield fleet


async def _register(hub: LiveFleet, device: str) -> None:
    await registered(hub, device, "berlin")


@pytest_asyncio.fixture
async def hub(running: LiveFleet, monkeypatch: pytest.MonkeyPatch) -> LiveFleet:
    """Whose answers are not waited for so long."""
    monkeypatch.setattr(publish, "ACK_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(direct, "TIMEOUT_SECONDS", 1.0)
    return running


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


def through(hub: LiveFleet, way: Lossy) -> Fleet:
    return Fleet(url=way.url, credentials=hub.credentials)


async def entries(fleet: Fleet, command: str) -> list[LogEntry]:
    """All that the hub has of a command, its cancels included."""
    found = [log_entry(item) async for item in read_all(fleet.client, STREAM, "edge.to.*.*.cmd.*")]
    return [each for each in found if each and each.entry and command in (each.entry.id, each.entry.args.get("id"))]


async def scopes(command: str) -> list[str]:
    """In which logs it stands, once the hub is there; a log where it stood twice would be there twice."""
    found: list[list[str]] = []

    async def read() -> bool:
        try:
            async with Fleet() as fleet:
                found.append(sorted(str(each.scope) for each in await entries(fleet, command)))
        except EdgeError:
            return False
        return True

    await until(read, "the hub is back", PATIENCE_SECONDS)
    return found[-1]


# ---- who sends -------------------------------------------------------------------------------------------------------------


async def test_a_lost_acknowledgement_is_made_good_by_reading(hub: LiveFleet, fleet: Fleet) -> None:
    async with Lossy(hub.hub.options().client_port, STREAM) as way, through(hub, way) as sender:
        running = await sender.commands.run("ping", devices=BOTH)
        assert way.lost == 1
    assert await scopes(running.id) == ["device.pi-01", "device.pi-02"]


async def test_what_cannot_be_known_is_told_with_its_id(hub: LiveFleet, fleet: Fleet) -> None:
    async with Lossy(hub.hub.options().client_port, STREAM, for_good=True) as way, through(hub, way) as sender:
        order = await sender.commands.prepare("ping", devices=["pi-01"])
        with pytest.raises(Unreachable, match=f"may be stored all the same: `edgeagent cmd show {order.id}`"):
            await sender.commands.send(order)
        with pytest.raises(Unreachable, match=r"^cannot send the command: .*Nothing was written"):
            await sender.commands.send(order)
    assert await scopes(order.id) == ["device.pi-01"]


async def test_what_got_into_one_of_two_logs_is_told_with_its_id(hub: LiveFleet, fleet: Fleet) -> None:
    """The acknowledgement of the second one is lost for good; so is that of a cancel, which is given once more."""
    port = hub.hub.options().client_port
    async with Lossy(port, STREAM, after=1, for_good=True) as way, through(hub, way) as sender:
        order = await sender.commands.prepare("ping", devices=BOTH)
        with pytest.raises(
            Failed, match=rf"not known to be in 1 of 2 logs \(device.pi-02\).*`edgeagent cmd show {order.id}` follows"
        ):
            await sender.commands.send(order)
    async with Lossy(port, STREAM, after=1, for_good=True) as way, through(hub, way) as sender:
        with pytest.raises(Failed, match=f"`edgeagent cmd cancel {order.id}` again"):
            await sender.commands.cancel(order.id)
    assert (await fleet.commands.cancel(order.id)).id == order.id
    actions = [each.entry.action for each in await entries(fleet, order.id) if each.entry]
    assert actions.count("ping") == 2 and actions.count(CANCEL) == 4


async def test_a_hub_that_is_killed_between_two_logs_leaves_a_command_that_can_be_followed(hub: LiveFleet) -> None:
    port = hub.hub.options().client_port
    async with Lossy(port, STREAM, on_loss=lambda: kill(hub.hub_pid("server"))) as way, through(hub, way) as sender:
        order = await sender.commands.prepare("ping", devices=BOTH)
        with pytest.raises(Failed, match=f"cmd show {order.id}"):
            await sender.commands.send(order)
        there = await scopes(order.id)
        assert there[0] == "device.pi-01" and len(set(there)) == len(there)
        async with Fleet() as other:
            followed = await other.commands.get(order.id)
            assert [str(scope) for scope in followed.command.scopes] == there


async def test_a_hub_without_room_says_so_and_keeps_no_half(hub: LiveFleet, fleet: Fleet) -> None:
    order = await fleet.commands.prepare("ping", devices=BOTH)
    async with inside(hub) as client:
        js = client.jetstream()
        info = await js.stream_info(STREAM)
        before = info.config.max_bytes
        await js.update_stream(info.config, max_bytes=info.state.bytes)
        try:
            with pytest.raises(Failed, match=r"the hub has no room for more commands \(maximum bytes exceeded\)"):
                await fleet.commands.send(order)
            assert await scopes(order.id) == []
        finally:
            await js.update_stream(info.config, max_bytes=before)
    await fleet.commands.send(order)
    assert await scopes(order.id) == ["device.pi-01", "device.pi-02"]


# ---- who carries it out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1], ids=["accepted", "outcome"])
async def test_a_device_whose_acknowledgement_is_lost_runs_it_once_and_tells_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(publish, "ACK_TIMEOUT_SECONDS", 1.0)
    out = tmp_path / "out"
    async with TrustHub(tmp_path / "hub") as hub, Lossy(hub.port, "EDGE_RESULTS", after=after) as way:
        author = Author(await hub.connect("OPS"), person(hub))
        device = CommandDevice(await hub.connect("FLEET", way.port), tmp_path / "device")
        device.trust(pins_of(hub))
        async with device.running():
            name = await author.send("test.append", {"path": str(out)})
            await until(lambda: way.lost == 1, "it is lost")
            assert (await heard(author.client, name)).state == "succeeded"
            await until(lambda: not device.journal.counts(), "nothing is left to tell")
            stored = await get_last(author.client, "EDGE_RESULTS", subjects.result("pi-1", name))
            assert stored and device.journal.command(name).fence == stored.sequence
            assert is_final((await result_of(author.client, name)).state)  # type: ignore[union-attr]
    assert out.read_text() == "x\n"
