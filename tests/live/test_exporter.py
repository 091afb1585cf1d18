"""``/metrics`` over HTTP: from a hub as people run it, bounded against a hostile device, and without its port."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import Metric

from edgeagent import wire
from edgeagent.assembly import doctorexports, hubends, hubexports, hubscrape
from edgeagent.assembly.hubexports import HubExports, missing
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubmake import make
from edgeagent.errors import Closed
from edgeagent.hub.exporter import Exporter, rendered
from edgeagent.hub.exporterfamilies import Fill, gauge
from edgeagent.hub.exportsettings import InfluxOptions, MetricsOptions, NotifyOptions, Webhook
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.natsserver import ports
from edgeagent.publish import published
from edgeagent.runtime import Tasks
from tests.support.exporting import exports, point, store
from tests.support.home import own_home
from tests.support.hub import Hub, new_hub, started
from tests.support.servers import until


def _get(port: int) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
    return ""


async def shown(port: int) -> str:
    """What is there; nothing while nobody answers."""
    return await asyncio.to_thread(_get, port)


async def shows(port: int, *wanted: str) -> None:
    async def there() -> bool:
        text = await shown(port)
        return all(one in text for one in wanted)

    await until(there, f"{wanted} are shown")


class Broken:
    """A connection of which everything is wrong."""

    asked = 0

    def __getattr__(self, name: str) -> None:
        self.asked += 1
        raise RuntimeError(name)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as made:
        yield made


async def test_a_hub_offers_it_and_a_hostile_device_breaks_nothing(hub: Hub) -> None:
    assert "/metrics" in hub.made.out
    port, now = ports.pick(), time.time()
    with hub.place.options_file.open("a") as file:
        file.write(f'[metrics]\nlisten = "127.0.0.1:{port}"\nseries_per_device = 50\n')
    with started(hub.up()):
        await shows(port, 'edgeagent_hub_stream_bytes{stream="EDGE_METRICS"}')
        client = await sign_in(hub.place, Keyring.load(hub.place.path), "hub")
        odd = {"a": '"} 1\nedgeagent_device_up{device="pi-01"} 0\n', "device": "pi-01"}
        for part in range(4):
            await store(client, "bad", [point(f"m{part}.{number}", number, now) for number in range(400)])
        await store(client, "bad", [point("edgeagent.device.up", 7, now, **odd), point("late", 1, now + 3600)])
        await store(client, "pi-01", [point("system.cpu.utilization", 0.25, now, "1", cpu="0")])
        await published(client, "edge.from.bad.metric", b"{}")
        await published(client, "edge.from.bad.report", wire.encode(wire.Report(id="bad", facts={}, heartbeat_seconds=1e300)))
        await shows(port, 'system_cpu_utilization_ratio{cpu="0",device="pi-01",source="agent"} 0.25')
        await shows(port, 'edgeagent_hub_samples_left_out_total{reason="series_per_device"}', 'reason="unreadable"} 1.0')
        text = await shown(port)
        assert sum('device="bad"' in line and line.startswith("m") for line in text.splitlines()) == 50
        assert 'edgeagent_hub_samples_left_out_total{reason="future"} 1.0' in text
        assert not [line for line in text.splitlines() if line.startswith("edgeagent_device_up") and '"pi-01"' in line]
        assert [finding.level for finding in await doctorexports.offered(hub.place, hub.place.options())] == ["good"]
        await client.close()


async def test_two_instances_have_one_port_and_the_second_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.hub.exporter.RETRY_SECONDS", 0.05)
    port, tasks = ports.pick(), [Tasks(), Tasks()]
    for number, group in enumerate(tasks):
        made = Exporter(("127.0.0.1", port), lambda number=number: [gauge("a", "b", [({"instance": str(number)}, 1)])])  # type: ignore[misc]  # of this round
        group.start("metrics", made.run())
        await shows(port, 'a{instance="0"} 1.0')
    await tasks[0].close()
    await shows(port, 'a{instance="1"} 1.0')
    await tasks[1].close()


async def test_many_who_ask_are_sent_one_text_that_was_packed_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.hub.exporter.FRESH_SECONDS", 3600.0)
    port, tasks, threads = ports.pick(), Tasks(), []

    def families() -> Iterator[Metric]:
        threads.append(threading.current_thread())
        yield gauge("a", "b", [({}, len(threads))])

    tasks.start("metrics", Exporter(("127.0.0.1", port), families).run())
    await shows(port, "a 1.0")
    packed = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"})
    with await asyncio.to_thread(urllib.request.urlopen, packed, timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip" and b"a 1.0" in gzip.decompress(answer.read())
    assert len(threads) == 1 and threads[0] is not threading.main_thread()
    await tasks.close()


async def test_a_part_that_fails_leaves_out_only_itself() -> None:
    made = HubExports(HubFolder(Path()), HubOptions(), exports(metrics=MetricsOptions(listen="")), None)  # type: ignore[arg-type]  # nothing is asked
    made._fills = [Fill("X", 1, None, 1)]  # type: ignore[arg-type]  # what a hub might say that we do not know
    text = rendered(made._families).decode()
    assert 'edgeagent_hub_stream_bytes{stream="X"} 1.0' in text and "edgeagent_hub_samples_left_out_total" in text


async def test_what_fails_begins_anew_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hubexports, "ANEW_SECONDS", (0.01, 0.02))
    begun, tasks = 0, Tasks()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun > 2:
            raise Closed("follow", "the connection is closed")
        raise ZeroDivisionError

    guarded = tasks.start("sink", hubexports._guarded("sink", work))
    await until(guarded.done, "it is over")
    assert begun == 3 and guarded.exception() is None, "whose connection ended tells, with the reason"
    assert "sink failed, and begins anew" in caplog.text
    await tasks.close()


async def test_every_task_for_others_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a hub with everything: not one of them can end the others."""
    monkeypatch.setattr(hubexports, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(hubexports, "ANEW_SECONDS", (0.01, 0.02))
    wanted = exports(
        metrics=MetricsOptions(listen=f"127.0.0.1:{ports.pick()}"),
        influx=InfluxOptions(url="http://127.0.0.1:1", database="d"),
        notify=NotifyOptions(webhooks={"ops": Webhook(url="http://127.0.0.1:1")}),
    )
    tasks, broken = Tasks(), Broken()
    HubExports(HubFolder(Path()), HubOptions(), wanted, broken).start(tasks)  # type: ignore[arg-type]  # whatever is asked of it fails
    await until(lambda: broken.asked > 20, "each has begun anew some times")
    assert len(tasks._tasks) == 4 and not tasks._failed.done()
    await tasks.close()


async def test_a_port_that_somebody_else_has_keeps_nothing_from_its_work(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        tasks = Tasks()
        tasks.start("metrics", Exporter(other.getsockname(), list).run())
        await until(lambda: "cannot offer /metrics" in caplog.text, "it is said")
        await tasks.close()


def made(folder: Path, **options: object) -> HubFolder:
    place = HubFolder(folder / "hub")
    with own_home(folder / "home"):
        make(place, HubOptions(name="berlin", **options), "olga", passphrase=None)  # type: ignore[arg-type]  # as given
    return place


async def test_what_the_doctor_says_of_it(tmp_path: Path) -> None:
    place, wanted = made(tmp_path), '[influx]\nurl = "http://127.0.0.1:1"\nbucket = "b"\norg = "o"\ntoken_file = "influx.token"\n'
    with place.options_file.open("a") as file:
        file.write(f'[metrics]\nlisten = "0.0.0.0:9464"\n{wanted}')
    assert missing() == ""
    (given,) = await doctorexports.given_out(place, place.options())
    assert given.level == "warn" and "0.0.0.0:9464" in given.text
    (secret,) = await doctorexports.secrets(place, place.options())
    assert secret.level == "wrong" and "influx.token" in secret.text
    (place.path / "influx.token").write_text("abc")
    (place.path / "influx.token").chmod(0o644)
    (secret,) = await doctorexports.secrets(place, place.options())
    assert "chmod" in secret.remedy
    (place.path / "influx.token").chmod(0o600)
    assert await doctorexports.secrets(place, place.options()) == []


async def test_the_doctor_asks_whose_the_port_is(tmp_path: Path) -> None:
    place, port = made(tmp_path), ports.pick()
    with place.options_file.open("a") as file:
        file.write(f'[metrics]\nlisten = "0.0.0.0:{port}"\n')

    async def said() -> list[tuple[str, str]]:
        return [
            (found.level, found.text.partition("/metrics")[2]) for found in await doctorexports.offered(place, place.options())
        ]

    assert await said() == [], "its services do not run"
    place.lock.write_text(f"{os.getpid()}\n")
    assert await said() == [("warn", ": nothing answers there")]
    async with offering(port, {"hub": "munich", "account": "another"}):
        ((level, text),) = await said()
        assert level == "wrong" and "another hub, 'munich'" in text
    async with offering(port, hubscrape.labels_of(place)):
        assert await said() == [("good", " answers")]

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", port):
        ((level, text),) = await said()
        assert level == "wrong" and "another program answers there" in text


@contextlib.asynccontextmanager
async def offering(port: int, labels: dict[str, str]) -> AsyncIterator[None]:
    """A hub that names itself so at /metrics of this port."""
    tasks = Tasks()
    tasks.start("metrics", Exporter(("127.0.0.1", port), lambda: [gauge(hubscrape.INFO, "a", [(labels, 1)])]).run())
    try:
        await shows(port, labels["account"])
        yield
    finally:
        await tasks.close()


async def test_when_certificates_end(tmp_path: Path) -> None:
    place = made(tmp_path, tls="self")
    found, now = hubends.ends(place, place.options()), datetime.now(timezone.utc)
    assert set(found) == {"server", "authority"} and all(ends > now for ends in found.values())
    assert hubends.ends(made(tmp_path / "plain"), HubOptions()) == {}


async def test_nothing_is_begun_that_nobody_wants() -> None:
    tasks, options = Tasks(), HubOptions()
    HubExports(HubFolder(Path()), options, exports(metrics=MetricsOptions(listen="")), None).start(tasks)  # type: ignore[arg-type]  # nothing is asked
    assert not tasks._tasks
    await tasks.close()


async def test_health_is_there_before_what_devices_measure() -> None:
    port, tasks = ports.pick(), Tasks()
    made = Exporter(("127.0.0.1", port), None, lambda verbose: (503, {"status": "wrong", "verbose": verbose}))
    tasks.start("metrics", made.run())

    def asked(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    async def there() -> bool:
        return (await asyncio.to_thread(asked, "/healthz?verbose"))[0] == 503

    await until(there, "it answers")
    assert json.loads((await asyncio.to_thread(asked, "/healthz?verbose"))[1]) == {"status": "wrong", "verbose": True}
    assert (await asyncio.to_thread(asked, "/metrics"))[0] == 503
    made.families = list
    assert (await asyncio.to_thread(asked, "/metrics"))[0] == 200
    await tasks.close()
