"""There is room for commands and outcomes for ever, whatever one device or one login stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from edgeagent import wire
from edgeagent.command import Entry
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError
from edgeagent.hub.retention_keeper import RetentionKeeper
from edgeagent.hub.streams import STREAMS
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.trust.signed import Signed
from tests.support.accounts import AccountsServer, running
from tests.support.servers import until

#: EDGE_RESULTS has 6 % of it, EDGE_COMMANDS 4 %.
STORE_BYTES = 32 << 20
#: So long is everything kept that all of it is old: the hub's clock for such things counts whole seconds.
SOON = -3600.0
CHUNKS = {"EDGE_METRICS": ("metric", 30 << 10), "EDGE_DATA": ("data", 200 << 10)}
NAMES = (
    *CHUNKS,
    "KV_edge_revocations",
    "EDGE_COMMANDS",
    "EDGE_RESULTS",
    "EDGE_EVENTS",
    "KV_edge_config",
    "KV_edge_trust",
    "EDGE_AUDIT",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("retention")) as server:
        yield server


@pytest_asyncio.fixture
async def hub(server: AccountsServer) -> AsyncIterator[Client]:
    made = await server.connect("HUB")
    js = made.jetstream()
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))
    for wanted in STREAMS:
        if wanted.name in NAMES:
            await js.add_stream(wanted.configuration(STORE_BYTES))
    yield made
    await made.close()


async def stored(hub: Client, stream: str) -> list[str]:
    return [item.subject async for item in read_all(hub, stream, ">", prefix="$JS.API")]


async def told(hub: Client) -> list[wire.Event]:
    return [wire.decode(item.data, wire.Event) async for item in read_all(hub, "EDGE_EVENTS", ">", prefix="$JS.API")]


async def filled(hub: Client, subject: str, size: int = 100_000, headers: dict[str, str] | None = None) -> int:
    """Store until there is no more room; how many were stored."""
    number = 0
    while True:
        try:
            await published(hub, f"{subject}.{number + 1}", b"x" * size, headers=headers)
        except EdgeError:
            return number
        number += 1


@pytest.mark.parametrize(
    ("size", "headers"),
    [(100_000, None), (0, {"X": "x" * 60_000}), (100_000, {"Nats-Msg-Size": "0"})],
    ids=["payload", "headers", "size-hidden"],
)
async def test_a_device_that_fills_the_outcomes_loses_its_own(hub: Client, size: int, headers: dict[str, str] | None) -> None:
    honest = [f"edge.from.pi-1.result.{number}" for number in range(2)]
    for subject in honest:
        await published(hub, subject, b"{}")
    number = await filled(hub, "edge.from.pi-666.result", size, headers)
    await RetentionKeeper(hub).look()
    left = await stored(hub, "EDGE_RESULTS")
    assert left[:2] == honest and left[-1] == f"edge.from.pi-666.result.{number}" and len(left) - 2 <= 0.6 * number
    await published(hub, "edge.from.pi-1.result.2", b"x" * 200_000)
    (purged,) = [event for event in await told(hub) if event.kind == "hub.results_purged"]
    assert purged.data["devices"] == ["pi-666"]


@pytest.mark.parametrize("headers", [None, {"X": "x" * 900}, {"Nats-Msg-Size": "0"}], ids=["payload", "headers", "size-hidden"])
@pytest.mark.parametrize("stream", CHUNKS)
async def test_a_device_that_fills_a_stream_of_chunks_loses_its_own(
    hub: Client, stream: str, headers: dict[str, str] | None
) -> None:
    what, size = CHUNKS[stream]
    js = hub.jetstream()
    limit = (await js.stream_info(stream)).config.max_bytes
    honest = [f"edge.from.pi-{number % 2}.{what}" for number in range(20)]
    for subject in honest:
        await published(hub, subject, b"x" * 1000)
    keeper, flood = RetentionKeeper(hub), 0
    for _ in range(3):
        while (await js.stream_info(stream)).state.bytes < 0.91 * limit:
            await published(hub, f"edge.from.pi-666.{what}", b"x" * size, headers=headers)
            flood += 1
        await keeper.look()
        left = await stored(hub, stream)
        assert left[:20] == honest and 0 < len(left) - 20 < flood
        assert (await js.stream_info(stream)).state.bytes < 0.75 * limit
    assert flood * size > limit


async def test_chunks_stay_while_there_is_room(hub: Client) -> None:
    limit = (await hub.jetstream().stream_info("EDGE_METRICS")).config.max_bytes
    for _ in range(count := int(0.85 * limit / (31 << 10))):
        await published(hub, "edge.from.pi-1.metric", b"x" * (30 << 10))
    await RetentionKeeper(hub).look()
    assert len(await stored(hub, "EDGE_METRICS")) == count


async def test_old_outcomes_go_when_it_is_tight_and_none_before(hub: Client) -> None:
    await published(hub, "edge.from.pi-1.result.a", b"x" * 200_000)
    keeper = RetentionKeeper(hub, keep_results=SOON)
    await keeper.look()
    assert await stored(hub, "EDGE_RESULTS") == ["edge.from.pi-1.result.a"]
    for number in range(5):
        await published(hub, f"edge.from.pi-2.result.{number}", b"x" * 200_000)
    await RetentionKeeper(hub).look()
    assert len(await stored(hub, "EDGE_RESULTS")) == 6
    await keeper.look()
    assert await stored(hub, "EDGE_RESULTS") == []


def entry(number: int, floor: int) -> bytes:
    body = Entry(id="X", action="ping", log="l", floor=floor, not_after=1, args={"x": "x" * 100_000})
    made = Signed(
        kind="command", scope="fleet.all", number=number, at=1, body=wire.encode(body).decode(), signer="", signature=""
    )
    return wire.encode(made)


async def test_old_entries_go_but_for_the_head_and_what_it_says_has_not_expired(hub: Client) -> None:
    await published(hub, "edge.to.group.a.cmd.1", b"rubbish")
    await published(hub, "edge.to.group.b.cmd.1", b"rubbish")
    await published(hub, "edge.to.group.b.cmd.2", b"rubbish")
    for number in range(1, 8):
        await published(hub, f"edge.to.fleet.all.cmd.{number}", entry(number, max(1, number - 1)))
    before = await stored(hub, "EDGE_COMMANDS")
    await RetentionKeeper(hub).look()
    assert await stored(hub, "EDGE_COMMANDS") == before
    await RetentionKeeper(hub, keep_entries=SOON).look()
    kept = ["edge.to.group.a.cmd.1", "edge.to.group.b.cmd.2", "edge.to.fleet.all.cmd.6", "edge.to.fleet.all.cmd.7"]
    assert await stored(hub, "EDGE_COMMANDS") == kept


async def test_whoever_looks_after_the_hub_hears_what_fills_and_what_the_audit_lost(hub: Client) -> None:
    async def audit() -> dict[str, int]:
        found: dict[str, int] = json.loads((await hub.request("$JS.API.STREAM.INFO.EDGE_AUDIT", b"")).data)["state"]
        return found

    async def kinds() -> list[tuple[str, object]]:
        return [(event.kind, event.data.get("stream")) for event in await told(hub)]

    keeper, number = RetentionKeeper(hub), 0
    while (await audit())["first_seq"] < 2:
        number += await filled(hub, f"edge.to.group.a{number}.cmd")

        async def is_copied(number: int = number) -> bool:
            return (await audit())["last_seq"] == number

        await until(is_copied, "all is in the audit")
        if number < 20:
            for _ in range(2):
                await keeper.look()
            assert await kinds() == [("hub.store_fills", "EDGE_COMMANDS")]
        await hub.jetstream().purge_stream("EDGE_COMMANDS")
    await keeper.look()
    assert (await kinds())[1:] == [("hub.store_fills", "EDGE_AUDIT"), ("hub.audit_lost", None)]
