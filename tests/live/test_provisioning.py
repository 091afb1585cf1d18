"""Claim tokens against a real hub: whom they let in as what, who asks again, and who is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from edgeagent import services as envelopes
from edgeagent import wire
from edgeagent.enrolment import Admission, ClaimToken, Renewal, Renewed
from edgeagent.errors import Refused, UsageProblem
from edgeagent.hub import register, tokens
from edgeagent.hub.registeredkeys import Keys
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.tokens import REVOKE, Board, TokenIds
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.claiming import claim, events_of, read, record, renew, send, uses
from tests.support.provisioninghub import HOUR, ProvisioningHub, Services, claim_of, leaf_login, running, started
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("provisioning")) as place:
        yield place


@pytest.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Services]:
    async with running(place) as services:
        yield services


# ---- what must work ---------------------------------------------------------------------------------------------------------


async def test_a_device_comes_in_with_a_token_and_stays(place: ProvisioningHub, hub: Services) -> None:
    place.authorities = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"
    made = await hub.token(groups=["berlin", "shops"], labels={"site": "berlin"})
    token = ClaimToken.parse(made.token)
    assert (token.hub, token.tls, token.authorities) == ("berlin", False, (place.authorities,)) and token.jwt not in repr(made)
    key = KeyPair.generate("user")
    admission = await claim(place, made, key, device="pi-01", serial="10000000a1b2c3d4")
    assert (admission.id, admission.hub, admission.groups, admission.labels) == (
        "pi-01",
        "berlin",
        ["berlin", "shops"],
        {"site": "berlin"},
    )
    assert admission.signers == place.owner.signers() and admission.authorities == [place.authorities]
    kept = await record(hub, "pi-01")
    assert (kept.key, kept.serial, kept.groups, kept.labels, kept.older) == (
        key.public,
        "10000000a1b2c3d4",
        ["berlin", "shops"],
        {"site": "berlin"},
        {},
    )
    assert (kept.issued_at, kept.expires_at) == (jwt.claims(admission.jwt)["iat"], jwt.claims(admission.jwt)["exp"])
    assert await uses(hub, made) == {key.public: "pi-01"}
    (told,) = await events_of(hub, "device.enrolled")
    assert told.text == f"pi-01 was enrolled with the token {made.id} of olga" and told.data["device"] == "pi-01"
    async with await Rogue.connect(place.leaf_port, Credentials(admission.jwt, key.seed)) as device:
        ack = await device.request("edge.from.pi-01.report", b"facts")
        assert ack and json.loads(ack.data)["stream"] == "EDGE_REPORTS"
        renewed = await device.request("edge.from.pi-01.request.renew", wire.encode(Renewal(key=key.public)))
        assert renewed and jwt.claims(envelopes.result(renewed.data, Renewed).jwt)["sub"] == key.public
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as device:
        answer = await renew(device, "pi-01", key.public)
        assert answer.renewal and jwt.claims(answer.jwt)["nats"]["tags"] == ["group:berlin", "group:shops"]


async def test_a_list_gives_each_board_its_id_once(place: ProvisioningHub, hub: Services) -> None:
    boards = [
        Board(id="list-1", serial="a1", labels={"rack": "1"}, groups=["kitchen"]),
        Board(id="list-2", mac="dc:a6:32:01:02:03"),
    ]
    made = await hub.token(boards=boards, groups=["berlin"], labels={"rack": "0", "site": "b"})
    assert made.uses == 2
    admission = await claim(place, made, KeyPair.generate("user"), serial="00000000000000A1")
    assert (admission.id, admission.groups, admission.labels) == ("list-1", ["berlin", "kitchen"], {"rack": "1", "site": "b"})
    with pytest.raises(Refused, match="the token was used for list-1 before"):
        await claim(place, made, KeyPair.generate("user"), serial="a1")
    with pytest.raises(Refused, match="this board is not on the token's list"):
        await claim(place, made, KeyPair.generate("user"), serial="a2", device="list-2")
    with pytest.raises(Refused, match="wrong id: the token is for list-2, not for list-1"):
        await claim(place, made, KeyPair.generate("user"), macs=["DC-A6-32-01-02-03"], device="list-1")
    assert (await claim(place, made, KeyPair.generate("user"), macs=["DC-A6-32-01-02-03"])).id == "list-2"


async def test_a_new_board_takes_the_place_of_another(place: ProvisioningHub, hub: Services) -> None:
    old, new = KeyPair.generate("user"), KeyPair.generate("user")
    first = await hub.token(groups=["berlin"], labels={"site": "b"})
    admitted = await claim(place, first, old, device="pi-017")
    with pytest.raises(UsageProblem, match="there is no such device"):
        await hub.token(replaces="pi-018")
    made = await hub.token(replaces="pi-017")
    with pytest.raises(Refused, match="wrong id"):
        await claim(place, made, new, device="pi-019")
    admission = await claim(place, made, new, serial="b2")
    assert (admission.id, admission.groups, admission.labels) == ("pi-017", ["berlin"], {"site": "b"})
    assert place.revoked == [old.public]
    kept = await record(hub, "pi-017")
    assert (kept.key, kept.serial, kept.older, kept.refused_until) == (new.public, "b2", {}, 0)
    # The old board has its renewal credentials and its token still. Neither brings it back.
    async with await Rogue.connect(place.leaf_port, Credentials(admitted.renewal, old.seed)) as leaf:
        with pytest.raises(Refused, match="another board took over this id"):
            await renew(leaf, "pi-017", old.public)
    with pytest.raises(Refused, match="it was pi-017 once, and was forgotten or replaced since"):
        await claim(place, first, old, device="pi-017")
    third = KeyPair.generate("user")
    await claim(place, await hub.token(replaces="pi-017"), third)
    with pytest.raises(Refused, match="it was pi-017 once"):
        await claim(place, made, new)
    assert (await record(hub, "pi-017")).key == third.public


# ---- asking again -----------------------------------------------------------------------------------------------------------


async def test_a_captured_claim_that_is_sent_again_costs_no_use_and_helps_nobody(place: ProvisioningHub, hub: Services) -> None:
    made, key = await hub.token(uses=2), KeyPair.generate("user")
    body = claim_of(key, made.id, device="replayed")
    async with await Rogue.connect(place.leaf_port, leaf_login(made.token)) as thief:
        first, second = read(await send(thief, made.id, body)), read(await send(thief, made.id, body))
    assert await uses(hub, made) == {key.public: "replayed"}
    assert (first.id, first.groups) == (second.id, second.groups)
    assert {jwt.claims(one.jwt)["sub"] for one in (first, second)} == {key.public}
    for stolen in (second.jwt, second.renewal):  # without the seed they open nothing
        leaf = await Rogue.connect(place.leaf_port, Credentials(stolen, KeyPair.generate("user").seed))
        assert not await leaf.settle()


async def test_after_a_crash_between_counting_and_registering_the_claim_goes_on(place: ProvisioningHub, hub: Services) -> None:
    made, key = await hub.token(), KeyPair.generate("user")
    await TokenStore(hub.hub).change(made.id, lambda token: tokens.counted(token, key.public, "crashed"))
    assert (await claim(place, made, key, device="crashed")).id == "crashed"
    assert await uses(hub, made) == {key.public: "crashed"}


async def test_the_answer_is_given_again_after_the_token_has_expired(place: ProvisioningHub, hub: Services) -> None:
    made, key = await hub.token(), KeyPair.generate("user")
    await claim(place, made, key, device="late")
    place.offset = 2 * HOUR
    assert (await claim(place, made, key, device="late")).id == "late"
    await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[made.id])))
    with pytest.raises(Refused, match="this token was revoked"):
        await claim(place, made, key, device="late")


async def test_a_forgotten_device_does_not_come_back_with_its_old_token(place: ProvisioningHub, hub: Services) -> None:
    made, key = await hub.token(uses=5), KeyPair.generate("user")
    admission = await claim(place, made, key, device="gone")
    found = await register.find(hub.hub, "gone")
    assert found
    await register.bucket(hub.hub).remove("gone", found[1], what="forget gone")
    with pytest.raises(Refused, match="it was gone once, and was forgotten or replaced since"):
        await claim(place, made, key, device="gone")
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as leaf:
        with pytest.raises(Refused, match="it was forgotten"):
            await renew(leaf, "gone", key.public)
    assert (await claim(place, made, KeyPair.generate("user"), device="gone")).id == "gone"  # a new key, a new use


# ---- what is refused --------------------------------------------------------------------------------------------------------


async def test_a_used_up_token_tells_a_stranger_nothing_else(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token(device="only-one")
    await claim(place, made, KeyPair.generate("user"))
    for wish in ("", "only-one", "another", "../x"):
        with pytest.raises(Refused) as caught:
            await claim(place, made, KeyPair.generate("user"), device=wish)
        assert caught.value.why == "this token is used up" and "only-one" not in str(caught.value)
    assert len(await uses(hub, made)) == 1


async def test_expired_and_revoked_tokens_let_nobody_in(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token(expires_in_seconds=HOUR)
    place.offset = HOUR + 1
    with pytest.raises(Refused, match="this token has expired"):
        await claim(place, made, KeyPair.generate("user"), device="x-1")
    place.offset = 0
    await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[made.id])))
    with pytest.raises(Refused, match="this token was revoked"):
        await claim(place, made, KeyPair.generate("user"), device="x-1")
    assert await register.find(hub.hub, "x-1") is None


async def test_anothers_id_is_not_given_and_the_use_is_not_lost(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token(uses=2)
    await claim(place, made, KeyPair.generate("user"), device="taken")
    for wish, why in (
        ("taken", "is enrolled already"),
        ("hub", "no device may be called hub"),
        ("Pi 1", "no device id"),
        ("", "no id"),
    ):
        with pytest.raises(Refused, match=why):
            await claim(place, made, KeyPair.generate("user"), device=wish)
    assert len(await uses(hub, made)) == 1
    with pytest.raises(UsageProblem, match="it is enrolled already"):
        await hub.token(device="taken")


async def test_of_two_devices_one_gets_the_last_use(place: ProvisioningHub) -> None:
    # Two services with connections of their own, as on two machines.
    async with running(place) as one, running(place) as two:
        made = await one.token(uses=3)
        keys = [KeyPair.generate("user") for _ in range(8)]
        found = await asyncio.gather(
            *(claim(place, made, key, device=f"race-{number}") for number, key in enumerate(keys)), return_exceptions=True
        )
        won = [item for item in found if isinstance(item, Admission)]
        lost = [item for item in found if isinstance(item, Refused)]
        assert (len(won), len(lost)) == (3, 5) and {error.why for error in lost} == {"this token is used up"}
        assert set((await uses(one, made)).values()) == {item.id for item in won}
        devices = await register.every(two.hub)
        assert {device for device in devices if device.startswith("race-")} == {item.id for item in won}


async def test_of_two_devices_that_want_one_id_one_gets_it(place: ProvisioningHub) -> None:
    async with running(place) as one, running(place) as two:
        tokens = [await one.token(), await two.token()]
        keys = [KeyPair.generate("user") for _ in tokens]
        found = await asyncio.gather(
            *(claim(place, token, key, device="wanted") for token, key in zip(tokens, keys, strict=True)), return_exceptions=True
        )
        assert sorted(type(item).__name__ for item in found) == ["Admission", "Refused"]
        assert sorted([len(await uses(one, token)) for token in tokens]) == [0, 1]


async def test_a_key_is_one_devices(place: ProvisioningHub, hub: Services) -> None:
    key = KeyPair.generate("user")
    await claim(place, await hub.token(), key, device="first-id")
    made = await hub.token()
    with pytest.raises(Refused, match="its key is that of first-id"):
        await claim(place, made, key, device="second-id")
    assert await uses(hub, made) == {} and await register.find(hub.hub, "second-id") is None
    with pytest.raises(Refused, match="its key is that of first-id"):
        await Keys(hub.hub).check(key.public, "third-id")  # as another instance sees it
    found = await register.find(hub.hub, "first-id")
    assert found
    await register.bucket(hub.hub).remove("first-id", found[1], what="forget first-id")
    assert (await claim(place, made, key, device="second-id")).id == "second-id"


async def test_no_secret_is_in_a_log(place: ProvisioningHub, hub: Services, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made, key = await hub.token(), KeyPair.generate("user")
    admission = await claim(place, made, key, device="quiet")
    with pytest.raises(Refused):
        await claim(place, made, KeyPair.generate("user"), device="quiet")
    await until(lambda: "quiet was enrolled" in caplog.text, "it is logged")
    for secret in (made.token, ClaimToken.parse(made.token).jwt, admission.jwt, admission.renewal, key.seed):
        assert secret not in caplog.text and secret not in place.log
