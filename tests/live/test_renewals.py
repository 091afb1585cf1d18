"""New JWTs for devices that have one, or had one, as the hub's service gives them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgeagent import services as envelopes
from edgeagent import wire
from edgeagent.enrolment import Admission, ClaimToken, Renewal, Renewed
from edgeagent.errors import Refused, Unreachable
from edgeagent.hub import register
from edgeagent.hub.owner import Owner
from edgeagent.hub.provisioning import QUEUE
from edgeagent.link import connect, request
from edgeagent.natsserver import binary, ports
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.claiming import changed, claim, record, renew
from tests.support.provisioninghub import ProvisioningHub, Services, claim_of, leaf_login, running, started
from tests.support.rogue import Rogue
from tests.support.servers import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningHub]:
    with started(tmp_path_factory.mktemp("renewals")) as place:
        yield place


@pytest.fixture
async def hub(place: ProvisioningHub) -> AsyncIterator[Services]:
    async with running(place) as services:
        yield services


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


async def test_after_a_change_of_groups_the_new_jwt_is_later_than_what_is_refused(place: ProvisioningHub, hub: Services) -> None:
    key = KeyPair.generate("user")
    admission = await claim(place, await hub.token(), key, device="regrouped")
    now = jwt.claims(admission.jwt)["iat"] + 100  # as if the groups were changed on a clock that is ahead
    await register.change(hub.hub, "regrouped", lambda old: changed(old, groups=["rome"], refused_until=now), what="x")
    async with await Rogue.connect(place.leaf_port, Credentials(admission.renewal, key.seed)) as leaf:
        body = jwt.claims((await renew(leaf, "regrouped", key.public)).jwt)
    assert body["iat"] > now and body["nats"]["tags"] == ["group:rome"]


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
