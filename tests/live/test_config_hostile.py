"""Operators configure a fleet whose hub was restored, wiped or broken into, and one of whose devices lies."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent import subjects, wire
from edgeagent.config import Document
from edgeagent.errors import Refused
from edgeagent.fleet import Fleet, signers
from edgeagent.fleet.config import STREAM
from edgeagent.link import request
from edgeagent.publish import published
from edgeagent.subjects import Scope
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.signed import sign
from tests.support.administering import inside, registered
from tests.support.configcli import applied, envelope_of, fixtures, good, here, login_file, ok, raw, soon
from tests.support.configuring import state_of
from tests.support.fleet import LiveFleet, cli
from tests.support.servers import until

PI_01 = Scope.device("pi-01")


running, hub, fleet = fixtures("hostile", 1)


async def test_nothing_is_built_upon_what_nobody_signed(hub: LiveFleet, fleet: Fleet) -> None:
    scope = Scope.group("planted")
    await registered(hub, "pi-93", "planted")
    first = await fleet.config.set(scope, {"app.good.x": 1})
    genuine = json.loads(await envelope_of(fleet, scope))
    evil = json.dumps({**genuine, "number": genuine["number"] + 1, "body": '{"values":{"app":{"evil":{"x":1}}}}'}).encode()
    moved = await fleet.config.set(Scope.group("elsewhere"), {"app.evil.x": 1}, force=True)
    assert moved.written
    for data in (evil, b"rubbish", await envelope_of(fleet, Scope.group("elsewhere"))):
        await raw(fleet, scope, data)
        with pytest.raises(Refused, match=r"cannot build on the configuration of group\.planted"):
            await fleet.config.set(scope, {"app.good.x": 2})
        with pytest.raises(Refused, match="cannot build on"):
            await fleet.config.unset(scope, ["app.good.x"])
        edited = await asyncio.to_thread(here, "edit", "-g", "planted", env={"EDITOR": "false"})
        assert edited.code == 1 and "cannot build on" in edited.err, "the editor is not even opened"
    planted = (await fleet.config.read(scope)).revision
    assert "it makes no sense" in await asyncio.to_thread(good, "get", "-g", "planted")
    assert "problem" in await soon("get", "-g", "planted")
    with pytest.raises(Refused, match="cannot build on the configuration"):
        await fleet.config.rollback(scope, planted)

    back = await fleet.config.rollback(scope, first.revision)
    assert back.written and (await fleet.config.read(scope)).values == {"app": {"good": {"x": 1}}}
    await raw(fleet, scope, evil)
    anew = await fleet.config.set(scope, {"app.good.x": 3}, force=True)
    assert anew.written and (await fleet.config.read(scope)).values == {"app": {"good": {"x": 3}}}
    assert anew.changes == {"app.good.x": (1, 3)}, "from the last that anybody signed"
    assert any("counts for nothing: nobody signed it like this" in warning for warning in anew.warnings)

    # It would be the same as what is there, if that were anything: it is written all the same.
    await raw(fleet, scope, json.dumps({**json.loads(await envelope_of(fleet, scope)), "signature": "AA"}).encode())
    forged = await fleet.config.read(scope)
    assert forged.problem and not forged.values and not forged.by, "no author is shown as if it were true"
    same = await fleet.config.replace(scope, {"app": {"good": {"x": 3}}})
    assert same.written and same.revision > forged.revision
    records = {row["revision"]: row for row in await soon("history", "-g", "planted")}
    assert records[forged.revision]["by"] is None and records[forged.revision]["changed"] == {}
    assert "nobody signed" in records[forged.revision]["problem"] and records[same.revision]["changed"] == {}
    listed = await asyncio.to_thread(good, "history", "-g", "planted")
    assert f"revision {forged.revision} (-, -; nobody signed it like this" in listed
    compared = await asyncio.to_thread(good, "diff", "-g", "planted", str(forged.revision))
    assert "nobody signed it like this" in compared and "nothing to compare" in compared


async def test_no_error_lets_the_hub_write_on_the_terminal(fleet: Fleet) -> None:
    scope = Scope.group("berlin")
    await fleet.config.set(scope, {"app.good.x": 1})
    genuine = json.loads(await envelope_of(fleet, scope))
    await raw(
        fleet, scope, json.dumps({**genuine, "kind": "\x1b]0;pwned\x07\x1b[2Jconfig stored\ngroup.berlin: revision 9"}).encode()
    )
    said = cli("config", "unset", "-g", "berlin", "app.good"), cli("config", "get", "-g", "berlin")
    said += (cli("config", "edit", "-g", "berlin"), cli("config", "history", "-g", "berlin", "--json"))
    for item in said:
        assert "pwned" in item.out + item.err and not set(item.out + item.err) & set("\x1b\x07")
        assert "\ngroup.berlin: revision 9" not in item.out + item.err
    mended = await fleet.config.replace(scope, {})
    await applied(fleet, scope, mended.generation)


async def test_the_editor_begins_with_nothing_where_nobody_signed_what_is_there(
    hub: LiveFleet, fleet: Fleet, tmp_path: Path
) -> None:
    scope = Scope.group("forced")
    await fleet.config.set(scope, {"app.good.x": 1}, force=True)
    genuine = json.loads(await envelope_of(fleet, scope))
    await raw(fleet, scope, json.dumps({**genuine, "body": '{"values":{"app":{"evil":{"x":1}}}}'}).encode())
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/seen\necho "[app.mine]\nx = 2" >> "$1"\n')
    script.chmod(0o700)
    said = await asyncio.to_thread(good, "edit", "-g", "forced", "--force", env={"EDITOR": str(script)})
    assert (
        "evil" not in (tmp_path / "seen").read_text() and "it makes no sense: nobody signed it" in (tmp_path / "seen").read_text()
    )
    assert "app.good.x  1 -> (not set)" in said and (await fleet.config.read(scope)).values == {"app": {"mine": {"x": 2}}}


async def test_a_document_of_a_stranger_is_shown_as_such_and_not_built_upon(fleet: Fleet) -> None:
    """Signed with a login of the stranger's own making, under the name of somebody who is trusted."""
    scope = Scope.group("kitchen")
    before = await fleet.config.set(scope, {"app.ours.x": 1})
    await applied(fleet, scope, before.generation)
    key, role = KeyPair.generate("user"), KeyPair.generate("account")
    token = jwt.scoped_user(role, subject=key.public, name="olga", account=role.public, issued_at=1)
    now, body = int(time.time()), wire.encode(Document(values={"app": {"theirs": {"x": 1}}}))
    number = before.generation + 1
    await raw(fleet, scope, sign(Credentials(token, key.seed), kind="config", scope=scope, number=number, at=now, body=body))
    shown = await fleet.config.read(scope)
    assert (shown.by, shown.values) == ("", {}) and "its signer is not known here" in shown.problem
    said = await asyncio.to_thread(cli, "config", "status", "-g", "kitchen", "--wait")
    assert said.code == 3 and "its signer is not known here" in said.err
    text = await asyncio.to_thread(good, "get", "-g", "kitchen")
    assert "#   [app.theirs]\n#   x = 1" in text and "olga" not in text, "what it says is there to be looked at, as comments"
    with pytest.raises(Refused, match=r"revision \d+\): its signature does not count: its signer is not known here"):
        await fleet.config.set(scope, {"app.ours.y": 2})
    with pytest.raises(Refused, match="cannot build on"):
        await fleet.config.rollback(scope, shown.revision)
    mended = await fleet.config.set(scope, {"app.ours.y": 2}, force=True)
    assert (await fleet.config.read(scope)).values == {"app": {"ours": {"y": 2}}}
    assert mended.changes == {"app.ours.x": (1, None), "app.ours.y": (None, 2)}, "from the one that devices follow"
    assert any("counts for nothing: its signature does not count" in warning for warning in mended.warnings)
    await applied(fleet, scope, mended.generation)


async def test_a_generation_from_the_far_future_does_not_end_all_configuration(hub: LiveFleet, fleet: Fleet) -> None:
    """A hub that was broken into signs with a role key of its own, for the year 2126."""
    key, role = KeyPair.generate("user"), KeyPair.generate("account")
    token = jwt.scoped_user(role, subject=key.public, name="mallory", account=role.public, issued_at=1)
    mallory, year_2126 = Credentials(token, key.seed), 4_922_000_000
    body = wire.encode(Document(values={}))
    await raw(fleet, PI_01, sign(mallory, kind="config", scope=PI_01, number=year_2126 * 1000, at=year_2126, body=body))
    with pytest.raises(Refused, match="its signer is not known here"):
        await fleet.config.set(PI_01, {"app.future.x": 1})
    made = await fleet.config.set(PI_01, {"app.future.x": 1}, force=True)
    assert made.generation < (time.time() + 1) * 1000, "nobody's clock is pushed on"
    await applied(fleet, PI_01, made.generation)


async def test_a_strangers_clock_does_not_move_ours_within_the_login_either(fleet: Fleet) -> None:
    """Thirty days ahead, which our own login could still sign; on a scope of a device that follows a good document."""
    good_one = await fleet.config.set(PI_01, {"app.pumped.x": 1}, force=True)
    await applied(fleet, PI_01, good_one.generation)
    key, role, ahead = KeyPair.generate("user"), KeyPair.generate("account"), int(time.time()) + 30 * 86_400
    mallory = Credentials(jwt.scoped_user(role, subject=key.public, name="mallory", account=role.public, issued_at=1), key.seed)
    body = wire.encode(Document(values={"app": {"evil": {"x": 1}}}))
    await raw(fleet, PI_01, sign(mallory, kind="config", scope=PI_01, number=ahead * 1000, at=ahead, body=body))
    back = await fleet.config.replace(PI_01, {"app": {"pumped": {"x": 2}}})
    assert good_one.generation < back.generation < (time.time() + 1) * 1000 and back.changes["app.pumped.x"] == (1, 2)
    assert any("counts for nothing: its signature does not count" in warning for warning in back.warnings)
    await applied(fleet, PI_01, back.generation)


async def test_who_cannot_exceed_what_devices_follow_is_told_and_nothing_is_written(
    hub: LiveFleet, fleet: Fleet, tmp_path: Path
) -> None:
    """Somebody's clock was a day ahead, or a thief's; and the login of whoever comes next ends before that."""
    scope, ahead = Scope.group("kitchen"), int(time.time()) + 86_400
    await fleet.config.set(scope, {"app.ahead.x": 0})
    thea = creds.load(login_file(hub, tmp_path, "thea", "operator"))
    body = wire.encode(Document(values={"app": {"ahead": {"x": 1}}}))
    revision = await raw(fleet, scope, sign(thea, kind="config", scope=scope, number=ahead * 1000, at=ahead, body=body))
    await applied(fleet, scope, ahead * 1000)
    short = login_file(hub, tmp_path, "sam", "operator", expires_in_seconds=3600)
    async with Fleet(url=hub.url, credentials=short) as sam:
        for change in (sam.config.set(scope, {"app.ahead.x": 2}), sam.config.replace(scope, {}), sam.config.rollback(scope)):
            with pytest.raises(Refused, match=r"by thea\) is dated .* and this login ends before that") as caught:
                await change
            assert "operator add NAME --expires" in caught.value.remedy and "operator revoke" in caught.value.remedy
        assert (await fleet.config.read(scope)).revision == revision
        longer = await fleet.config.set(scope, {"app.ahead.x": 3})
        assert longer.generation == ahead * 1000 + 1, "a login that reaches there goes on from what devices follow"

        # And as the remedy says: whoever signed it is revoked.
        later = (ahead + 10) * 1000
        await raw(fleet, scope, sign(thea, kind="config", scope=scope, number=later, at=ahead + 10, body=body))
        await applied(fleet, scope, later)
        await signers.change(fleet.client, fleet.login, revoke={thea.public_key: int(time.time()) + 60})
        with pytest.raises(Refused, match=r"signed by thea, is dated .* that login was revoked since"):
            await sam.config.set(scope, {"app.ahead.x": 2})
        with pytest.raises(Refused, match="its signature does not count: thea's login was revoked"):
            await fleet.config.set(scope, {"app.ahead.x": 2})

        async def followed() -> bool:
            """Once the device knows who was revoked it takes what is newer than nothing of thea's."""
            made = await sam.config.replace(scope, {"app": {"ahead": {"x": 4}}})
            return (await state_of(fleet.client, "pi-01")).scopes[str(scope)].applied == made.generation

        await until(followed, "the device follows a login that ends before that")


async def test_a_lying_device_makes_nobody_write(hub: LiveFleet, fleet: Fleet) -> None:
    await registered(hub, "pi-94", "liars")
    made = await fleet.config.set(Scope.group("liars"), {"app.a.b": 1})
    async with inside(hub) as client:
        lie = wire.ConfigState(scopes={"group.liars": wire.ScopeState(1 << 62, 1 << 62)})
        await published(client, subjects.report("pi-94"), wire.encode(wire.Report(id="pi-94", facts={}, config=lie)))
    again = await fleet.config.set(Scope.group("liars"), {"app.a.b": 1})
    assert not again.written and again.revision == made.revision
    assert again.warnings[0].startswith("pi-94 says that it follows a newer one")
    (row,) = await soon("status", "-d", "pi-94")
    assert "that this device says that it follows" in row["error"]


async def test_a_deleted_document_can_be_set_again(fleet: Fleet) -> None:
    scope = Scope.group("deleted")
    first = await fleet.config.set(scope, {"app.a.b": 1}, force=True)
    await raw(fleet, scope, b"", **{"KV-Operation": "DEL"})
    assert not (await fleet.config.read(scope)).is_there
    back = await fleet.config.rollback(scope)
    assert back.changes == {"app.a.b": (None, 1)} and back.generation > first.generation
    await raw(fleet, scope, b"", **{"KV-Operation": "DEL"})
    again = await fleet.config.set(scope, {"app.a.b": 1}, force=True)
    assert again.written and again.generation > back.generation


async def test_an_older_document_shown_again_loses_nothing(hub: LiveFleet, fleet: Fleet) -> None:
    first = await fleet.config.replace(PI_01, {"app": {"back": {"x": 1}}})
    backup = await envelope_of(fleet, PI_01)
    second = await fleet.config.set(PI_01, {"app.back.x": 2, "app.back.kept": True})
    await applied(fleet, PI_01, second.generation)
    await raw(fleet, PI_01, backup)

    found = await row_of_pi_01()
    assert found["scopes"]["device.pi-01"]["desired"] == first.generation
    assert found["applied"] == second.generation and found["desired"] != found["applied"]
    assert "the hub has an older configuration of device.pi-01" in found["error"] and "set it again" in found["error"]

    script = Path(str(hub._home)) / "editor"
    script.write_text("#!/bin/sh\nsed -i 's/x = 2/x = 5/' \"$1\"\n")
    script.chmod(0o700)
    edited = await asyncio.to_thread(good, "edit", "-d", "pi-01", env={"EDITOR": str(script)})
    assert "app.back.x  2 -> 5" in edited and "app.back.kept" not in edited, "it began with what the device follows"
    await applied(fleet, PI_01, (await fleet.config.read(PI_01)).generation)
    await raw(fleet, PI_01, backup)
    again = ok("set", "-d", "pi-01", "app.back.new=1", "--wait")
    assert "app.back.new  (not set) -> 1" in again.out and "counts as the one before: pi-01 says to follow it" in again.err
    assert "the one device that is online has applied it" in again.err
    third = await fleet.config.read(PI_01)
    assert third.generation > second.generation and third.values["app"]["back"] == {"x": 5, "kept": True, "new": 1}
    assert (await row_of_pi_01())["error"] is None

    await raw(fleet, PI_01, b"", **{"KV-Operation": "DEL"})
    assert "the hub has no configuration of device.pi-01 any more" in (await row_of_pi_01())["error"]
    same = ok("set", "-d", "pi-01", "app.back.x=5", "--wait")
    assert "the same, signed anew" in same.out and (await fleet.config.read(PI_01)).values == third.values
    assert (await row_of_pi_01())["error"] is None


async def row_of_pi_01() -> dict[str, Any]:
    (found,) = await soon("status", "-d", "pi-01")
    assert isinstance(found, dict)
    return found


async def lose(hub: LiveFleet, scope: Scope) -> None:
    """As a hub without its store: not even the history of the scope is left."""
    async with inside(hub) as client:
        answer = await request(
            client,
            f"$JS.API.STREAM.PURGE.{STREAM}",
            json.dumps({"filter": subjects.document(scope)}).encode(),
            what="purge the scope",
        )
        assert json.loads(answer.data).get("success"), answer.data


async def test_after_a_wipe_the_next_set_reaches_every_device_and_says_what_is_lost(hub: LiveFleet, fleet: Fleet) -> None:
    await fleet.config.replace(PI_01, {"app": {"lost": {"x": 1, "y": [1, 2]}}})
    backup = await envelope_of(fleet, PI_01)
    made = await fleet.config.set(PI_01, {"app.lost.z": "new"})
    await applied(fleet, PI_01, made.generation)

    async def reported() -> bool:
        return bool((await soon("effective", "pi-01")).get("app.lost.z", {}).get("applied") == "new")

    await until(reported, "the device reported its values")
    await lose(hub, PI_01)
    await raw(fleet, PI_01, backup)
    restored = ok("set", "-d", "pi-01", "app.lost.x=7", "--wait")
    assert 'app.lost.z  "new" -> (not set)' in restored.out and "app.lost.x  1 -> 7" in restored.out
    assert "pi-01 says to follow a document of device.pi-01 (signed 20" in restored.err and "the hub has lost" in restored.err

    await lose(hub, PI_01)
    wiped = ok("set", "-d", "pi-01", "app.lost.x=8", "--wait", "--json")
    record = json.loads(wiped.out)
    assert record["changed"]["app.lost.y"] == [[1, 2], None] and record["changed"]["app.lost.x"] == [7, 8]
    assert "the hub has lost; this one replaces it" in record["warnings"][0]
    assert (await fleet.config.read(PI_01)).values == {"app": {"lost": {"x": 8}}}, "a device's word is never signed"
    assert (await row_of_pi_01())["error"] is None
