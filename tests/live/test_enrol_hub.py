"""A device's life with a hub that ``hub up`` runs: let in by a token, regrouped and revoked, each while it is on and while it is off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.enrolling import NewDevice
from tests.support.fleet import Said, cli
from tests.support.hub import Hub, new_hub, started
from tests.support.servers import kill_leftovers, until


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub, started(hub.up()):
        yield hub
    kill_leftovers(tmp_path)


async def do(*words: str) -> Said:
    said = await asyncio.to_thread(cli, *words)
    assert said.code == 0, said
    return said


async def test_from_the_token_to_the_revocation_and_back(hub: Hub, tmp_path: Path) -> None:
    await until(hub.answers, "the hub is up")
    device = NewDevice(tmp_path / "device", reconnect_seconds=0.3)
    token = (await do("token", "create", "--groups", "berlin", "--label", "site=berlin", "--uses", "2")).out
    for _ in range(2):  # the second time as if it had been killed before the end: the same key asks again
        said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-01", token=token)
        assert said.code == 0, said
        (device.state / "enrolment.nk").write_text(device.login.seed)
        (device.state / "enrolment.nk").chmod(0o600)
        (device.state / "enrolment.json").rename(device.state / "enrolment.json.last")
    (device.state / "enrolment.json.last").rename(device.state / "enrolment.json")
    (device.state / "enrolment.nk").unlink()
    assert device.enrolment.labels == {"site": "berlin"} and (device.state / "trust.json").read_text().count("operator")

    with device.running():
        await until(lambda: device.is_linked, "linked")
        await do("device", "revoke", "pi-01")
        why = "nor its renewal credentials"  # nats-server takes neither of its logins any more
        await until(lambda: not device.is_linked and why in device.problems, "kept out, and it knows why")
        await do("device", "unrevoke", "pi-01")
        await until(lambda: device.is_linked and not device.problems, "back by itself")
        await do("device", "revoke", "pi-01")
        await until(lambda: not device.is_linked and why in device.problems, "kept out again")
        await do("device", "group", "add", "rome", "pi-01")
        await do("device", "unrevoke", "pi-01")  # its JWT is still refused, for its groups
        await until(lambda: device.is_linked and not device.problems, "back by itself with another JWT")

    await do("device", "group", "add", "munich", "pi-01")
    with device.running():
        await until(lambda: device.is_linked, "back by itself, though its JWT is no longer accepted")
        found = device.status()
        assert found and found.groups == ["berlin", "rome", "munich"]

    stranger = NewDevice(tmp_path / "stranger")
    said = await stranger.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-01", token=token)
    assert said.code == 1 and "pi-01 is enrolled already, with another key" in said.err
    assert not (stranger.state / "device.creds").exists()
