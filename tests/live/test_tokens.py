"""`edgeagent token`, as an administrator types it, against a real hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgeagent import context, wire
from edgeagent.enrolment import Admission, ClaimToken
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.fleet.admin import Admin
from edgeagent.fleet.tokens import Tokens
from edgeagent.hub.roles import PersonRole
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.services import result
from edgeagent.tokens import REVOKE, Board, TokenIds, TokenWanted
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.fleet import Said, cli
from tests.support.home import own_home
from tests.support.provisioninghub import HOUR, ProvisioningHub, Services, ask, claim_of, leaf_login, running, started
from tests.support.rogue import Rogue


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("tokens")) as place:
        yield place


@pytest.fixture
async def hub(place: ProvisioningHub, tmp_path: Path) -> AsyncIterator[Services]:
    """The hub, with the context of its administrator in a home of its own."""
    with own_home(tmp_path / "home"):
        roles: dict[str, PersonRole] = {"olga": "admin", "otto": "operator"}
        for name, role in roles.items():
            file = tmp_path / f"{name}.creds"
            file.touch(0o600)
            file.write_text(place.owner.operator_credentials(name, role).format())
            made = context.Context(name=name, url=f"nats://127.0.0.1:{place.port}", credentials=str(file))
            context.save(made, make_current=name == "olga")
        async with running(place) as services:
            yield services


async def typed(*words: str) -> Said:
    """The command in a process of its own, while the hub's services go on in this one."""
    return await asyncio.to_thread(cli, *words)


async def admitted(place: ProvisioningHub, text: str, token_id: str, *, device: str = "", serial: str = "") -> Admission:
    key = KeyPair.generate("user")
    body = claim_of(key, token_id, device=device, serial=serial)
    async with await Rogue.connect(place.leaf_port, leaf_login(text)) as leaf:
        message = await ask(leaf, f"provision.claim.{token_id}", body, f"_INBOX.{token_id}")
        assert message
        admission = result(message.data, Admission)
    async with await Rogue.connect(place.leaf_port, Credentials(admission.jwt, key.seed)) as linked:
        assert await linked.settle()
    return admission


async def test_a_token_is_all_that_is_on_standard_output(place: ProvisioningHub, hub: Services) -> None:
    said = await typed("token", "create", "--groups", "berlin, shops", "-l", "site=berlin", "--uses", "2", "--note", "demo")
    assert said.code == 0 and said.out.count("\n") == 1
    token = ClaimToken.parse(said.out)
    assert "sudo edgeagent install --hub 127.0.0.1 --token-file -" in said.err and token.jwt not in said.err
    (row,) = [row for row in json.loads((await typed("token", "ls", "--json")).out) if row["note"] == "demo"]
    assert (row["groups"], row["used"], row["left"], row["state"], row["created_by"], row["for"]) == (
        ["berlin", "shops"],
        0,
        2,
        "ready",
        "olga",
        "any",
    )
    admission = await admitted(place, said.out, row["id"], device="typed-1")
    assert (admission.groups, admission.labels) == (["berlin", "shops"], {"site": "berlin"})
    table = (await typed("token", "ls")).out
    assert row["id"] in table and "berlin, shops" in table
    revoked = await typed("token", "revoke", row["id"])
    assert (revoked.code, revoked.out) == (0, f"revoked {row['id']}\n")
    with pytest.raises(Refused, match="this token was revoked"):
        await admitted(place, said.out, row["id"], device="typed-2")


async def test_a_token_from_a_list(place: ProvisioningHub, hub: Services, tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("id,serial\nshop-1,00000000a1b2c3d4\nshop-2,\nshop-1,x y\n")
    wrong = await typed("token", "create", "--from", str(file))
    assert (wrong.code, wrong.out) == (2, "")
    assert "line 3: serial or mac is needed" in wrong.err and "line 4: 'x y' is no serial number" in wrong.err
    assert "line 4: id shop-1 is on the list before (line 2)" in wrong.err
    file.write_text("id,serial\nshop-1,00000000a1b2c3d4\nshop-2,00000000a1b2c3d5\n")
    made = json.loads((await typed("token", "create", "--from", str(file), "--json")).out)
    assert made["uses"] == 2
    (row,) = [row for row in json.loads((await typed("token", "ls", "--json")).out) if row["id"] == made["id"]]
    assert row["for"] == "2 listed boards"
    file.write_text("id,serial\nshop-2,00000000a1b2c3d6\n")
    again = await typed("token", "create", "--from", str(file), "--note", "again")
    assert again.code == 0 and f"NOTE: the open token {made['id']} gives shop-2 too" in again.err
    (second,) = [row for row in json.loads((await typed("token", "ls", "--json")).out) if row["note"] == "again"]
    assert second["for"] == "1 listed board" and (await typed("token", "revoke", second["id"])).code == 0
    file.write_text("id,serial\nshop-3,00000000a1b2c3d6\n")
    assert "NOTE" not in (await typed("token", "create", "--from", str(file))).err
    assert (await admitted(place, made["token"], made["id"], serial="A1B2C3D5")).id == "shop-2"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--uses", "0"], "it can be used 1 to 1000 times"),
        (["--uses", "1001"], "it can be used 1 to 1000 times"),
        (["--device", "hub"], "no device may be called hub"),
        (["--device", "a", "--uses", "2"], "a token for one device is used once"),
        (["--replaces", "nobody"], "there is no such device"),
        (["--label", "Site=x"], "is no name of a label"),
        (["--label", "site"], "write key=value"),
        (["--groups", "Berlin"], "is no group name"),
        (["--expires", "800d"], "it can be good for a minute to a year"),
        (["--expires", "soon"], "is no such time"),
        (["--from", "/nowhere.csv"], "there is no such file"),
    ],
)
async def test_a_token_that_cannot_be_meant(hub: Services, words: list[str], why: str) -> None:
    said = await typed("token", "create", *words)
    assert said.code == (1 if "--from" in words else 2) and said.out == ""
    assert why in " ".join(said.err.split())


async def test_only_administrators_make_tokens(place: ProvisioningHub, hub: Services) -> None:
    for words in (["create"], ["ls"], ["revoke", "aaaaaaaaaaaa"]):
        said = await typed("token", *words, "--context", "otto")
        assert (said.code, said.out) == (1, "") and "this needs the role admin" in said.err
    viewer = await place.person("vera", "viewer")
    try:
        with pytest.raises(Refused, match="this needs the role admin"):
            await Tokens(Admin(viewer)).create(TokenWanted(expires_in_seconds=HOUR))
    finally:
        await viewer.close()
    assert await made_by_others(hub) == []


async def made_by_others(hub: Services) -> list[str]:
    return [token.id for token in await TokenStore(hub.hub).all() if token.created_by in ("otto", "vera")]


async def test_a_token_that_is_asked_for_twice_is_one(hub: Services) -> None:
    """Its answer was lost with the server that gave it. Nobody gets another's token, or what it has become, by asking for it."""
    boards = [Board(id="pi-7", serial="100000000000abcd")]
    for wanted in ({"id": "twice2345672", "note": "x"}, {"id": "twice2345673", "boards": boards}):
        first, second = await asyncio.gather(hub.token(**wanted), hub.token(**wanted))
        assert first.id == second.id == wanted["id"] and not second.elsewhere
        keys = {jwt.claims(ClaimToken.parse(made.token).jwt)["sub"] for made in (first, second)}
        assert keys == {token.key for token in await TokenStore(hub.hub).all() if token.id == wanted["id"]}
        for by, more in (("mallory", {}), ("olga", {"uses": 1 if "boards" in wanted else 2, "groups": ["lab"]})):
            with pytest.raises(Failed, match="there is one of that id"):
                await hub.token(by=by, **{**wanted, **more})
    await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=["twice2345672"])))
    with pytest.raises(Failed, match="there is one of that id"):
        await hub.token(id="twice2345672", note="x")
    with pytest.raises(UsageProblem, match="its id is 12 of"):
        await hub.token(id="token.x")


async def test_from_python(place: ProvisioningHub, hub: Services) -> None:
    person = await place.person("olga", "admin")
    try:
        tokens = Tokens(Admin(person))
        made = await tokens.create(TokenWanted(expires_in_seconds=HOUR, note="python"))
        assert [row.note for row in (await tokens.ls()).tokens if row.id == made.id] == ["python"]
        assert await tokens.revoke([made.id]) == [made.id]
        with pytest.raises(UsageProblem, match="a token for one device is used once"):  # the hub checks it too
            await tokens.create(TokenWanted(expires_in_seconds=HOUR, device="x", uses=2))
        with pytest.raises(UsageProblem, match="board 1: serial or mac is needed"):
            await tokens.create(TokenWanted(expires_in_seconds=HOUR, boards=[Board(id="x")]))
    finally:
        await person.close()
