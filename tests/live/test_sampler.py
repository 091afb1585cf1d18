"""The agent's own samples in a real JetStream: each once and in order, whatever happens to acknowledgements and to the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.collectors import Collector, Metric, Round
from edgeagent.errors import EdgeError
from edgeagent.link import Client, connect
from edgeagent.localsubjects import LOCAL_METRICS, local_metric
from edgeagent.machine import Machine
from edgeagent.patterns import localstore, ownlog, samplewriter
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.sampler import Sampler
from edgeagent.patterns.samplewriter import SampleWriter
from edgeagent.runtime import Tasks
from edgeagent.sample import MAX_PAYLOAD_BYTES, Sample, encode_samples, parse
from edgeagent.schema import SamplingSettings
from edgeagent.settings import Settings
from tests.support.lossy import Lossy
from tests.support.servers import PlainHub, until

STORE_BYTES = 32 << 20
COUNT = Metric("count", "{round}", "Which round it is.")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[PlainHub]:
    async with PlainHub(tmp_path) as server:
        yield server


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = await connect(url, what="reach it", name="test", inbox_prefix="_INBOX.test")
    try:
        yield client
    finally:
        await client.close()


@pytest_asyncio.fixture
async def client(server: PlainHub) -> AsyncIterator[Client]:
    async with connected(server.url) as client:
        await localstore.ensure(client, STORE_BYTES)
        yield client


async def stored(client: Client) -> list[tuple[str, list[Sample]]]:
    """Source and samples of every message, in order."""
    js = client.jetstream()
    state = (await js.stream_info(LOCAL_METRICS)).state
    found = []
    for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
        message = await js.get_msg(LOCAL_METRICS, sequence)
        assert message.subject and message.data
        found.append((message.subject.split(".")[2], parse(message.subject, message.data)))
    return found


def numbered(first: int, count: int) -> list[Sample]:
    return [Sample("n", number, {"some": "attribute"}, 1_700_000_000.0) for number in range(first, first + count)]


async def values(client: Client, source: str = "agent") -> list[float]:
    return [sample.value for each, samples in await stored(client) if each == source for sample in samples]


async def test_a_flush_is_one_message_a_source(client: Client) -> None:
    writer = SampleWriter(client)
    writer.add("agent", numbered(0, 3))
    writer.add("till", numbered(5, 1))
    writer.add("agent", numbered(3, 2))
    assert writer.waiting == 6 and await writer.flush() is None and writer.waiting == 0
    assert await stored(client) == [("agent", numbered(0, 5)), ("till", numbered(5, 1))]
    assert await writer.flush() is None and len(await stored(client)) == 2, "nothing is no message"


async def test_messages_have_a_size(client: Client) -> None:
    writer = SampleWriter(client)
    writer.add("agent", numbered(0, 600))
    writer.add("large", [Sample("n", number, {f"{word}{'x' * 150}": "y" * 190 for word in range(8)}) for number in range(100)])
    assert await writer.flush() is None
    assert await values(client) == [*range(600)] and await values(client, "large") == [*range(100)]
    sizes = [len(samples) for source, samples in await stored(client) if source == "large"]
    assert len(sizes) > 5 and all(size * 3000 < MAX_PAYLOAD_BYTES + 3000 for size in sizes)


def sized(length: int) -> Sample:
    """One that has so many bytes in a message of its own, or up to five fewer."""
    many = {f"{number:02}": "\x01" * 200 for number in range(15)}  # as JSON each character has six bytes
    missing = length - len(encode_samples([Sample("n", 9, many)]))
    each, more = divmod(missing // 6, 15)
    return Sample("n", 9, {name + "\x01" * (each + (index < more)): value for index, (name, value) in enumerate(many.items())})


@pytest.mark.parametrize(
    ("beyond", "fits"),
    [
        pytest.param(600, False, id="more than a message has"),
        pytest.param(-30, False, id="with its header more than the store takes"),
        pytest.param(-600, True, id="nearly all"),
    ],
)
async def test_one_that_is_too_large_holds_up_no_other(client: Client, beyond: int, fits: bool) -> None:
    writer = SampleWriter(client)
    large = sized(MAX_PAYLOAD_BYTES + beyond)
    assert 0 <= MAX_PAYLOAD_BYTES + beyond - len(encode_samples([large])) < 6
    writer.add("agent", [*numbered(1, 1), large, *numbered(2, 1)])
    assert await writer.flush() is None and writer.waiting == 0
    assert await values(client) == ([1, 9, 2] if fits else [1, 2]) and writer.dropped == (not fits)


async def test_a_lost_acknowledgement_stores_nothing_twice(
    server: PlainHub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownlog, "ACK_SECONDS", 0.5)
    async with Lossy(server.port, LOCAL_METRICS, after=1) as way, connected(way.url) as device:
        writer = SampleWriter(device)
        for first in (0, 3, 6):
            writer.add("agent", numbered(first, 3))
            await writer.flush()

        async def all_written() -> bool:
            return await writer.flush() is None and not writer.waiting

        await until(all_written, "everything is written")
        assert way.lost == 1 and await values(client) == [*range(9)]


async def test_a_new_writer_goes_on_after_the_last_message(client: Client) -> None:
    for first in (0, 3):
        writer = SampleWriter(client)
        writer.add("agent", numbered(first, 3))
        assert await writer.flush() is None
    assert await values(client) == [*range(6)]


async def test_a_store_that_was_emptied_or_written_by_another_is_written_all_the_same(client: Client) -> None:
    writer = SampleWriter(client)
    writer.add("agent", numbered(0, 1))
    assert await writer.flush() is None
    await client.jetstream().publish(local_metric("agent"), b"7")
    writer.add("agent", numbered(1, 1))
    assert await writer.flush() is None
    await client.jetstream().purge_stream(LOCAL_METRICS)
    writer.add("agent", numbered(2, 1))
    assert await writer.flush() is None and await values(client) == [2]


async def test_while_there_is_no_store_they_wait_and_the_oldest_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplewriter, "MAX_WAITING", 10)
    monkeypatch.setattr(samplewriter, "MAX_MESSAGE_SAMPLES", 5)
    await client.jetstream().delete_stream(LOCAL_METRICS)
    writer = SampleWriter(client)
    writer.add("agent", numbered(0, 10))
    assert isinstance(await writer.flush(), EdgeError)
    writer.add("agent", numbered(10, 10))
    assert (writer.waiting, writer.dropped) == (15, 5), "what was tried may be stored already, so it stays"
    await localstore.ensure(client, STORE_BYTES)
    assert await writer.flush() is None
    assert await values(client) == [*range(5), *range(10, 20)]


class Counting:
    """A collector of the number of the round."""

    def __init__(self) -> None:
        self.rounds = 0

    def __call__(self, round: Round) -> list[Sample]:
        self.rounds += 1
        return [COUNT(self.rounds)]


def sampler_of(client: Client, settings: Settings, seen: list[tuple[str, list[Sample]]]) -> Sampler:
    counting = Collector("counting", (COUNT,), Counting, "tests")
    healths = Healths(lambda *told, **data: None)

    def see(source: str, samples: list[Sample]) -> None:
        seen.append((source, samples))

    return Sampler(client, Machine(), settings, healths, on_samples=see, wanted=[counting])


async def test_it_samples_and_writes_until_it_is_ended(client: Client) -> None:
    seen: list[tuple[str, list[Sample]]] = []
    sampler = sampler_of(client, Settings(sampling=SamplingSettings(interval_seconds=3600, flush_seconds=3600)), seen)
    tasks = [asyncio.create_task(each) for each in (sampler.rounds(), sampler.flushes())]
    try:
        await until(lambda: len(seen) == 1, "the first round is at once")
        assert await stored(client) == []
        sampler.set_settings(Settings(sampling=SamplingSettings(interval_seconds=1, flush_seconds=1)))

        async def three() -> bool:
            counts = [sample for _, samples in await stored(client) for sample in samples if sample.metric == "count"]
            return [sample.value for sample in counts][:3] == [1, 2, 3]

        await until(three, "three rounds are stored")
        rounds = [{sample.time for sample in samples} for _, samples in seen]
        assert all(len(times) == 1 for times in rounds) and rounds[0] != rounds[1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_stop_writes_what_waits(client: Client) -> None:
    sampler, told = sampler_of(client, Settings(sampling=SamplingSettings(flush_seconds=3600)), []), list[int]()
    sampler.on_stored = lambda: told.append(1)
    await sampler.flush()
    assert told == [], "nothing waited"
    tasks = Tasks()
    tasks.start("samples", sampler.flushes())
    await asyncio.sleep(0)  # it has begun to wait
    sampler.take("till", [Sample("a", 1, {}, 5.0)])
    await tasks.close()
    assert await stored(client) == [("till", [Sample("a", 1, {}, 5.0)])] and told == [1]


async def test_what_has_a_time_keeps_it(client: Client) -> None:
    seen: list[tuple[str, list[Sample]]] = []
    sampler = sampler_of(client, Settings(), seen)
    sampler.take("till", [Sample("a", 1, {}, 5.0), Sample("b", 2)])
    sampler.take("till", [])
    ((source, (first, second)),) = seen
    assert source == "till" and first.time == 5.0 and second.time > 1_700_000_000
    await sampler.flush()
    assert await stored(client) == [("till", [first, second])]
