"""What `/metrics` says of devices, as the hub hears of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("prometheus_client")

from edgeagent import subjects, wire
from edgeagent.alertsettings import MAX_ALERTS
from edgeagent.assembly import hubdevices
from edgeagent.assembly.hubdevices import DeviceStates, device_families
from edgeagent.command import Result
from edgeagent.fleet.states import Known
from edgeagent.hub.exporter import rendered
from edgeagent.link import Client
from edgeagent.publish import published
from edgeagent.subjects import Scope
from edgeagent.times import rfc3339
from edgeagent.trust.signed import Signed
from tests.support.provisioninghub import ProvisioningHub, started
from tests.support.servers import until

NOW_MS = int(time.time() * 1000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("devices")) as place:
        yield place


@pytest_asyncio.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Client]:
    client = await place.connect(place.owner.service_credentials("hub"))
    yield client
    for stream in ("KV_edge_devices", "KV_edge_presence", "KV_edge_config", "EDGE_REPORTS", "EDGE_RESULTS"):
        await client.jetstream().purge_stream(stream)
    await client.close()


async def put(hub: Client, bucket: str, key: str, message: Any) -> None:
    await published(hub, subjects.kv(bucket, key), wire.encode(message))


def document(scope: Scope, generation: int) -> Signed:
    return Signed(kind="config", scope=str(scope), number=generation, at=generation // 1000, body="{}", signer="x")


def shown(states: DeviceStates) -> str:
    return rendered(lambda: device_families(states, datetime.now(timezone.utc))).decode()


async def shows(states: DeviceStates, *wanted: str) -> None:
    await until(lambda: all(one in shown(states) for one in wanted), f"{wanted} are shown")


async def is_there(hub: Client, device: str, scopes: dict[str, wire.ScopeState]) -> None:
    now = datetime.now(timezone.utc)
    await put(hub, "edge_devices", device, wire.DeviceRecord(id=device, groups=["shop"], expires_at=int(time.time()) + 864_000))
    await put(hub, "edge_presence", device, wire.Presence(online=True, since=rfc3339(now), connection="s:1"))
    report = wire.Report(id=device, facts={}, config=wire.ConfigState(scopes=scopes))
    await published(hub, subjects.report(device), wire.encode(report))


async def test_a_device_that_was_there_before_and_one_that_comes(hub: Client) -> None:
    await is_there(hub, "pi-01", {})
    states = DeviceStates(hub)
    await states.start()
    assert 'edgeagent_device_up{device="pi-01"} 1.0' in shown(states)
    assert 'edgeagent_device_info{device="pi-01",groups="shop",state="online"} 1.0' in shown(states)
    await is_there(hub, "pi-02", {})
    await shows(states, 'edgeagent_device_up{device="pi-02"} 1.0', 'edgeagent_device_credentials_days_left{device="pi-02"} 9.99')
    gone = datetime.now(timezone.utc) + timedelta(milliseconds=1)  # what is cut off of it must not make it older than the report
    await put(hub, "edge_presence", "pi-02", wire.Presence(online=False, since=rfc3339(gone), connection="s:1"))
    await shows(states, 'edgeagent_device_up{device="pi-02"} 0.0', 'last_seen_seconds{device="pi-02"}')


async def test_configuration_that_is_not_followed(hub: Client) -> None:
    states, scope, own = DeviceStates(hub), Scope.group("shop"), Scope.device("pi-01")
    old, new = NOW_MS - 500_000, NOW_MS - 100_000
    await put(hub, "edge_config", str(scope), document(scope, old))
    await is_there(hub, "pi-01", {str(scope): wire.ScopeState(desired=old, applied=old)})
    await states.start()
    assert 'edgeagent_device_config_pending{device="pi-01"} 0.0' in shown(states)
    await put(hub, "edge_config", str(scope), document(scope, new))
    await put(hub, "edge_config", str(own), document(own, NOW_MS))
    await shows(states, 'edgeagent_device_config_pending{device="pi-01"} 2.0')
    (lag,) = [line for line in shown(states).splitlines() if line.startswith("edgeagent_device_config_lag_seconds{")]
    assert abs(time.time() - float(lag.split()[-1]) - new / 1000) < 200, (
        "since the older of the two was signed, and not the one before"
    )
    said = {str(scope): wire.ScopeState(desired=new, applied=new), str(own): wire.ScopeState(desired=NOW_MS, error="it burns")}
    await is_there(hub, "pi-01", said)
    await shows(states, 'config_pending{device="pi-01"} 1.0', 'config_errors{device="pi-01"} 1.0')


async def test_commands_are_counted_once_by_how_they_ended(hub: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubdevices, "OUTCOMES", 5)
    await is_there(hub, "pi-01", {})
    states = DeviceStates(hub)
    await states.start()
    for state in ("running", "succeeded", "succeeded"):
        await published(hub, subjects.result("pi-01", "a"), wire.encode(Result(id="a", state=state)))  # type: ignore[arg-type]  # each is one
    for number in range(10):
        await published(hub, subjects.result("pi-01", f"b{number}"), wire.encode(Result(id=f"b{number}", state="failed")))
    await published(hub, subjects.result("stranger", "c"), wire.encode(Result(id="c", state="failed")))
    await published(hub, subjects.result("pi-01", "d"), b"nonsense")
    await published(hub, subjects.result("pi-01", "e"), wire.encode(Result(id="e", state="refused")))
    await shows(states, 'edgeagent_device_commands_total{device="pi-01",state="refused"} 1.0')
    assert 'commands_total{device="pi-01",state="succeeded"} 1.0' in shown(states) and "stranger" not in shown(states)
    assert 'commands_total{device="pi-01",state="failed"} 10.0' in shown(states) and len(states._told) == 5


def test_what_is_raised_is_shown_whatever_devices_say_is() -> None:
    states, now = DeviceStates(None), datetime.now(timezone.utc)  # type: ignore[arg-type]  # nothing is asked
    said = {
        "pi-01": {"hot": "error", "full": "warning"},
        "many": {f"a{number}": "info" for number in range(MAX_ALERTS + 1)},
        "hostile": {"Hot": "error", "hot": "dreadful", "full": ["error"], "a\nb": "error"},
        "list": ["hot"],
        "revoked": {"hot": "error"},
    }
    for device, alerts in said.items():
        record = wire.DeviceRecord(id=device, revoked=device == "revoked")
        report = wire.Report(id=device, facts={"alerts": alerts})
        states.roster.devices[device] = Known(device, record=record, report=report)
    states.roster.devices["silent"] = Known("silent")
    text = rendered(lambda: device_families(states, now)).decode()
    rows = [line for line in text.splitlines() if line.startswith("edgeagent_device_alert_active{")]
    assert [row for row in rows if "pi-01" in row] == [
        'edgeagent_device_alert_active{alert="hot",device="pi-01",severity="error"} 1.0',
        'edgeagent_device_alert_active{alert="full",device="pi-01",severity="warning"} 1.0',
    ]
    assert len([row for row in rows if "many" in row]) == MAX_ALERTS == len(rows) - 2


def test_repairs_of_links_are_counted_as_far_as_a_device_can_mean_them() -> None:
    states, now = DeviceStates(None), datetime.now(timezone.utc)  # type: ignore[arg-type]  # nothing is asked
    for device, said in {"pi-01": '{"dialled":2,"restarted":1}', "liar": f'{{"dialled":-1,"reloaded":{10**18}}}'}.items():
        report = wire.decode(f'{{"id":"x","facts":{{}},"repairs":{said}}}'.encode(), wire.Report)
        states.roster.devices[device] = Known(device, report=report)
    text = rendered(lambda: device_families(states, now)).decode()
    rows = [line for line in text.splitlines() if line.startswith("edgeagent_device_link_repairs_total{")]
    assert rows == [
        'edgeagent_device_link_repairs_total{device="pi-01",how="dialled"} 2.0',
        'edgeagent_device_link_repairs_total{device="pi-01",how="reloaded"} 0.0',
        'edgeagent_device_link_repairs_total{device="pi-01",how="restarted"} 1.0',
        'edgeagent_device_link_repairs_total{device="liar",how="restarted"} 0.0',
    ]


def test_one_device_that_nobody_thought_of_leaves_out_only_itself() -> None:
    states, now = DeviceStates(None), datetime.now(timezone.utc)  # type: ignore[arg-type]  # nothing is asked
    for device, applied in (("pi-01", 1), ("bad", 1)):
        config = wire.ConfigState(scopes={f"device.{device}": wire.ScopeState(applied=applied)})
        record = wire.DeviceRecord(id=device, expires_at=10**400 if device == "bad" else int(time.time()) + 864_000)
        states.roster.devices[device] = Known(device, record=record, report=wire.Report(id=device, facts={}, config=config))
    states.generations = {"device.bad": 10**400, "device.pi-01": 7}
    text = rendered(lambda: device_families(states, now)).decode()
    for family in ("edgeagent_device_credentials_days_left", "edgeagent_device_config_lag_seconds"):
        assert f'{family}{{device="pi-01"}}' in text and f'{family}{{device="bad"}}' not in text
    assert 'edgeagent_device_up{device="bad"}' in text
