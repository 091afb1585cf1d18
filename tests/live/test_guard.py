"""The hub's services end the link of a leaf that poses as a hub, which nats-server itself lets in (see test_attacks.py)."""

from __future__ import annotations

import asyncio

from edgeagent.hub.keyring import Keyring
from tests.support.fleet import LiveFleet
from tests.support.rogue import Rogue

PATIENCE_SECONDS = 30.0


async def test_a_leaf_that_poses_as_a_hub_is_ended(fleet: LiveFleet) -> None:
    credentials = Keyring.load(fleet.hub.path).device_credentials("pi-66")
    async with await Rogue.connect(fleet.hub.options().leaf_port, credentials, is_hub=True) as rogue:
        await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)


async def test_an_honest_leaf_is_left_alone(fleet: LiveFleet) -> None:
    keyring, port = Keyring.load(fleet.hub.path), fleet.hub.options().leaf_port
    async with await Rogue.connect(port, keyring.device_credentials("pi-67")) as honest:
        async with await Rogue.connect(port, keyring.device_credentials("pi-68"), is_hub=True) as rogue:
            await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
        # The look that found the tampered leaf has seen the honest one too.
        assert await honest.settle()
