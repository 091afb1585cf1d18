"""Those who refuse everything for a while, those who refuse some words for ever, and what people are told of it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("aiohttp")

from edgeagent import subjects
from edgeagent.assembly import hubdoctor, hubsending
from edgeagent.assembly.hublogin import sign_in
from edgeagent.hub import sinksdelivery, sinkspost
from edgeagent.hub.exportsettings import InfluxOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.sinks import Influx, Sink
from edgeagent.link import Client
from edgeagent.natsserver import ports
from edgeagent.runtime import Tasks
from tests.support.exporting import Server, point, services, store
from tests.support.hub import Hub, new_hub
from tests.support.hub import started as started_hub
from tests.support.provisioninghub import ProvisioningHub, started
from tests.support.servers import until

NOW = 1_700_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("refusals")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(sinkspost, "RETRY_SECONDS", (0.02, 0.05))
    async with services(place, subjects.METRICS) as client:
        yield client


@contextlib.asynccontextmanager
async def writing(hub: Client, server: Server, notes: Path | None = None) -> AsyncIterator[Sink]:
    target = Influx(InfluxOptions(url=server.url, database="pis"), Path())
    sink, tasks = Sink(hub, target, time.time, notes), Tasks()
    tasks.start(sink.name, sink.run())
    try:
        yield sink
    finally:
        await tasks.close()


def lines(server: Server) -> set[str]:
    return {line for posted in server.posted for line in posted.body.decode().splitlines()}


async def drained(sink: Sink) -> bool:
    await sink.look()
    return sink.tally.pending == 0


PAGE = "<!DOCTYPE html><html><title>Log in to GuestNet</title></html>"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(401, "authorization failed", id="401"),
        pytest.param(403, "forbidden", id="403"),
        pytest.param(404, '{"error":"database not found: \\"pis\\""}', id="404"),
        pytest.param(200, PAGE, id="login-page"),
        pytest.param(400, "<html><h1>400 The plain HTTP request was sent to HTTPS port</h1></html>", id="proxy-page"),
        pytest.param(415, "unsupported media type", id="415"),
        pytest.param(500, "internal error", id="500"),
    ],
)
async def test_who_refuses_everything_gets_all_of_it_when_he_is_mended(
    hub: Client, tmp_path: Path, status: int, text: str
) -> None:
    """Nothing is lost, also for one that took some before, and for a service that is started again meanwhile."""
    server = Server()
    async with server.running():
        async with writing(hub, server, tmp_path) as sink:
            await store(hub, "pi-00", [point("t", 0, NOW)])
            await until(lambda: sink.tally.sent == 1, "it has worked")
            server.answer, server.text = lambda number: status, text
            before = server.asked
            for device in range(3):
                await store(hub, f"pi-0{device}", [point("t", number, NOW + 1 + number) for number in range(20)])
            await until(
                lambda: sink.tally.retries > 3 * sinksdelivery.DOUBT, "it has been asked whether what is sent is at fault"
            )
            assert sink.trouble.noted is not None and str(status) in sink.trouble.noted.problem
            assert sink.tally.sent == 1 and not sink.tally.dropped
            # One more each fifth time, to see whether that is taken which was taken before.
            assert server.asked - before <= sink.tally.retries * (1 + 1 / sinksdelivery.DOUBT) + 2
        async with writing(hub, server, tmp_path) as sink:
            assert sink.trouble.seconds() > 0
            await until(lambda: sink.tally.retries > 2 * sinksdelivery.DOUBT, "the next one knows of nobody who was taken")
            server.answer, server.text = lambda number: 204, "said"
            await until(lambda: sink.tally.sent == 60, "all are taken")
            await until(lambda: drained(sink), "and acknowledged")
            assert not sink.tally.dropped and sink.trouble.noted is None and not list(tmp_path.iterdir())
    assert len(lines(server)) == 1 + 60


def refuses(server: Server, word: str) -> None:
    """What stands before it and does not like some words."""
    server.judge = lambda number, body: 403 if word.encode() in body else 204


@pytest.mark.parametrize("knows", [pytest.param(True, id="took-some"), pytest.param(False, id="took-nothing")])
async def test_what_a_firewall_does_not_like_costs_itself_only(hub: Client, knows: bool) -> None:
    server = Server()
    refuses(server, "script")
    bad = [point("a", number, NOW + number, page="script" if number % 10 == 3 else "start") for number in range(40)]
    async with server.running(), writing(hub, server) as sink:
        if knows:
            await store(hub, "pi-01", [point("t", -1, NOW - 1)])
            await until(lambda: sink.tally.sent == 1, "it has worked")
        await store(hub, "bad", bad)
        await store(hub, "pi-01", [point("t", number, NOW + number) for number in range(40)])
        await until(lambda: drained(sink), "all are taken or dropped")
    found = lines(server)
    assert sum("device=pi-01" in line for line in found) == 40 + knows and sum("device=bad" in line for line in found) == 36
    assert sink.tally.dropped == {"refused": 4} and sink.tally.sent == 76 + knows


async def test_a_balancer_with_one_bad_server_loses_nothing(hub: Client) -> None:
    """It gives every second request to a server that refuses all, such as the first one, and the one after that which shows it."""
    server = Server(lambda number: 403 if number < sinksdelivery.DOUBT or number % 2 == 0 else 204)
    async with server.running(), writing(hub, server) as sink:
        for device in range(20):
            await store(hub, f"pi-{device}", [point("t", number, NOW + number) for number in range(20)])
        await until(lambda: drained(sink), "all are taken")
    assert len(lines(server)) == 400 and not sink.tally.dropped


async def test_status_doctor_and_metrics_say_who_takes_nothing_and_why(tmp_path: Path) -> None:
    """A hub as people run it."""
    server, port = Server(lambda number: 403), ports.pick()
    with new_hub(tmp_path) as made:
        with made.place.options_file.open("a") as file:
            file.write(f'[metrics]\nlisten = "127.0.0.1:{port}"\n[influx]\nurl = "{server.url}"\ndatabase = "pis"\n')
            file.write(f'[notify.webhooks.ops]\nurl = "{server.url}"\n')
        async with server.running(), up(made) as hub:
            await store(hub, "pi-01", [point("t", 1, NOW)])
            await until(lambda: server.asked > 0, "it is refused")
            await until(lambda: (made.place.troubles / "sink_influx").exists(), "it is noted")
            influx, ops = [each for each in await hubdoctor.examine(made.place) if each.check == "sending"]
            assert influx.level == "wrong" and "influx: nothing is taken since 20" in influx.text
            assert influx.text.endswith("1 waiting: 403 said") and "goes on by itself" in influx.remedy
            assert ops.good and ops.text.endswith("webhook ops: 0 waiting")
            status = await asyncio.to_thread(made.command, "hub", "status")
            assert "403 said" in status.out and "webhook ops" in status.out
            url = f"http://127.0.0.1:{port}/metrics"

            async def shown() -> bool:
                with contextlib.suppress(OSError):
                    text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
                    found = [line for line in text.splitlines() if line.startswith("edgeagent_hub_sending_fails_seconds")]
                    assert {line.split("{")[1].split("}")[0]: float(line.split()[-1]) > 0 for line in found} == {
                        'to="influx"': True,
                        'to="webhook ops"': False,
                    }
                    return True
                return False

            await until(shown, "/metrics says it")


@contextlib.asynccontextmanager
async def up(made: Hub) -> AsyncIterator[Client]:
    """A connection to the hub, once its services have begun."""
    with started_hub(made.up()):
        await until(made.answers, "the hub is up")
        hub = await sign_in(made.place, Keyring.load(made.place.path), "hub")

        async def begun() -> bool:
            return all(each["waiting"] is not None for each in await hubsending.look(made.place, hub))

        await until(begun, "its services have begun")
        yield hub
        await hub.close()
