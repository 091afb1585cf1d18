"""What whoever steals a claim token, or bends a claim, must not get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import enrolment, wire
from edgeagent.direct import read_all
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import Refused
from edgeagent.hub import register
from edgeagent.hub.desk import MAX_BYTES
from edgeagent.hub.provisioning import QUEUE
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.claiming import claim, events_of, read, send, uses
from tests.support.provisioninghub import DAY, HOUR, ProvisioningHub, Services, claim_of, leaf_login, running, started
from tests.support.rogue import Rogue


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("claims")) as place:
        yield place


@pytest.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Services]:
    async with running(place) as services:
        yield services


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
