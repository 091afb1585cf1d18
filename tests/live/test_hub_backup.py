"""Backups of a hub that is written to, what becomes of a damaged one, and a hub of one server that becomes one of three."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nats.js import api

from edgeagent.assembly.backupplace import opened
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubrestore import restore
from edgeagent.assembly.hubrestoreplan import members
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError
from edgeagent.hub.backupfile import check
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client, request
from edgeagent.publish import published
from tests.support.fleet import PATIENCE_SECONDS, cli, start_cli
from tests.support.hub import Hub, answers, ended, new_hub, started
from tests.support.servers import until

METRICS, AUDIT = "EDGE_METRICS", "EDGE_AUDIT"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with new_hub(tmp_path_factory.mktemp("backup")) as hub:
        yield hub


async def inside(place: HubFolder) -> Client:
    return await sign_in(place, Keyring.load(place.path), "hub")


async def state(client: Client, stream: str) -> dict[str, Any]:
    answer = await request(client, f"$JS.API.STREAM.INFO.{stream}", what="look")
    return dict(json.loads(answer.data)["state"])


async def audited(client: Client) -> list[tuple[str, str]]:
    found = read_all(client, AUDIT, ">", prefix="$JS.API")
    return [(item.subject, hashlib.sha256(item.data).hexdigest()) async for item in found]


def forged(backup: Path, target: Path, name: str, data: bytes) -> Path:
    """The same backup with another member, and sums that fit."""
    with tarfile.open(backup) as tar:
        found = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    contents = {**dict(found), name: data}
    manifest = json.loads(contents["manifest.json"])
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    contents["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in sorted(contents.items(), key=lambda item: (item[0] == "manifest.json", item[0] != "README")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    target.chmod(0o600)
    return target


@dataclass(frozen=True)
class Taken:
    """backup: taken while everything wrote; said: what that said. last: the final one. before: the newest state of METRICS, which a consumer
    had read so far; documents: all that was audited until then."""

    backup: Path
    said: dict[str, Any]
    last: Path
    before: dict[str, Any]
    read: int
    documents: list[tuple[str, str]]


@pytest.fixture(scope="module")
def taken(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Taken:
    with started(hub.up()) as up:
        made = asyncio.run(take(hub, tmp_path_factory.mktemp("taken")))
        ended(up, signal.SIGTERM)
    said = hub.command("hub", "backup", "--out", str(made.last), "--final")
    assert said.code == 0, said
    return made


async def take(hub: Hub, folder: Path) -> Taken:
    backup, last, over = folder / "hub.tar", folder / "last.tar", asyncio.Event()
    await until(hub.answers, "the hub answers", PATIENCE_SECONDS)
    client = await inside(hub.place)
    await client.jetstream().add_consumer(METRICS, api.ConsumerConfig(durable_name="sink", ack_policy=api.AckPolicy.EXPLICIT))
    sink = await client.jetstream().pull_subscribe_bind("sink", METRICS)

    async def write() -> None:
        for number in itertools.count():
            await published(client, f"edge.from.pi-{number % 3}.metric", b"%d" % number)
            if over.is_set():
                return

    writing = asyncio.create_task(write())
    acknowledged = await sink.fetch(5, timeout=30)
    for message in acknowledged:
        await message.ack_sync()
    for number in range(3):
        said = cli("config", "set", "--fleet", f"app.oven.degrees={number}")
        assert said.code == 0, said
    done = await asyncio.to_thread(hub.command, "hub", "backup", "--out", str(backup), "--json")
    assert done.code == 0, done
    over.set()
    await writing
    running = await asyncio.to_thread(hub.command, "hub", "backup", "--out", str(last), "--final")
    assert running.code == 1 and "already running" in running.err and not last.exists()
    before, documents = await state(client, METRICS), await audited(client)
    await client.close()
    return Taken(backup, json.loads(done.out), last, before, len(acknowledged), documents)


def test_it_is_taken_while_everything_writes(hub: Hub, taken: Taken) -> None:
    (metrics,) = [one for one in taken.said["streams"] if one["id"] == METRICS]
    assert 0 < metrics["messages"] < taken.before["messages"]
    refused = hub.command("hub", "backup", "--out", str(taken.backup))
    assert refused.code == 1 and "there is such a file already" in refused.err
    checked = cli("hub", "restore", str(taken.backup), "--check", "--json")
    assert checked.code == 0 and json.loads(checked.out)["streams"] == taken.said["streams"]


async def test_the_final_one_goes_from_one_server_to_three(hub: Hub, taken: Taken, tmp_path: Path) -> None:
    """The services' consumers go on where they were, the audit has nothing twice, and the old hub stays down."""
    again = hub.command("hub", "up")
    assert again.code == 1 and "its final backup was taken" in again.err
    folders = [HubFolder(tmp_path / name) for name in ("hub", "hub-2", "hub-3")]
    words = ("hub", "restore", str(taken.last), "--dir", str(folders[0].path), "--cluster", "3", "--json")
    made = await asyncio.to_thread(cli, *words)
    assert made.code == 0, made
    assert json.loads(made.out)["tokens_ended"] == [] and json.loads(made.out)["do_again"] == []
    with contextlib.ExitStack() as stack:
        up = [stack.enter_context(started(start_cli("hub", "up", "--dir", str(place.path)))) for place in folders]
        await until(lambda: answers(folders[0]), "the hub answers", PATIENCE_SECONDS)
        client = await inside(folders[0])
        info = json.loads((await request(client, f"$JS.API.STREAM.INFO.{METRICS}", what="look")).data)
        assert {key: info["state"][key] for key in ("messages", "first_seq", "last_seq")} == {
            key: taken.before[key] for key in ("messages", "first_seq", "last_seq")
        }
        assert info["config"]["num_replicas"] == 3 and len(info["cluster"]["replicas"]) == 2
        consumer = await client.jetstream().consumer_info(METRICS, "sink")
        assert consumer.num_pending == taken.before["messages"] - taken.read
        assert await audited(client) == taken.documents
        await client.close()
        for process in up:  # all at once
            process.send_signal(signal.SIGTERM)


async def test_an_attacker_who_can_write_the_file_gets_nothing_run_and_nothing_replaced(
    hub: Hub, taken: Taken, tmp_path: Path
) -> None:
    """He writes sums that fit."""
    backup, place = taken.backup, tmp_path / "new"
    tries = {
        "hub/store/jetstream/x": (b"", "somebody made it up"),
        "hub/accounts/x.jwt": (b"", "somebody made it up"),
        f"accounts/A{'A' * 55}.jwt": (b"e30.e30.e30", "cannot"),
        "hub/keys/operator-signing.nk": (b"SOAAAA", "keys are not whole"),
        "hub/hub.toml": (b"[hub\n", "not valid TOML"),
        f"streams/{METRICS}/backup.json": (b'{"config": {"name": "other"}, "state": {}}', "somebody made it up"),
    }
    for number, (name, (data, why)) in enumerate(tries.items()):
        bad = forged(backup, tmp_path / f"bad-{number}.tar", name, data)
        with opened(bad) as source:
            assert check(source).manifest.hub == "berlin", "else this proves nothing"
            source.seek(0)
            with pytest.raises(EdgeError, match=why):
                await restore(source, lambda *before: members(HubFolder(place), before, {}, size=None))
        assert not place.exists() and not list(tmp_path.glob(".new*")), name
    evil, ran = tmp_path / "evil", tmp_path / "ran"
    evil.write_text(f"#!/bin/sh\ntouch {ran}\n")
    evil.chmod(0o755)
    text = hub.place.options_file.read_bytes().replace(b'server = ""', f'server = "{evil}"'.encode())
    bad = forged(backup, tmp_path / "evil.tar", "hub/hub.toml", text)
    made = cli("hub", "restore", str(bad), "--dir", str(place))
    assert made.code == 0 and not ran.exists() and HubFolder(place).options().server == "", made
    again = cli("hub", "restore", str(backup), "--dir", str(place))
    assert again.code == 1 and "something is there already" in again.err
