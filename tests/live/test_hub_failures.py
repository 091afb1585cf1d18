"""What the hub does when a part of it fails: it mends that itself, or ends with the reason, so that systemd starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import Closed, Unreachable
from edgeagent.hub.keyring import Keyring
from edgeagent.link import request
from edgeagent.natsserver import binary
from tests.support.fleet import PATIENCE_SECONDS
from tests.support.hub import Hub, ended, new_hub, started
from tests.support.rogue import Rogue
from tests.support.servers import is_alive, kill, until


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as hub:
        yield hub
        if hub.place.server_pid.exists() and is_alive(hub.server):
            kill(hub.server)


async def test_a_lost_store_is_filled_with_streams_again(hub: Hub) -> None:
    with started(hub.up()):
        await until(hub.answers, "the hub answers")
        killed = hub.server
        (hub.place.path / "store").rename(hub.place.path / "lost")
        kill(killed)

        def whole() -> bool:
            said = hub.command("hub", "status", "--json")
            return said.code == 0 and all("problem" not in stream for stream in json.loads(said.out)["streams"])

        await until(whole, "every stream is there again", PATIENCE_SECONDS)
        assert hub.server != killed
        assert hub.command("device", "add", "pi-01", "--out", str(hub.place.path / "pi-01.creds")).code == 0


async def test_a_connection_that_the_server_ended_ends_the_hub(hub: Hub) -> None:
    with started(hub.up()) as running:
        await until(hub.answers, "the hub answers")
        server = hub.server
        await revoke_the_hub_itself(hub)
        _, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 1 and "Traceback" not in err, err
    assert "edgeagent: cannot stay connected to nats-server: " in err and "revoked" in err.lower(), err
    assert not is_alive(server)


async def revoke_the_hub_itself(hub: Hub) -> None:
    """nats-server says -ERR and closes: nats-py takes that as the end of the connection."""
    keyring = Keyring.load(hub.place.path)
    user = keyring.service_credentials("hub").public_key
    _, token = keyring.account_jwts(revocations={"HUB": {user: int(time.time()) + 60}})["HUB"]
    system = await sign_in(hub.place, keyring, "sys")
    try:
        with contextlib.suppress(Unreachable, Closed):  # the hub may have ended its server before that has answered
            await request(system, "$SYS.REQ.CLAIMS.UPDATE", token.encode(), what="push an account")
    finally:
        await system.close()


async def test_a_server_that_can_not_be_started_again_ends_the_hub(hub: Hub) -> None:
    with started(hub.up()) as running:
        await until(hub.answers, "the hub answers")
        hub.place.configuration.write_text("this { is no configuration")
        kill(hub.server)
        _, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 1 and "Traceback" not in err, err
    assert "nats-server does not accept its configuration" in err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_start_can_be_ended(hub: Hub, tmp_path: Path, number: signal.Signals) -> None:
    """By a signal while nats-server is not ready yet."""
    never_ready = tmp_path / "never-ready"
    never_ready.write_text(f'#!/bin/sh\n[ "$1" = -c ] || exec {binary.find().path} "$@"\nexec sleep 1000\n')
    never_ready.chmod(0o755)
    text = hub.place.options_file.read_text()
    hub.place.options_file.write_text(text.replace('server = ""', f'server = "{never_ready}"'))
    with started(hub.up()) as running:
        await until(lambda: hub.place.server_pid.exists() and is_alive(hub.server), "it has begun to start nats-server")
        code, err = ended(running, number)
    assert (code, "Traceback" in err) == (0, False), err
    assert not is_alive(hub.server)


async def test_a_tampered_leaf_that_came_while_the_services_were_down_is_ended(hub: Hub) -> None:
    first = hub.up()
    with started(first):
        await until(hub.answers, "the hub answers")
        first.kill()
        first.communicate()
    assert is_alive(hub.server), "nats-server outlives its services"
    credentials = Keyring.load(hub.place.path).device_credentials("pi-66")
    async with await Rogue.connect(hub.leaf_port, credentials, is_hub=True) as rogue:
        assert await rogue.settle(), "nobody is there to end it"
        with started(hub.up()):
            await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
