"""A hub that is restored from its backup, with live devices: what they did and measured since, one that enrolled since, a person, a token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import lastgood, localsubjects, wire
from edgeagent.config import flat
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError
from edgeagent.fleet import Fleet
from edgeagent.hub import register
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.revocations import Revocation
from edgeagent.hub.streams import REVOCATIONS_BUCKET
from edgeagent.link import connect
from edgeagent.subjects import FLEET_ALL, document
from edgeagent.trust.signed import peek
from tests.support.administering import as_the_hub
from tests.support.enrolling import NewDevice
from tests.support.fleet import PATIENCE_SECONDS, Said, cli, online
from tests.support.forwarding import numbers
from tests.support.hub import Hub, new_hub, started
from tests.support.servers import until

PACE = """
ping_seconds = 5
[sampling]
interval_seconds = 1
flush_seconds = 1
[forward]
seconds = 0.2
[commands]
allow = ["exec"]
[exec]
enabled = true
allow = [["{script}", "*"]]
user = "{user}"
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub:
        yield hub


async def said(*words: str) -> Said:
    """``edgeagent WORDS``, in a process of its own, that went well."""
    done = await asyncio.to_thread(cli, *words)
    assert done.code == 0, done
    return done


async def enrolled(hub: Hub, folder: Path, device: str, token: str) -> NewDevice:
    more = PACE.format(user="root" if os.geteuid() == 0 else "", script=folder.with_name("append"))
    made = NewDevice(folder, reconnect_seconds=0.2, more=more)
    done = await made.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", device, token=token)
    assert done.code == 0, done
    return made


async def token(*words: str) -> str:
    return (await said("token", "create", *words)).out.strip()


async def ran(script: Path, line: str, *devices: str) -> None:
    """A command that leaves a line behind on each of these."""
    chosen = [word for device in devices for word in ("-d", device)]
    await said("exec", "-y", "--wait", *chosen, "--", str(script), line)


async def measured(device: NewDevice, values: range) -> None:
    """Numbered samples, each acknowledged by the device's own store."""
    status = device.status()
    assert status
    url = f"nats://127.0.0.1:{status.leaf.port}"
    client = await connect(url, what="reach the leaf", name="a", inbox_prefix="_INBOX.a", reconnect=False)
    try:
        for value in values:
            await client.request(localsubjects.local_metric("n"), str(value).encode(), timeout=5)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def inside(hub: Hub) -> AsyncIterator[Any]:
    async with as_the_hub(hub.place.path, f"nats://127.0.0.1:{hub.client_port}") as client:
        yield client


async def forwarded(hub: Hub, device: str, count: int) -> None:
    """The hub has every number below ``count`` of the device, each once."""

    async def all_there() -> bool:
        with contextlib.suppress(EdgeError):
            async with inside(hub) as client:
                return await numbers(client, device) == list(range(count))
        return False

    await until(all_there, f"{count} samples of {device} are on the hub", PATIENCE_SECONDS)


async def events(device: str) -> list[str]:
    async with Fleet() as fleet:
        found = read_all(fleet.client, "EDGE_EVENTS", f"edge.from.{device}.event.*")
        return [wire.decode(item.data, wire.Event).kind async for item in found]


async def all_online(*devices: str) -> None:
    async with Fleet() as fleet:

        async def so() -> bool:
            # Whoever is asked in the moment of its start is asked again.
            return {*online(await fleet.query(timeout=1.0))} >= {*devices}

        await until(so, f"{devices} are online", PATIENCE_SECONDS)


async def config(device: str) -> dict[str, Any]:
    rows = json.loads((await said("config", "status", "--json")).out)
    return next(dict(row) for row in rows if row["id"] == device)


async def test_what_happened_after_the_backup(hub: Hub, tmp_path: Path) -> None:
    out, backup = tmp_path / "out", tmp_path / "hub.tar"
    script = tmp_path / "append"
    script.write_text(f"#!/bin/sh\necho $1 >> {out}\n")
    script.chmod(0o755)
    async with contextlib.AsyncExitStack() as stack:
        with started(hub.up()):
            await until(hub.answers, "the hub answers", PATIENCE_SECONDS)
            first, spare = await asyncio.gather(token("--groups", "kitchen", "--uses", "2"), token("--groups", "attic"))
            one, two = await asyncio.gather(*(enrolled(hub, tmp_path / name, name, first) for name in ("pi-1", "pi-2")))
            for device in (one, two):
                stack.enter_context(device.running())
            await all_online("pi-1", "pi-2")
            await said("config", "set", "--fleet", "app.oven.degrees=180")
            await ran(script, "before", "pi-1", "pi-2")
            await measured(one, range(20))
            await forwarded(hub, "pi-1", 20)
            ghost = hub.command("device", "add", "ghost", "--out", str(tmp_path / "ghost.creds"))
            assert ghost.code == 0

            taken = hub.command("hub", "backup", "--out", str(backup), "--json")
            assert taken.code == 0 and json.loads(taken.out)["final"] is False

            late = await enrolled(hub, tmp_path / "pi-9", "pi-9", spare)
            stack.enter_context(late.running())
            await all_online("pi-9")
            await asyncio.gather(
                said("config", "set", "--fleet", "app.oven.degrees=220"),
                said("operator", "add", "otto", "--role", "operator", "--out", str(tmp_path / "otto.context")),
                said("device", "revoke", "ghost"),
            )
            await ran(script, "after", "pi-1", "pi-2", "pi-9")
            await measured(one, range(20, 40))
            await forwarded(hub, "pi-1", 40)
            async with inside(hub) as client:
                (ghost_record, _), (known, _) = [await register.find(client, name) or (None, 0) for name in ("ghost", "pi-9")]
            assert ghost_record and known and known.groups == ["attic"]
            await until(lambda: config_is(one, 220), "pi-1 follows", PATIENCE_SECONDS)

        old = hub.place.path.with_name("hub.old")
        hub.place.path.rename(old)
        await measured(one, range(40, 60))
        done = hub.command("hub", "restore", str(backup), "--old", str(old), "--json")
        assert done.code == 0, done
        summary = json.loads(done.out)
        assert len(summary["tokens_ended"]) == 1 and summary["do_again"] and "FLEET" in summary["newer_accounts"]

        with started(hub.up()):
            await until(hub.answers, "the hub answers", PATIENCE_SECONDS)
            await all_online("pi-1", "pi-2", "pi-9")
            await until(lambda: adopted(hub, known), "pi-9 is registered again", PATIENCE_SECONDS)
            # Nothing runs twice, and nothing that was measured is lost or there twice.
            await forwarded(hub, "pi-1", 60)
            await measured(one, range(60, 80))
            await forwarded(hub, "pi-1", 80)
            await ran(script, "again", "pi-1", "pi-2", "pi-9")
            assert sorted(out.read_text().split()) == sorted(["before"] * 2 + ["after"] * 3 + ["again"] * 3)
            # Who was kept out stays out: the old folder knew it.
            async with inside(hub) as client:
                kept = await Bucket(client, REVOCATIONS_BUCKET, Revocation).find(f"FLEET.{ghost_record.key}")
            assert kept and kept[0].until >= ghost_record.issued_at
            # A token that was used is none any more.
            thief = NewDevice(tmp_path / "thief")
            refused = await thief.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-9", token=spare)
            assert refused.code == 1 and "this token was revoked" in refused.err
            # The configuration goes back nowhere, says so, and takes the next one.
            row = await config("pi-1")
            assert "an older configuration" in str(row["error"])
            assert {"config.hub_went_back"} <= set(await events("pi-1")) and config_is(one, 220)
            assert {"hub.restored", "device.adopted"} <= set(await events("hub"))
            await said("config", "set", "--fleet", "app.oven.degrees=200")
            await until(lambda: config_is(one, 200) and config_is(late, 200), "all follow the next one", PATIENCE_SECONDS)
            # The audit goes on where it was, and has nothing twice.
            await until(lambda: audited(hub, [180, 200]), "the audit has both documents, each once", PATIENCE_SECONDS)
            # A person who was let in since is still let in.
            await said("context", "import", str(tmp_path / "otto.context"), "--name", "otto")
            await said("fleet", "ls", "--context", "otto")


def config_is(device: NewDevice, degrees: int) -> bool:
    """Whether the device would start with that."""
    kept = lastgood.load(device.state).get("fleet.all")
    return kept is not None and flat(kept.values).get("app.oven.degrees") == degrees


async def audited(hub: Hub, degrees: list[int]) -> bool:
    async with inside(hub) as client:
        found = read_all(client, "EDGE_AUDIT", document(FLEET_ALL), prefix="$JS.API")
        bodies = [peek(item.data).body async for item in found]
    return [int(number) for body in bodies for number in re.findall(r'"degrees": ?([0-9]+)', body)] == degrees


async def adopted(hub: Hub, known: wire.DeviceRecord) -> bool:
    async with inside(hub) as client:
        found = await register.find(client, known.id)
    if found is None:
        return False
    record = found[0]
    return (record.key, record.groups, record.issued_at, record.expires_at) == (
        known.key,
        known.groups,
        known.issued_at,
        known.expires_at,
    )
