"""A hub of three servers, one of which lags behind: what it does not have yet is asked for again, and no command is passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import documents, subjects
from edgeagent.direct import Stored, get_last
from edgeagent.documents import LAG_TRIES
from edgeagent.errors import Unreachable
from edgeagent.link import Client, settle
from edgeagent.patterns.commands import KEY
from edgeagent.subjects import FLEET_ALL
from edgeagent.times import rfc3339
from tests.support.commanding import Author, CommandDevice, heard, person, pins_of, results_of
from tests.support.lagging import LaggingCluster
from tests.support.servers import until

HEAD = subjects.command_log(FLEET_ALL)
#: Until all is well in a cluster that is whole again: its copies elect anew, and what was published meanwhile is tried again.
HEAL_SECONDS = 90.0
pytestmark = pytest.mark.timeout(300)


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LaggingCluster]:
    async with LaggingCluster(tmp_path / "hub") as cluster:
        yield cluster


@pytest_asyncio.fixture
async def author(cluster: LaggingCluster) -> Author:
    return Author(await cluster.near.connect("OPS"), person(cluster.near))


@pytest_asyncio.fixture
async def client(cluster: LaggingCluster) -> Client:
    """Of the device: at the server that can be left behind."""
    return await cluster.far.connect("FLEET")


@pytest.fixture
def device(cluster: LaggingCluster, client: Client, tmp_path: Path) -> CommandDevice:
    made = CommandDevice(client, tmp_path / "device", site="berlin")
    made.trust(pins_of(cluster.near))
    return made


async def head(client: Client) -> Stored:
    found = await get_last(client, "EDGE_COMMANDS", HEAD)
    assert found is not None
    return found


async def has(client: Client, number: int) -> None:
    """Wait until the server that answers here has this entry."""

    async def there() -> bool:
        return await get_last(client, "EDGE_COMMANDS", subjects.command_log(FLEET_ALL, number)) is not None

    await until(there, f"it has entry {number}")


async def test_what_a_server_does_not_have_yet_is_not_passed_over(
    cluster: LaggingCluster, device: CommandDevice, author: Author, client: Client, tmp_path: Path
) -> None:
    """The head was read at a server that has it, and what is below it is asked of one that lags behind."""
    out = tmp_path / "out"
    async with device.running():
        await heard(author.client, await author.send("test.append", {"path": str(out), "line": "1"}))
        await has(client, 1)
        await cluster.leave_behind()
        ids = [await author.send("test.append", {"path": str(out), "line": line}) for line in "234"]
        newest = await head(author.client)
        assert (await head(client)).subject == subjects.command_log(FLEET_ALL, 1), "the third server lags behind"
        with pytest.raises(Unreachable, match="lags behind"):
            await device.commands.changed(f"{KEY}fleet.all", newest)
        assert device.journal.position("fleet.all").cursor == 1 and "command.hub_went_back" not in device.kinds()
        await cluster.catch_up()
        await has(client, 4)
        await device.commands.changed(f"{KEY}fleet.all", newest)
        assert {found.state for found in await results_of(author.client, ids, seconds=HEAL_SECONDS)} == {"succeeded"}
    assert out.read_text().split() == list("1234")


async def test_what_rang_is_asked_for_until_the_server_has_it(
    cluster: LaggingCluster, device: CommandDevice, author: Author, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bell of an entry comes before the entry does: the race that a cluster has for milliseconds, held open here."""
    monkeypatch.setattr(documents, "SPACING_SECONDS", 0.05)
    monkeypatch.setattr(documents, "LAG_LOOKS", 10**6)
    # A copy without a leader may not answer for a moment: then it is asked again soon.
    monkeypatch.setattr(documents, "RETRY_SECONDS", (0.05, 0.2))
    async with device.running():
        await heard(author.client, await author.send("ping"))
        await has(client, 1)
        await cluster.leave_behind()
        name = await author.send("ping")
        newest, asked = await head(author.client), counted(client, monkeypatch)
        marks = {
            "Nats-Stream": "EDGE_COMMANDS",
            "Nats-Subject": newest.subject,
            "Nats-Sequence": str(newest.sequence),
            "Nats-Time-Stamp": rfc3339(newest.time),
        }
        await client.publish(subjects.command_doorbell(FLEET_ALL), headers=marks)
        await settle(client, what="ring")
        # A copy that has lost its leader leaves each question without an answer for 5 s.
        await until(lambda: asked.count(HEAD) > 2 * LAG_TRIES, "it asks again and again", 2 * HEAL_SECONDS)
        assert device.journal.command(name) is None
        await cluster.catch_up()
        assert (await heard(author.client, name, seconds=HEAL_SECONDS)).state == "succeeded"


def counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects of entries that are read with the client from now on."""
    found: list[str] = []
    ask = client.request

    async def noted(subject: str, *args: object, **options: object) -> object:
        found.append(subject.partition("EDGE_COMMANDS.")[2])
        return await ask(subject, *args, **options)

    monkeypatch.setattr(client, "request", noted)
    return found
