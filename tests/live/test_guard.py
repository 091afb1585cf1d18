"""The hub's services end the link of a leaf that poses as a hub, which nats-server itself lets in (see test_attacks.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edgeagent.hub.keyring import Keyring
from edgeagent.hub.visitors import MAX_RENEWALS
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.fleet import LiveFleet
from tests.support.home import own_home
from tests.support.rogue import Rogue

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """A hub of its own: the leafs of these tests stay in its presence."""
    folder = tmp_path_factory.mktemp("guard")
    with own_home(folder / "home"), LiveFleet(folder / "fleet", 0) as alone:
        yield alone


async def test_a_leaf_that_poses_as_a_hub_is_ended(hub: LiveFleet) -> None:
    credentials = Keyring.load(hub.hub.path).device_credentials("pi-66")
    async with await Rogue.connect(hub.hub.options().leaf_port, credentials, is_hub=True) as rogue:
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)


async def test_one_device_cannot_take_the_places_of_newcomers(hub: LiveFleet) -> None:
    keyring, port, key = Keyring.load(hub.hub.path), hub.hub.options().leaf_port, KeyPair.generate("user")
    login = Credentials(keyring.renewal_jwt("pi-69", key.public), key.seed)
    rogues = [await Rogue.connect(port, login) for _ in range(MAX_RENEWALS + 2)]
    try:
        await asyncio.wait_for(asyncio.gather(*(rogue.closed.wait() for rogue in rogues[:2])), PATIENCE_SECONDS)
        assert all([await rogue.settle() for rogue in rogues[2:]])
    finally:
        for rogue in rogues:
            await rogue.close()


async def test_one_that_floods_is_cut_off_and_holds_up_nobody(hub: LiveFleet) -> None:
    keyring, port = Keyring.load(hub.hub.path), hub.hub.options().leaf_port
    flooder, other = keyring.device_credentials("pi-70"), keyring.device_credentials("pi-71")
    async with await Rogue.connect(port, flooder) as rogue, await Rogue.connect(port, other) as honest:
        for number in range(5000):
            rogue.publish("edge.from.pi-70.request.renew", b"{}", reply=f"edge.to.device.pi-70.in.{number}")
        answer = await honest.request("edge.from.pi-71.request.renew", b"{}")
        assert answer and b"cannot read the request" in answer.data
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
        assert await honest.settle()


async def test_an_honest_leaf_is_left_alone(hub: LiveFleet) -> None:
    keyring, port = Keyring.load(hub.hub.path), hub.hub.options().leaf_port
    async with await Rogue.connect(port, keyring.device_credentials("pi-67")) as honest:
        async with await Rogue.connect(port, keyring.device_credentials("pi-68"), is_hub=True) as rogue:
            await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
        # The look that found the tampered leaf has seen the honest one too.
        assert await honest.settle()
