"""The agent keeps its credentials good against a real hub in operator mode, with JWTs that live for seconds."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from edgeagent import settings
from edgeagent.assembly.device import Agent
from edgeagent.assembly.renewer import first_credentials, known
from edgeagent.enrolment import Renewed
from edgeagent.errors import Refused
from edgeagent.hub import accounts
from edgeagent.link import connect
from edgeagent.natsserver import binary
from edgeagent.trust import creds
from edgeagent.trust.nkeys import KeyPair
from edgeagent.wire import DeviceRecord
from tests.support.enrolling import NewDevice
from tests.support.fleet import cli
from tests.support.servers import kill_leftovers, until
from tests.support.trusthub import TrustHub

OVER_THE_LINK, BY_A_VISIT = "edge.from.pi-1.request.renew", "provision.renew.pi-1"
REVOKED = Refused("renew pi-1", "it is revoked", "`edgeagent device unrevoke pi-1` lets it in again")


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        hub.groups = ["berlin"]
        yield hub
    kill_leftovers(tmp_path)


@pytest_asyncio.fixture
async def device(hub: TrustHub, tmp_path: Path) -> NewDevice:
    """Enrolled, off, with reconnects as they are shipped."""
    device = NewDevice(tmp_path / "device")
    await device.enrolled_with(hub)
    hub.seen.clear()
    return device


def conf(device: NewDevice) -> str:
    return (device.state / "leaf.conf").read_text()


def is_at_home(device: NewDevice) -> bool:
    """The leaf uses the device's own credentials."""
    return "renewal.creds" not in conf(device) and "device.creds" in conf(device)


@contextlib.asynccontextmanager
async def undisturbed(device: NewDevice) -> AsyncIterator[None]:
    """A local program that is connected all the while, and hears what it says to itself at the end."""
    found = device.status()
    assert found
    lost: list[str] = []

    async def note() -> None:
        lost.append("disconnected")

    url = f"nats://127.0.0.1:{found.leaf.port}"
    client = await connect(url, what="reach the leaf", name="app", inbox_prefix="_INBOX.app", on_disconnected=note)
    heard = await client.subscribe("local.test")
    try:
        yield
        await client.publish("local.test", b"still here")
        assert (await heard.next_msg(timeout=5)).data == b"still here"
        assert lost == []
    finally:
        await client.close()


# ---- over the link ---------------------------------------------------------------------------------------------------------


async def test_renewed_at_two_thirds_of_its_life(hub: TrustHub, device: NewDevice) -> None:
    hub.jwt_seconds, hub.jwt_age = 60, 41  # time to renew it is between now and in 2 s, and a slow machine has time to start
    device.keep(hub.device_jwt("pi-1", device.login.public_key))
    first = device.login
    hub.jwt_seconds, hub.jwt_age = 8, 4.5  # again in a second, and there are 2 or 3 more
    with device.running():
        await until(lambda: device.is_linked, "linked")
        async with undisturbed(device):
            await until(lambda: device.login.jwt != first.jwt, "it has another one")
            ends = device.login.expires_at or 0
            await until(lambda: hub.seen.count(OVER_THE_LINK) >= 3 and time.time() > ends > 0, "it has outlived that")
            await until(lambda: device.is_linked, "still linked")
    assert set(hub.seen) == {OVER_THE_LINK} and device.login.seed == first.seed
    assert device.login.issued_at > first.issued_at


async def test_renewed_when_the_hubs_record_says_so(hub: TrustHub, device: NewDevice) -> None:
    """And with it the groups that the device listens to."""
    stop = asyncio.Event()
    async with Agent(settings.load(device.settings), stop) as agent:
        running = asyncio.create_task(agent.run())
        await until(lambda: bool(agent.link.connected), "linked")
        await agent.renewer.record_changed(DeviceRecord(id="pi-1", groups=["berlin"]))
        hub.groups = ["munich"]
        await agent.renewer.record_changed(DeviceRecord(id="pi-1", groups=["munich"]))
        await until(lambda: agent.groups == ("munich",), "it is in its new group")
        assert hub.seen == [OVER_THE_LINK]
        stop.set()
        await running
    assert device.login.groups == ("munich",)


def of_another_key(hub: TrustHub, renewed: Renewed) -> Renewed:
    return msgspec.structs.replace(renewed, jwt=hub.device_jwt("pi-1", KeyPair.generate("user").public))


def of_another_id(hub: TrustHub, renewed: Renewed) -> Renewed:
    return msgspec.structs.replace(renewed, jwt=hub.device_jwt("pi-2", creds.jwt.claims(renewed.jwt)["sub"]))


def rubbish(hub: TrustHub, renewed: Renewed) -> Renewed:
    return msgspec.structs.replace(renewed, jwt="a.b.c\n-----BEGIN USER NKEY SEED-----")


@pytest.mark.parametrize("lie", [of_another_key, of_another_id, rubbish])
async def test_a_jwt_for_another_is_never_taken(
    hub: TrustHub, device: NewDevice, lie: Callable[[TrustHub, Renewed], Renewed]
) -> None:
    device.keep(hub.device_jwt("pi-1", device.login.public_key, 2))
    before = (device.state / "device.creds").read_bytes()
    hub.forges = lambda renewed: lie(hub, renewed)
    with device.running():
        await until(lambda: "the hub" in device.problems and "renew" in device.problems, "it says so")
        await until(lambda: len(hub.seen) >= 2, "it tries again")
        assert (device.state / "device.creds").read_bytes() == before
        hub.forges = lambda renewed: renewed
        await until(lambda: device.is_linked and not device.problems, "an honest answer mends it")


# ---- by a visit ------------------------------------------------------------------------------------------------------------


async def test_expired_while_it_was_off(hub: TrustHub, device: NewDevice) -> None:
    device.keep(hub.device_jwt("pi-1", device.login.public_key, -60))
    said = cli("check", "--settings", str(device.settings))
    assert "expired 1m" in said.out and "the agent gets new ones when it runs" in said.out and said.code == 0, said
    with device.running():
        await until(lambda: device.is_linked, "linked by itself")
        await until(lambda: is_at_home(device), "with its own credentials")
    assert hub.seen == [BY_A_VISIT]
    said = cli("check", "--settings", str(device.settings))
    assert "enrolled     as pi-1 with hub berlin" in said.out and "next renewal in" in said.out


async def test_regrouped_while_it_was_off(hub: TrustHub, device: NewDevice) -> None:
    """Its JWT is revoked long before it expires; it learns so from the hub's refusal."""
    hub.groups = ["munich"]
    await hub.revoke(device.login.public_key, until_then=device.login.issued_at)
    with device.running():
        await until(lambda: device.is_linked, "linked by itself")
        found = device.status()
        assert found and found.groups == ["munich"]
    assert hub.seen == [BY_A_VISIT] and device.login.groups == ("munich",)


async def test_the_credentials_are_gone(hub: TrustHub, device: NewDevice) -> None:
    (device.state / "device.creds").unlink()
    with device.running():
        await until(lambda: device.is_linked, "linked by itself")
    assert device.login.name == "pi-1"


async def test_revoked_and_let_in_again(hub: TrustHub, device: NewDevice) -> None:
    with device.running():
        await until(lambda: device.is_linked, "linked")
        async with undisturbed(device):
            hub.refuses = REVOKED
            await hub.revoke(device.login.public_key)
            await until(lambda: not device.is_linked, "cut off")
            await until(lambda: hub.seen.count(BY_A_VISIT) >= 3, "it asks again and again")
            await until(lambda: "cannot renew pi-1: it is revoked" in device.problems, "it says why")
            assert not device.is_linked and device.log.count("it is revoked") == 1, "but logs it once"

            hub.refuses = None
            await hub.unrevoke(device.login.public_key)
            await until(lambda: device.is_linked, "back without anybody touching it")
        await until(lambda: not device.problems and is_at_home(device), "all is well")


async def test_a_hub_that_is_full_has_not_forgotten_it(hub: TrustHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.5)
    await device.enrolled_with(hub)
    device.keep(hub.device_jwt("pi-1", device.login.public_key, -5))
    monkeypatch.setitem(accounts._LIMITS, "PROVISION", {"conn": 600, "leaf": 0})
    hub.kill()
    await hub.start()
    with device.running():
        await until(lambda: "no room for newcomers" in device.problems, "it says why")
        assert "revoked" not in device.problems
    assert "revoked or forgotten" not in device.log


async def test_a_visit_is_not_taken_for_a_link(hub: TrustHub, device: NewDevice) -> None:
    device.keep(hub.device_jwt("pi-1", device.login.public_key, -60))
    hub.open.clear()
    with device.running():
        await until(lambda: BY_A_VISIT in hub.seen, "it asks for new credentials, and gets no answer")
        await until(lambda: is_renewing(device), "it says so")
        assert not device.is_linked
        said = cli("status", "--settings", str(device.settings))
        assert "renewing its credentials" in said.out and "linked since" not in said.out
        hub.open.set()
        await until(lambda: device.is_linked and not is_renewing(device), "linked")


def is_renewing(device: NewDevice) -> bool:
    found = device.status()
    return bool(found and found.credentials and found.credentials.renewing)


async def test_a_hub_that_was_away_is_not_visited(hub: TrustHub, tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.5)
    await device.enrolled_with(hub)
    with device.running():
        await until(lambda: device.is_linked, "linked")
        hub.kill()
        await until(lambda: not device.is_linked, "the hub is gone")
        await hub.start()
        await until(lambda: device.is_linked, "linked again")
    assert BY_A_VISIT not in hub.seen


async def test_killed_while_it_renews(hub: TrustHub, device: NewDevice) -> None:
    device.keep(hub.device_jwt("pi-1", device.login.public_key, -60))
    hub.open.clear()
    with device.running() as agent:
        await until(lambda: BY_A_VISIT in hub.seen, "it asks")
        agent.kill()
    hub.open.set()
    with device.running():
        await until(lambda: device.is_linked and is_at_home(device), "linked by itself")


async def test_a_leaf_that_systemd_runs(hub: TrustHub, tmp_path: Path) -> None:
    device = NewDevice(tmp_path / "device", more='mode = "external"')
    await device.enrolled_with(hub)
    await hub.revoke(device.login.public_key, until_then=device.login.issued_at)
    with device.running():
        await until(lambda: (device.state / "leaf.conf").exists(), "the agent wrote the configuration")
        unit = unit_of(device)
        try:
            await until(lambda: device.is_linked, "linked by itself")
            assert BY_A_VISIT in hub.seen and is_at_home(device)
        finally:
            unit.kill()
            unit.wait()


def unit_of(device: NewDevice) -> subprocess.Popen[bytes]:
    """What edgeagent-leaf.service would run."""
    return subprocess.Popen(
        [binary.find().path, "-c", device.state / "leaf.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


# ---- with what it begins, and what it does not begin with ------------------------------------------------------------------


async def test_with_which_credentials_it_begins(hub: TrustHub, device: NewDevice) -> None:
    loaded = settings.load(device.settings)
    own, renewal = device.state / "device.creds", device.state / "renewal.creds"
    expires = device.login.expires_at
    assert expires
    assert first_credentials(loaded, expires - 1) == own
    assert first_credentials(loaded, expires) == renewal
    saved = renewal.read_bytes()
    renewal.unlink()
    assert first_credentials(loaded, expires) == own and known(renewal) is None
    renewal.write_bytes(saved)
    renewal.chmod(0o600)
    own.write_text("damaged")
    assert first_credentials(loaded, 0) == renewal


@pytest.mark.parametrize("name", ["device.creds", "renewal.creds", "trust.json"])
async def test_it_does_not_begin_with_secrets_that_others_can_read(hub: TrustHub, device: NewDevice, name: str) -> None:
    (device.state / name).chmod(0o644)
    for command in ("run", "check"):
        said = cli(command, "--settings", str(device.settings))
        assert said.code == 1 and f"`chmod 600 {device.state / name}`" in (said.err + said.out).lower(), said


async def test_a_damaged_login_heals_by_a_visit_and_the_device_works_meanwhile(hub: TrustHub, device: NewDevice) -> None:
    own, seed = device.state / "device.creds", device.login.seed
    own.write_text(own.read_text().replace(seed, seed[:20] + seed[21:]))
    with device.running():
        await until(lambda: device.is_linked, "it is linked again")
        assert device.login.seed == seed
        assert BY_A_VISIT in hub.seen
