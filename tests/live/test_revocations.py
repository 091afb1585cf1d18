"""A revocation outlives the hub's restart, its folder of accounts, its records and its store."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.hub import register
from edgeagent.hub.keyring import Keyring
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from tests.support.administering import as_the_hub
from tests.support.fleet import cli
from tests.support.hub import Hub, ended, new_hub, started
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub:
        yield hub


async def test_a_revocation_outlives_the_record_of_it(alone: Hub) -> None:
    """The store was lost, or an older one was brought back: who was revoked stays out, and nobody else does."""
    place = alone.place.path
    store, accounts = place / "store" / "jetstream", place / "accounts"

    def add(device: str) -> Credentials:
        out = place.parent / f"{device}.creds"
        assert alone.command("device", "add", device, "--out", str(out)).code == 0
        return creds.load(out)

    async def may(login: Credentials) -> bool:
        async with await Rogue.connect(alone.leaf_port, login) as rogue:
            return await rogue.settle()

    def is_ordered(label: str) -> bool:
        return cli("device", "label", "pi-02", f"round={label}").code == 0

    with started(alone.up()) as running:
        await until(alone.answers, "the hub answers")
        gone, other = add("pi-01"), add("pi-02")
        assert cli("device", "revoke", "pi-01").code == 0 and not await may(gone)
        ended(running, signal.SIGTERM)
    for lost in ("the record", "the record and the accounts"):
        (found,) = store.rglob("KV_edge_revocations")
        shutil.rmtree(found)
        if "accounts" in lost:
            shutil.rmtree(accounts)
        if lost == "the record":  # nor does the register say so: it is what the server refuses that counts
            (found,) = store.rglob("KV_edge_devices")
            shutil.rmtree(found)
        with started(alone.up()) as running:
            await until(alone.answers, "the hub answers")
            if lost == "the record":
                async with as_the_hub(place, f"nats://127.0.0.1:{alone.client_port}") as client:
                    for login in (gone, other):
                        await register.add(client, register.record_of(login, ()))
                    assert not await may(gone) and await may(other)
                assert cli("device", "revoke", "pi-01").code == 0
            await until(lambda lost=lost: is_ordered(lost[-3:]), "the services answer")  # type: ignore[misc]  # a default
            assert not await may(gone) and await may(other), lost
            if "accounts" in lost:
                assert cli("device", "unrevoke", "pi-01").code == 0 and await may(gone)
            ended(running, signal.SIGTERM)


async def test_a_revocation_outlives_the_hub_and_the_folder_of_accounts(alone: Hub) -> None:
    login = Keyring.load(alone.place.path).device_credentials("pi-01")

    async def out() -> bool:
        async with await Rogue.connect(alone.leaf_port, login) as rogue:
            return not await rogue.settle()

    for round_number in range(3):
        if round_number == 2:
            shutil.rmtree(alone.place.path / "accounts")
        with started(alone.up()) as running:
            await until(alone.answers, "the hub answers")
            if round_number == 0:
                added = alone.command("device", "add", "pi-01", "--out", str(alone.place.path.parent / "pi-01.creds"))
                assert added.code == 0
                login = creds.load(alone.place.path.parent / "pi-01.creds")
                assert not await out()
                assert cli("device", "revoke", "pi-01").code == 0
            await until(out, "it is out")
            ended(running, signal.SIGTERM)
