"""An operator whose hub is in the hands of somebody else: what it shows is judged by the role keys that came with the login."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from edgeagent import context, subjects, wire
from edgeagent.assembly import people
from edgeagent.assembly.people import Person, Reached
from edgeagent.command import Entry, Result, new_id
from edgeagent.direct import get_last, read_all
from edgeagent.errors import Refused
from edgeagent.fleet import Fleet, signers
from edgeagent.fleet.commandlogs import append, signed_entry
from edgeagent.fleet.rolekeys import HOW, RoleKeys
from edgeagent.hub.owner import Owner
from edgeagent.publish import published
from edgeagent.subjects import Scope
from edgeagent.trust import creds
from edgeagent.trust import signers as document
from edgeagent.trust.creds import Credentials
from edgeagent.trust.pins import load
from tests.support.administering import inside, registered
from tests.support.fleet import CONTEXT_USER, LiveFleet, Said, cli

STREAM = "EDGE_COMMANDS"
PI_01, BERLIN = Scope.device("pi-01"), Scope.group("berlin")
#: Who has the hub's store, and keys of their own making.
STRANGER = Owner.create("berlin")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("rolekeys"), 0) as fleet:
        with fleet.borrowed():
            asyncio.run(_filled(fleet))
        yield fleet


async def _filled(hub: LiveFleet) -> None:
    await registered(hub, "pi-01", "berlin", "left")


@pytest.fixture
def hub(running: LiveFleet) -> Iterator[LiveFleet]:
    with running.borrowed() as fleet:
        yield fleet


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    """The first administrator."""
    async with Fleet() as opened:
        yield opened


def forged(name: str, role: str = "operator") -> Credentials:
    return STRANGER.operator_credentials(name, role)  # type: ignore[arg-type]


def handed_over(hub: LiveFleet, folder: Path, name: str) -> Fleet:
    """An operator of the hub, as people become one: a file is made, and imported."""
    file = folder / f"{name}.context"
    people.add_operator(hub.owner, Person(name=name, role="operator"), Reached(url=hub.url), file)
    chosen = context.current_name()
    people.accept(file, name)
    if chosen:
        context.use(chosen)
    return Fleet(name)


async def typed(*words: str, **more: str) -> Said:
    return await asyncio.to_thread(cli, *words, **more)


async def say(hub: LiveFleet, command: str, state: str) -> None:
    """What pi-01 would say of the command."""
    result = wire.encode(Result(id=command, state=state))  # type: ignore[arg-type]
    async with inside(hub) as client:
        await published(client, subjects.result("pi-01", command), result)


async def planted(fleet: Fleet, entry: Entry, who: Credentials, number: int, scope: Scope = PI_01) -> None:
    data = signed_entry(who, scope, entry, number=number, at=int(time.time()))
    await published(fleet.client, subjects.command_log(scope, number), data)


def reboot(who: Credentials, **more: object) -> Entry:
    """who: is going to sign it."""
    now = time.time()
    return Entry(id=new_id(now, who.public_key), action="reboot", log="l", floor=1, not_after=int(now) + 600, **more)  # type: ignore[arg-type]


async def entries(fleet: Fleet) -> int:
    return len([item async for item in read_all(fleet.client, STREAM, "edge.to.*.*.cmd.*")])


# ---- whose command it is ---------------------------------------------------------------------------------------------------


async def test_what_the_hub_put_in_place_of_a_command_is_not_sent_again(hub: LiveFleet, fleet: Fleet) -> None:
    running = await fleet.commands.run("service.status", {"unit": "nginx"}, devices=["pi-01"])
    head = await get_last(fleet.client, STREAM, subjects.command_log(PI_01))
    assert head is not None
    now = int(time.time())
    evil = Entry(id=running.id, action="exec", args={"argv": ["/bin/evil"]}, log="l", floor=1, not_after=now)
    async with inside(hub) as client:
        await client.jetstream().purge_stream(STREAM)
        data = signed_entry(forged(CONTEXT_USER), PI_01, evil, number=1, at=now)
        await published(client, subjects.command_log(PI_01, 1), data)
    await say(hub, running.id, "failed")
    before = await entries(fleet)
    for words in (("retry", running.id, "--failed", "--detach", "--yes"), ("cancel", running.id)):
        said = await typed("cmd", *words)
        assert said.code == 1 and "what the hub has of it does not count: its signer is not known here" in said.err
    assert await entries(fleet) == before, "nothing was signed"
    (row,) = [row for row in json.loads((await typed("cmd", "ls", "--json")).out) if row["id"] == running.id]
    assert row["by"] == "" and "its signer is not known here" in row["note"]
    assert "it does not count: its signer is not known here" in (await typed("cmd", "show", running.id)).out


async def test_who_repeats_what_somebody_else_gave_is_asked(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    async with handed_over(hub, tmp_path, "paul") as paul:
        theirs = await paul.commands.run("service.status", {"unit": "nginx"}, devices=["pi-01"])
    mine = await fleet.commands.run("service.status", {"unit": "nginx"}, devices=["pi-01"])
    dangerous = await fleet.commands.run("reboot", devices=["pi-01"])
    for command in (theirs.id, mine.id, dangerous.id):
        await say(hub, command, "failed")
    before = await entries(fleet)
    asked = {theirs.id: 'paul gave it: service.status {"unit": "nginx"}', dangerous.id: f"{CONTEXT_USER} gave it: reboot {{}}"}
    for command, shown in asked.items():
        said = await typed("cmd", "retry", command, "--failed", "--detach")
        assert said.code == 2 and "nobody is there to confirm it" in said.err and shown in said.err
        assert await entries(fleet) == before
    assert (await typed("cmd", "retry", mine.id, "--failed", "--detach")).code == 0
    assert (await typed("cmd", "retry", theirs.id, "--failed", "--detach", "--yes")).code == 0
    assert await entries(fleet) == before + 2


async def test_a_strangers_entry_says_nothing_of_the_log(fleet: Fleet) -> None:
    scope, good, stranger = Scope.group("log"), reboot(fleet.login), forged("anna")
    await append(fleet.client, fleet.login, scope, good, await fleet.pins())
    first = await get_last(fleet.client, STREAM, subjects.command_log(scope))
    assert first is not None
    await planted(fleet, msgspec.structs.replace(reboot(stranger), log="evil", floor=2), stranger, 2, scope)
    assert await append(fleet.client, fleet.login, scope, good, await fleet.pins()) == 3
    last = await get_last(fleet.client, STREAM, subjects.command_log(scope))
    assert last is not None
    bodies = [json.loads(json.loads(item.data)["body"]) for item in (first, last)]
    assert bodies[0]["log"] == bodies[1]["log"] and bodies[1]["floor"] == 1


# ---- how the keys come, and change -----------------------------------------------------------------------------------------


def test_the_first_administrator_and_everybody_who_is_let_in_has_them(hub: LiveFleet, tmp_path: Path) -> None:
    handed_over(hub, tmp_path, "nora")
    for name in (None, "nora"):
        assert load(Path(context.load(name).role_keys)).signers == hub.owner.signers()


async def test_a_revocation_reaches_every_operator(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    scope = Scope.group("left")
    async with handed_over(hub, tmp_path, "rick") as rick, handed_over(hub, tmp_path, "omar") as omar:
        await rick.config.set(scope, {"app.a.b": 1}, force=True)
        command = await rick.commands.run("reboot", devices=["pi-01"])
        assert (await omar.config.read(scope)).by == "rick" and (await omar.commands.get(command.id)).command.by == "rick"
        await signers.change(fleet.client, fleet.login, revoke={rick.login.public_key: int(time.time())})
        gone = await omar.config.read(scope)
        assert (gone.by, gone.revoked) == ("", True) and "rick's login was revoked" in gone.problem
        assert load(Path(context.load("omar").role_keys)).revoked.keys() >= {rick.login.public_key}
        with pytest.raises(Refused, match="cannot build on"):
            await omar.config.set(scope, {"app.a.c": 1})
        found = (await omar.commands.get(command.id)).command
        assert found.by == "" and found.problem and found.revoked
        await say(hub, command.id, "failed")
        with pytest.raises(Refused, match="rick's login was revoked"):
            await omar.commands.retry(command.id)
        await say(hub, command.id, "running")
        await omar.commands.cancel(command.id)  # what devices took up before goes on: it can be ended
        assert (await omar.commands.get(command.id)).command.cancelled_by == "omar"


async def test_keys_are_exchanged_by_an_administrator_only(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    before = await fleet.pins()
    assert before is not None
    planted = document.changed(forged("anna", "admin"), None, now=time.time() + 60, signers=STRANGER.signers())
    stored = await signers.stored(fleet.client)
    old = stored.data if stored else document.changed(fleet.login, None, now=time.time())
    async with inside(hub) as client:
        await published(client, subjects.document(subjects.SIGNERS), planted)
        assert await fleet.pins() == before and (await fleet.config.read(BERLIN)).problem == ""
        await published(client, subjects.document(subjects.SIGNERS), old)
    other = Owner.create("berlin").signers()
    exchanged = {key: role for key, role in other.items() if role != "admin"}
    exchanged |= {key: role for key, role in before.signers.items() if role == "admin"}
    async with handed_over(hub, tmp_path, "otto") as otto:
        await otto.config.set(BERLIN, {"app.a.b": 1})
        await signers.change(fleet.client, fleet.login, role_keys=exchanged)
        assert "its signer is not known here" in (await fleet.config.read(BERLIN)).problem
        again = await fleet.config.replace(BERLIN, {"app": {"a": {"b": 1}}})
        assert again.written and (await fleet.config.read(BERLIN)).by == CONTEXT_USER, "signed anew, it counts"
        await signers.change(fleet.client, fleet.login, role_keys=before.signers)


async def test_an_older_context_is_told_once_how_to_get_them(
    hub: LiveFleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ada.creds"
    file.touch(0o600)
    file.write_text(hub.owner.operator_credentials("ada", "operator").format())
    scope = Scope.group("older")
    with caplog.at_level(logging.WARNING, "edgeagent"):
        async with Fleet(url=hub.url, credentials=file) as ada:
            await ada.config.set(scope, {"app.a.b": 1}, force=True)
            assert (await ada.config.read(scope)).by == "ada" and await ada.pins() is None
            running = await ada.commands.run("service.status", {"unit": "nginx"}, devices=["pi-01"])
            await say(hub, running.id, "failed")
            order = await ada.commands.retry(running.id)
            assert order.again is not None and order.again.by == "ada (not checked)", "so that whoever repeats it is asked"
    assert [record.message for record in caplog.records if HOW in record.message] == [
        f"who signed what the hub shows cannot be checked: this context has no role keys; {HOW}"
    ]
    await asyncio.to_thread(context.save, context.Context(name="ada", url=hub.url, credentials=str(file)), make_current=False)
    said = await typed("config", "get", "-g", "older", "--context", "ada")
    assert said.code == 0 and said.err.count("has no role keys") == 1
    assert creds.load(file).name == "ada"


async def test_damaged_keys_are_not_taken_for_none(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "role.trust"
    file.write_bytes(b"{")
    with pytest.raises(Exception, match="context import") as caught:
        await RoleKeys(file).current(fleet.client)
    assert "enroll" not in str(caught.value)


async def test_what_is_not_followed_is_told_and_moves_no_cursor(
    hub: LiveFleet, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    before, stored = await fleet.pins(), await signers.stored(fleet.client)
    good = stored.data if stored else document.changed(fleet.login, None, now=time.time())
    evil = json.loads(document.changed(fleet.login, None, now=time.time() + 60))
    evil["document"] = json.dumps({**json.loads(evil["document"]), "scope": "\x1b[2J"})
    async with inside(hub) as client:
        await published(client, subjects.document(subjects.SIGNERS), json.dumps(evil).encode())
        with caplog.at_level(logging.WARNING, "edgeagent"):
            assert await fleet.pins() == before
        await published(client, subjects.document(subjects.SIGNERS), good)
    (told,) = [record.message for record in caplog.records if "who may sign is not followed" in record.message]
    assert "\x1b" not in told and "it was signed as signers for" in told
