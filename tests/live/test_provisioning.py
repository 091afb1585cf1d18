"""Claim tokens and renewals against a real hub: what they let in, and what whoever steals or bends one must not get."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import enrolment, wire
from edgeagent import services as envelopes
from edgeagent.direct import get_last, read_all
from edgeagent.enrolment import Admission, ClaimToken, Renewal, Renewed
from edgeagent.errors import EdgeError, Refused, Unreachable, UsageProblem
from edgeagent.hub import register, tokens
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.claiming import MAX_BYTES
from edgeagent.hub.owner import Owner
from edgeagent.hub.provisioning import QUEUE
from edgeagent.hub.registeredkeys import Keys
from edgeagent.hub.revocations import Revocation
from edgeagent.hub.tokenstore import TokenStore
from edgeagent.link import connect, request
from edgeagent.natsserver import binary, ports
from edgeagent.tokens import LIST, REVOKE, Board, TokenIds, TokenList, TokenMade
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.provisioninghub import HOUR, ProvisioningHub, Services, ask, claim_of, leaf_login, running
from tests.support.rogue import Message, Rogue
from tests.support.servers import until

DAY = 86_400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    place = ProvisioningHub(tmp_path_factory.mktemp("provisioning"))
    try:
        place.start()
        asyncio.run(place.ready())
        yield place
    finally:
        place.kill()


@pytest.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Services]:
    async with running(place) as services:
        yield services


def read(message: Message | None) -> Admission:
    assert message is not None, "the hub closed the link"
    return envelopes.result(message.data, Admission)


async def claim(place: ProvisioningHub, token: TokenMade, key: KeyPair, **about: Any) -> Admission:
    """Come as a leaf with the token, and claim."""
    async with await Rogue.connect(place.leaf_port, leaf_login(token.token)) as leaf:
        return read(await send(leaf, token.id, claim_of(key, token.id, **about)))


async def send(leaf: Rogue, token_id: str, body: bytes) -> Message | None:
    return await ask(leaf, f"provision.claim.{token_id}", body, f"_INBOX.{token_id}")


async def uses(hub: Services, token: TokenMade) -> dict[str, str]:
    found = await TokenStore(hub.hub).find(token.id)
    assert found and found[0].pending == []
    return found[0].used


async def record(hub: Services, device: str) -> wire.DeviceRecord:
    found = await register.find(hub.hub, device)
    assert found is not None
    return found[0]


async def events_of(hub: Services, kind: str) -> list[wire.Event]:
    found = read_all(hub.hub, "EDGE_EVENTS", "edge.from.hub.event.*", prefix="$JS.API")
    return [event for event in [wire.decode(item.data, wire.Event) async for item in found] if event.kind == kind]


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


async def test_a_stock_leaf_brings_claims_and_renewals(place: ProvisioningHub, hub: Services, tmp_path: Path) -> None:
    made, key = await hub.token(), KeyPair.generate("user")
    body = claim_of(key, made.id, device="stock")
    answer = await through_a_leaf(
        place, tmp_path, leaf_login(made.token), f"_INBOX.{made.id}", f"provision.claim.{made.id}", body
    )
    admission = envelopes.result(answer, Admission)
    body, inbox = wire.encode(Renewal(key=key.public)), "edge.to.device.stock.in"
    for login, subject in ((admission.renewal, "provision.renew.stock"), (admission.jwt, "edge.from.stock.request.renew")):
        answer = await through_a_leaf(place, tmp_path, Credentials(login, key.seed), inbox, subject, body)
        assert jwt.claims(envelopes.result(answer, Renewed).jwt)["name"] == "stock"


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([binary.find().path, "-c", str(config)])


async def through_a_leaf(
    place: ProvisioningHub, folder: Path, login: Credentials, inbox: str, subject: str, body: bytes
) -> bytes:
    """Ask as an agent does: a client of a real leaf server, which has the credentials."""
    (folder / "leaf.creds").write_text(login.format())
    port = ports.pick()
    remote = f'{{ url: "nats-leaf://127.0.0.1:{place.leaf_port}", credentials: "{folder}/leaf.creds" }}'
    (folder / "leaf.conf").write_text(f"""
        server_name: stock-leaf, listen: 127.0.0.1:{port}, ports_file_dir: "{folder}", logfile: "{folder}/leaf.log"
        leafnodes {{ reconnect: 1s, remotes: [ {remote} ] }}
    """)
    process = start(folder / "leaf.conf")
    try:
        await until(lambda: ports.read(folder, process.pid) is not None, "the leaf is ready")
        client = await connect(f"nats://127.0.0.1:{port}", what="reach the leaf", name="test", inbox_prefix=inbox)
        answers: list[bytes] = []

        async def answered() -> bool:
            try:
                answers.append((await request(client, subject, body, what="ask")).data)
            except Unreachable:
                return False
            return True

        await until(answered, "the leaf is linked and the hub answers")
        await client.close()
        return answers[0]
    finally:
        process.kill()
        process.wait()


async def renew(leaf: Rogue, device: str, key: str) -> Renewed:
    body = wire.encode(Renewal(key=key))
    message = await ask(leaf, f"provision.renew.{device}", body, f"edge.to.device.{leaf.device_id}.in")
    assert message is not None, "the hub closed the link"
    return envelopes.result(message.data, Renewed)


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


async def test_after_a_change_of_groups_the_new_jwt_is_later_than_what_is_refused(place: ProvisioningHub, hub: Services) -> None:
    key = KeyPair.generate("user")
    admission = await claim(place, await hub.token(), key, device="regrouped")
    now = jwt.claims(admission.jwt)["iat"] + 100  # as if the groups were changed on a clock that is ahead
    await register.change(hub.hub, "regrouped", lambda old: changed(old, groups=["rome"], refused_until=now), what="x")
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as leaf:
        body = jwt.claims((await renew(leaf, "regrouped", key.public)).jwt)
    assert body["iat"] > now and body["nats"]["tags"] == ["group:rome"]


def changed(old: wire.DeviceRecord, **to: Any) -> wire.DeviceRecord:
    return msgspec.structs.replace(old, **to)


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


async def test_a_revoked_device_neither_claims_nor_renews(place: ProvisioningHub, hub: Services) -> None:
    made, key = await hub.token(), KeyPair.generate("user")
    admission = await claim(place, made, key, device="bad")
    await register.change(hub.hub, "bad", lambda old: changed(old, revoked=True), what="x")
    with pytest.raises(Refused, match="bad is revoked"):
        await claim(place, made, key, device="bad")
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as leaf:
        with pytest.raises(Refused, match="it is revoked"):
            await renew(leaf, "bad", key.public)


async def test_a_device_that_loops_is_slowed_down(place: ProvisioningHub, hub: Services) -> None:
    key = KeyPair.generate("user")
    admission = await claim(place, await hub.token(), key, device="looping")
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as leaf:
        body, inbox = wire.encode(Renewal(key=key.public)), "edge.to.device.looping.in"
        leaf.subscribe(f"{inbox}.>")
        for number in range(100):
            leaf.publish("provision.renew.looping", body, reply=f"{inbox}.{number}", queue=QUEUE)
        # Whoever else asks is answered, after all of these; most of these are not.
        other = KeyPair.generate("user")
        await claim(place, await hub.token(), other, device="patient")
        assert 1 <= len(leaf.messages) <= 20


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


# ---- attacks ----------------------------------------------------------------------------------------------------------------


async def test_a_claim_whose_key_is_not_its_senders(place: ProvisioningHub, hub: Services) -> None:
    made, mine, victim = await hub.token(), KeyPair.generate("user"), KeyPair.generate("user")
    other = await hub.token()
    genuine = wire.decode(claim_of(victim, made.id, device="f-1"), enrolment.Claim)
    forged = [
        changed_claim(genuine, key=mine.public),  # his signature, my key
        changed_claim(genuine, device="f-2"),  # signed for another id
        changed_claim(genuine, serial="1"),
        changed_claim(genuine, proof=""),
        changed_claim(genuine, proof="é"),
        changed_claim(genuine, proof="A" * 86),
        wire.decode(claim_of(victim, other.id, device="f-1"), enrolment.Claim),  # signed for another token
    ]
    async with await Rogue.connect(place.leaf_port, leaf_login(made.token)) as leaf:
        for body in forged:
            with pytest.raises(Refused, match="the claim's signature is not that of its key"):
                read(await send(leaf, made.id, wire.encode(body)))
        for rubbish in (b"", b"{}", b"[1]", b"\xff", b'{"key":1}', b"[" * 3000):
            with pytest.raises(Refused, match="cannot read the claim"):
                read(await send(leaf, made.id, rubbish))
    async with await Rogue.connect(place.leaf_port, leaf_login(made.token)) as leaf:
        for key in ("", "*", "U", KeyPair.generate("account").public):
            with pytest.raises(Refused, match="no public user key"):
                read(await send(leaf, made.id, wire.encode(changed_claim(genuine, key=key))))
    assert await uses(hub, made) == {}
    assert await events_of(hub, "device.claim_refused")


def changed_claim(claim: enrolment.Claim, **to: Any) -> enrolment.Claim:
    return msgspec.structs.replace(claim, **to)


@pytest.mark.parametrize(
    "subject",
    [
        "provision.claim.{other}",
        "provision.claim.*",
        "provision.claim.>",
        "provision.renew.pi-01",
        "edge.from.pi-01.report",
        "edge.admin.olga.token_ls",
        "_INBOX.{other}.1",
        "_INBOX.provision.1",
        "$SYS.REQ.CLAIMS.LIST",
        "$JS.API.INFO",
    ],
)
async def test_a_token_publishes_nothing_but_its_own_claim(place: ProvisioningHub, hub: Services, subject: str) -> None:
    made, other, key = await hub.token(), await hub.token(), KeyPair.generate("user")
    everything = await hub.provision.subscribe(">")
    await hub.provision.flush()
    leaf = await Rogue.connect(place.leaf_port, leaf_login(made.token))
    leaf.publish(
        subject.format(other=other.id), claim_of(key, other.id, device="stolen"), reply=f"_INBOX.{made.id}.1", queue=QUEUE
    )
    assert not await leaf.settle(), "the server did not close the link"
    await hub.provision.flush()
    assert everything.pending_msgs == 0
    assert await uses(hub, other) == {} and await register.find(hub.hub, "stolen") is None


async def test_a_token_hears_nothing_of_other_claims(place: ProvisioningHub, hub: Services) -> None:
    mine, other, key = await hub.token(), await hub.token(), KeyPair.generate("user")
    for wish in (f"_INBOX.{other.id}.1", "provision.claim.x", "edge.to.device.pi-01.query", f"provision.claim.{other.id}"):
        leaf = await Rogue.connect(place.leaf_port, leaf_login(mine.token))
        leaf.subscribe(wish)
        assert not await leaf.settle(), wish
    # A wildcard is accepted, but only what the token may hear is sent there.
    async with await Rogue.connect(place.leaf_port, leaf_login(mine.token)) as spy:
        for wish in (">", "_INBOX.>", "provision.>", "provision.claim.*"):
            spy.subscribe(wish)
        assert await spy.settle()
        await claim(place, other, key, device="private")
        with pytest.raises(Refused, match="no id"):  # its own answer: all that was sent to it before is here
            read(await send(spy, mine.id, claim_of(KeyPair.generate("user"), mine.id)))
        assert {message.subject.split(".")[1] for message in spy.messages} == {mine.id}


async def test_a_leaf_that_claims_to_be_the_hub_gains_nothing_with_a_token(place: ProvisioningHub, hub: Services) -> None:
    mine, other = await hub.token(), await hub.token()
    leaf = await Rogue.connect(place.leaf_port, leaf_login(mine.token), is_hub=True)
    for subject in (f"provision.claim.{other.id}", "provision.claim.*", "provision.renew.*"):
        leaf.publish(
            subject, claim_of(KeyPair.generate("user"), other.id, device="stolen"), reply=f"_INBOX.{mine.id}.1", queue=QUEUE
        )
    await leaf.settle()
    with pytest.raises(Refused, match="no id"):
        read(await send(leaf, mine.id, claim_of(KeyPair.generate("user"), mine.id)))
    assert await uses(hub, other) == {} and await register.find(hub.hub, "stolen") is None
    await leaf.close()


async def test_the_service_answers_only_where_the_asker_may_hear(place: ProvisioningHub, hub: Services) -> None:
    # Otherwise a token's holder could have us publish on subjects that are closed to it.
    mine, other, key = await hub.token(), await hub.token(), KeyPair.generate("user")
    everything = await hub.provision.subscribe(">")
    await hub.provision.flush()
    async with await Rogue.connect(place.leaf_port, leaf_login(mine.token)) as leaf:
        body = claim_of(key, mine.id, device="aside")
        for reply in (f"_INBOX.{other.id}.1", f"provision.claim.{other.id}", "provision.renew.pi-01", f"_INBOX.{mine.id}"):
            leaf.publish(f"provision.claim.{mine.id}", body, reply=reply, queue=QUEUE)
        assert await leaf.settle()
        assert read(await send(leaf, mine.id, body)).id == "aside"
    await hub.provision.flush()
    seen = [message.subject for message in await drained(everything)]
    assert seen.count(f"provision.claim.{mine.id}") == 5
    assert [subject for subject in seen if not subject.startswith((f"provision.claim.{mine.id}", f"_INBOX.{mine.id}."))] == []


async def drained(subscription: Any) -> list[Any]:
    return [await subscription.next_msg(timeout=1) for _ in range(subscription.pending_msgs)]


async def test_a_claim_that_is_too_large(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token()
    async with await Rogue.connect(place.leaf_port, leaf_login(made.token)) as leaf:
        body = claim_of(KeyPair.generate("user"), made.id, device="fat", macs=["x" * 50] * 100)
        assert 5000 < len(body) < MAX_BYTES
        with pytest.raises(Refused, match="cannot read the claim's id, serial or MACs"):
            read(await send(leaf, made.id, body))
        assert await send(leaf, made.id, body + b" " * MAX_BYTES) is None  # the server closes the link
    assert await uses(hub, made) == {}


async def test_a_token_is_no_login_for_a_client(place: ProvisioningHub, hub: Services) -> None:
    with pytest.raises(Refused, match="does not accept these credentials"):
        await place.connect(leaf_login((await hub.token()).token))


async def test_a_token_of_another_hub_or_a_forged_or_very_old_one_is_refused_by_the_server(
    place: ProvisioningHub, hub: Services, tmp_path: Path
) -> None:
    made = await hub.token()
    genuine = ClaimToken.parse(made.token).jwt
    stranger = ProvisioningHub(tmp_path / "other")
    old = place.owner.claim_jwt(made.id, -1)
    head, body, _ = genuine.split(".")
    for token in (stranger.owner.claim_jwt(made.id, HOUR), f"{head}.{body}.{'A' * 86}", old):
        leaf = await Rogue.connect(place.leaf_port, Credentials(token, KeyPair.generate("user").seed))
        assert not await leaf.settle()
    # It lives longer than the token, so that it is the service that says "expired".
    claims = jwt.claims(genuine)
    assert 30 * DAY < claims["exp"] - made.expires_at + DAY < 32 * DAY


async def test_renewal_credentials_renew_nobody_else(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token(uses=2)
    keys = {device: KeyPair.generate("user") for device in ("pi-a", "pi-b")}
    logins = {device: await claim(place, made, key, device=device) for device, key in keys.items()}
    stolen = Credentials(logins["pi-a"].renewal, keys["pi-a"].seed)
    before = await record(hub, "pi-b")
    for subject in ("provision.renew.pi-b", "provision.renew.*", f"provision.claim.{made.id}", "edge.from.pi-a.report"):
        leaf = await Rogue.connect(place.leaf_port, stolen)
        leaf.publish(subject, wire.encode(Renewal(key=keys["pi-b"].public)), reply="edge.to.device.pi-a.in.1", queue=QUEUE)
        assert not await leaf.settle(), subject
    device = await Rogue.connect(place.leaf_port, Credentials(logins["pi-a"].jwt, keys["pi-a"].seed))
    device.publish(
        "edge.from.pi-b.request.renew", wire.encode(Renewal(key=keys["pi-b"].public)), reply="edge.to.device.pi-a.in.1"
    )
    assert not await device.settle()
    async with await Rogue.connect(place.leaf_port, stolen) as leaf:  # its own subject with another's key
        with pytest.raises(Refused, match="another board took over this id"):
            await renew(leaf, "pi-a", keys["pi-b"].public)
    assert await record(hub, "pi-b") == before


async def test_refused_claims_do_not_fill_the_events(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token()
    before = len(await events_of(hub, "device.claim_refused"))
    severities = ("info", "warning", "error", "critical")

    async def told() -> dict[str, int]:
        found = dict.fromkeys(severities, 0)
        async for item in read_all(hub.hub, "EDGE_EVENTS", "edge.from.hub.event.*", prefix="$JS.API"):
            event = wire.decode(item.data, wire.Event)
            if event.kind == "device.claim_refused" and event.data["token"] == made.id:
                found[item.subject.split(".")[-1]] += 1
        return found

    async with await Rogue.connect(place.leaf_port, leaf_login(made.token)) as leaf:
        with pytest.raises(Refused, match="says no id"):
            read(await send(leaf, made.id, claim_of(KeyPair.generate("user"), made.id)))
        assert not any((await told()).values()), "it asks again by itself, with an id"
        for _ in range(60):
            message = await send(leaf, made.id, b"{}")
            assert message and b'"code":"refused"' in message.data
    assert await told() == {"info": 1, "warning": 0, "error": 0, "critical": 0}
    for _ in range(20):
        another = await hub.token()
        async with await Rogue.connect(place.leaf_port, leaf_login(another.token)) as leaf:
            await send(leaf, another.id, b"{}")
    assert len(await events_of(hub, "device.claim_refused")) - before <= 12


# ---- what administrators do -------------------------------------------------------------------------------------------------


async def test_old_tokens_are_removed_and_the_others_listed(place: ProvisioningHub, hub: Services) -> None:
    boards = [Board(id="listed", serial="77")]
    old, used = await hub.token(boards=boards, note="gone"), await hub.token(note="kept", expires_in_seconds=90 * DAY)
    await claim(place, used, KeyPair.generate("user"), device="listing")
    place.offset = 31 * DAY
    new = await hub.token(by="nora", device="not-yet")
    listed: TokenList = await hub.handlers[LIST]("olga", b"{}")
    rows = {row.id: row for row in listed.tokens}
    assert old.id not in rows and listed.tokens[0].id == new.id
    assert await get_last(hub.hub, "KV_edge_tokens", f"$KV.edge_tokens.boards.{old.id}", prefix="$JS.API") is None
    assert (rows[used.id].state, rows[used.id].used, rows[used.id].left, rows[used.id].note) == ("used up", 1, 0, "kept")
    assert (rows[new.id].state, rows[new.id].left, rows[new.id].created_by, rows[new.id].device) == (
        "ready",
        1,
        "nora",
        "not-yet",
    )
    assert {event.data["user"] for event in await events_of(hub, "token.created")} >= {"olga", "nora"}


async def test_a_full_store_takes_new_tokens_once_the_old_ones_are_over(place: ProvisioningHub, hub: Services) -> None:
    js = hub.hub.jetstream()
    info = await js.stream_info("KV_edge_tokens")
    before = info.config.max_bytes
    await js.update_stream(info.config, max_bytes=info.state.bytes + 200_000)
    try:
        boards = [Board(id=f"full-{number}", serial=f"{number:x}", labels={"site": "x" * 250}) for number in range(1, 201)]
        with pytest.raises(EdgeError, match="maximum bytes"):
            for _ in range(10):
                await hub.token(boards=boards)
        with pytest.raises(EdgeError, match="maximum bytes"):
            await hub.token(boards=boards)
        place.offset = 60 * DAY
        assert (await hub.token(boards=boards)).uses == 200
    finally:
        await js.update_stream(info.config, max_bytes=before)


async def kept_out(hub: Services, public: str) -> Revocation | None:
    return (await Bucket(hub.hub, "edge_revocations", Revocation).find(f"PROVISION.{public}") or (None, 0))[0]


async def test_the_login_of_a_token_that_is_over_is_kept_out(place: ProvisioningHub, hub: Services) -> None:
    """Else its holders could take every place for newcomers; tests/live/test_administration.py tries it."""
    revoked, used, ready = await hub.token(), await hub.token(), await hub.token(expires_in_seconds=90 * DAY)
    keys = {made.id: jwt.claims(ClaimToken.parse(made.token).jwt) for made in (revoked, used, ready)}
    await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[revoked.id])))
    assert await kept_out(hub, keys[revoked.id]["sub"]) is None, "for a day its holder is told that it was revoked"
    await claim(place, used, KeyPair.generate("user"), device="used-it-up")
    await hub.office.tidy()
    assert await kept_out(hub, keys[used.id]["sub"]) is None, "the device's answer may have been lost: it may ask again for a day"
    await hub.office.tidy()
    found = await kept_out(hub, keys[used.id]["sub"])
    assert found and found.forget_at == keys[used.id]["exp"] and hub.pushes >= 1
    found = await kept_out(hub, keys[revoked.id]["sub"])
    assert found and found.until >= keys[revoked.id]["iat"]
    assert await kept_out(hub, keys[ready.id]["sub"]) is None


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


async def test_other_keys_sign_from_the_moment_they_are_given(place: ProvisioningHub, hub: Services) -> None:
    other, key = Owner.create("berlin"), KeyPair.generate("user")
    made = await hub.token()
    hub.instances[0].use(other)
    admission = await claim(place, made, key, device="rotated")
    assert jwt.claims(admission.jwt)["iss"] == other.role_public("device")
    assert jwt.claims(admission.renewal)["iss"] == other.role_public("renewal")
    async with await Rogue.connect(
        place.leaf_port, Credentials(place.owner.renewal_jwt("rotated", key.public), key.seed)
    ) as leaf:
        assert jwt.claims((await renew(leaf, "rotated", key.public)).jwt)["iss"] == other.role_public("device")
    hub.office.use(other)
    assert jwt.claims(ClaimToken.parse((await hub.token()).token).jwt)["iss"] == other.role_public("provision")


async def test_a_mistyped_token_revokes_none(place: ProvisioningHub, hub: Services) -> None:
    made = await hub.token()
    for wrong in ("aaaaaaaaaaaa", "*", ">", ""):
        with pytest.raises(EdgeError, match="there is no token"):
            await hub.handlers[REVOKE]("olga", wire.encode(TokenIds(ids=[made.id, wrong])))
    found = await TokenStore(hub.hub).find(made.id)
    assert found and not found[0].revoked


async def test_no_secret_is_in_a_log(place: ProvisioningHub, hub: Services, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made, key = await hub.token(), KeyPair.generate("user")
    admission = await claim(place, made, key, device="quiet")
    with pytest.raises(Refused):
        await claim(place, made, KeyPair.generate("user"), device="quiet")
    await until(lambda: "quiet was enrolled" in caplog.text, "it is logged")
    for secret in (made.token, ClaimToken.parse(made.token).jwt, admission.jwt, admission.renewal, key.seed):
        assert secret not in caplog.text and secret not in place.log
