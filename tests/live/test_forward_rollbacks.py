"""Stores that go back again and again, to any older copy: what the hub was ever given is there once, and all that is left is given."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from edgeagent import chunk, wire
from edgeagent.hub.chunkindex import ChunkIndex
from edgeagent.patterns import forwarder
from edgeagent.patterns.commonlog import last_where
from tests.support.forwarding import ForwardingDevice, numbers
from tests.support.servers import until
from tests.support.trusthub import TrustHub

STEPS = 12


@pytest.mark.parametrize("seed", [3])
async def test_any_copy_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Small chunks and a short patience, so that there are backlogs with gaps, and the newest chunk is often one of a backlog."""
    monkeypatch.setattr(chunk, "MAX_SAMPLES", 50)
    monkeypatch.setattr(forwarder, "PROMPT_MESSAGES", 120)
    drawn = random.Random(seed)
    async with TrustHub(tmp_path / "hub") as hub, ChunkIndex(await hub.connect("HUB"), await hub.connect("HUB")):
        device = ForwardingDevice(hub, tmp_path / "pi-1")
        stored: list[int] = []
        copies: dict[str, list[int]] = {}
        given: set[int] = set()
        for step in range(STEPS):
            async with device.leaf_running():
                for _ in range(drawn.randint(1, 3)):
                    first = device.published
                    await device.publish(drawn.choice([0, 3, 40, 700]))
                    stored += range(first, device.published)
                    given |= set(stored) if await forwarded(device, drawn.random()) else set()
            what = drawn.random()
            if what < 0.4:
                device.save(f"copy {step}")
                copies[f"copy {step}"] = list(stored)
            elif what < 0.8 and copies:
                name = drawn.choice(sorted(copies))
                device.put_back(name)
                stored = list(copies[name])
        async with device.leaf_running(), device.forwarding():
            await device.idle()
        found = await numbers(await hub.connect("HUB"))
    assert [number for number, count in Counter(found).items() if count > 1] == []
    assert given | set(stored) <= set(found) <= set(range(device.published))


async def forwarded(device: ForwardingDevice, chance: float) -> bool:
    """Whether everything was; else the forwarder was ended on its way, or did not run."""
    if chance < 0.2:
        return False
    async with device.forwarding() as forwarding:
        if chance < 0.6:
            await until(lambda: forwarding.status().known and forwarding.status().acknowledged > 0, "a chunk was taken")
            return False
        await device.idle()
    return True


@pytest.mark.parametrize("there", [[1], [1, 2, 3], [5, 9, 1000], list(range(1, 400, 7))], ids=["one", "all", "few", "many"])
async def test_halving_finds_the_last_chunk_for_which_it_holds(there: list[int]) -> None:
    asked = 0

    async def ask(at: int) -> wire.ChunkFound:
        nonlocal asked
        asked += 1
        return wire.ChunkFound(sequence=min(each for each in there if each >= at))

    for bound in [0, *there]:
        asked = 0

        async def holds(found: wire.ChunkFound, bound: int = bound) -> bool:
            return found.sequence <= bound

        assert await last_where(ask, there[-1], holds) == bound
        assert asked <= there[-1].bit_length() + 1
