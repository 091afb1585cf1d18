"""The hub's services end the link of a leaf that poses as a hub, which nats-server itself lets in (see test_attacks.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edgeagent.hub.keyring import Keyring
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


async def test_an_honest_leaf_is_left_alone(hub: LiveFleet) -> None:
    keyring, port = Keyring.load(hub.hub.path), hub.hub.options().leaf_port
    async with await Rogue.connect(port, keyring.device_credentials("pi-67")) as honest:
        async with await Rogue.connect(port, keyring.device_credentials("pi-68"), is_hub=True) as rogue:
            await asyncio.wait_for(rogue.closed.wait(), PATIENCE_SECONDS)
        # The look that found the tampered leaf has seen the honest one too.
        assert await honest.settle()
