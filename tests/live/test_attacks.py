"""Attacks on a real hub, made of our own keyring, accounts and streams: what a device, a viewer or an operator must not be able to do.

The three-account layout rests on something nats-server does not promise: a response never re-enters an import. So this suite must
pass on every version of nats-server that we claim to support.

Nothing here waits for a time to pass. That something did *not* happen is known by barriers: the attacker's own request, sent after
the attack on the same connection, was answered; and every stream then refused a publish of ours, so that all before it was taken.
``test_the_same_attack_works_inside_hub`` shows that these barriers would see a success.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from edgeagent.direct import read_all
from edgeagent.hub import streams
from edgeagent.hub.owner import Owner
from edgeagent.subjects import direct_get, is_id
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.attackhub import (
    ATTACKER,
    TARGETS,
    UPLOAD,
    VICTIM,
    Growth,
    Hub,
    Target,
    World,
    account_user,
    fill,
    hub_config,
    inhabited,
    intruders,
    port_of,
    settle,
    start,
)
from tests.support.rogue import PATIENCE_SECONDS, Rogue
from tests.support.servers import until

# ---- the hub and the world -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    keyring = Owner.create("hub")
    signed = {**keyring.account_jwts(), **intruders(folder, keyring)}
    process, log = start(folder, hub_config(folder, keyring, signed))
    try:
        made = Hub(keyring, port_of("client", log), port_of("leafnode", log), folder)
        asyncio.run(fill(made))
        yield made
    finally:
        process.kill()
        process.wait()


@pytest_asyncio.fixture
async def world(hub: Hub) -> AsyncIterator[World]:
    async with inhabited(hub) as made:
        yield made


# ---- naming somebody else's subject as the reply -------------------------------------------------------------------------------


#: Of what is written once nothing more can be stored under its subject.
STORED = [target for target in TARGETS if target.stream not in ("", "EDGE_COMMANDS", "EDGE_FILES")]
LIVE = [
    Target(f"edge.to.device.{VICTIM}.query"),
    Target(f"edge.to.device.{VICTIM}.record"),
    Target("edge.to.fleet.all.config"),
    Target("edge.to.fleet.all.command"),
    Target(f"edge.to.device.{VICTIM}.command"),
    Target("edge.to.trust.signers.config"),
    Target(f"edge.to.device.{VICTIM}.in.1.2"),
]

#: What a device may publish, and so the ways in which it can have a message sent to a reply subject: subject and payload.
DEVICE_WAYS = [
    (direct_get("EDGE_REPORTS", f"edge.from.{ATTACKER}.report"), b""),
    (direct_get("EDGE_REPORTS", f"edge.from.{ATTACKER}.heartbeat"), b""),
    (direct_get("EDGE_METRICS", f"edge.from.{ATTACKER}.metric"), b""),
    (direct_get("KV_edge_config", "$KV.edge_config.fleet.all"), b""),
    (direct_get("EDGE_COMMANDS", "edge.to.fleet.all.cmd.*"), b""),
    (direct_get("EDGE_FILES", f"edge.file.{UPLOAD}.1"), b""),
    (f"edge.from.{ATTACKER}.report", b"FORGED"),
    (f"edge.from.{ATTACKER}.event.info", b"FORGED"),
    (f"edge.from.{ATTACKER}.reply.nobody.1", b"FORGED"),
    (f"edge.from.{ATTACKER}.request.renew", b"FORGED"),
]
DEVICE_STORES: Growth = {"EDGE_REPORTS": (0, 2), "EDGE_EVENTS": (1, 1)}

PERSON_WAYS = [
    (direct_get("EDGE_REPORTS", f"edge.from.{ATTACKER}.report"), b""),
    (direct_get("EDGE_REPORTS"), b'{"multi_last":["edge.from.*.report"],"batch":5}'),
    (direct_get("KV_edge_config", "$KV.edge_config.fleet.all"), b""),
    ("edge.api.STREAM.INFO.EDGE_REPORTS", b""),
]
OPERATOR_WAYS = [*PERSON_WAYS, ("$KV.edge_config.group.{}", b"FORGED"), ("edge.to.group.paris.cmd.{}", b"FORGED")]
OPERATOR_STORES: Growth = {"KV_edge_config": (1, 1), "EDGE_COMMANDS": (1, 1)}


async def own_answer(attacker: Rogue) -> None:
    """The barrier: what was sent before has been taken, and the link is still good (else nothing was tried)."""
    answer = await attacker.request(f"edge.from.{attacker.device_id}.report", b"FORGED")
    assert answer is not None and b'"stream":"EDGE_REPORTS"' in answer.data, attacker.errors
    answer = await attacker.request(direct_get("EDGE_REPORTS", f"edge.from.{attacker.device_id}.report"))
    assert answer is not None and answer.data == b"FORGED"


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_a_device_names_it_as_reply(world: World, target: Target) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        for subject, data in DEVICE_WAYS:
            attacker.publish(subject, data, reply=target.subject)
        await own_answer(attacker)
        assert await world.growth() == DEVICE_STORES
        assert await world.fooled() == []


@pytest.mark.parametrize("target", STORED, ids=str)
async def test_the_same_attack_works_inside_hub(world: World, target: Target) -> None:
    attacker = await world.hub.connect(world.hub.keyring.service_credentials("hub"))
    await attacker.publish(f"$JS.API.DIRECT.GET.EDGE_REPORTS.edge.from.{ATTACKER}.report", reply=target.subject)
    await settle(attacker)
    assert set(await world.growth()) == {target.stream}
    await attacker.close()


@pytest.mark.parametrize("target", LIVE, ids=str)
async def test_an_injected_live_message_is_only_a_doorbell(world: World, target: Target) -> None:
    # Not prevented, so it must be harmless: it has no reply, and the server's header names the culprit.
    async with await world.hub.device(ATTACKER) as attacker:
        attacker.publish(direct_get("EDGE_REPORTS", f"edge.from.{ATTACKER}.report"), reply=target.subject)
        injected = await world.victim.next_on(target.subject)
        assert injected is not None and injected.reply == ""
        assert f"Nats-Subject: edge.from.{ATTACKER}.report".encode() in injected.headers
        assert await world.growth() == {}


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_a_viewer_names_it_as_reply(world: World, target: Target) -> None:
    for subject, data in PERSON_WAYS:
        await world.viewer.publish(subject, data, reply=target.subject)
    answer = await world.viewer.request(direct_get("EDGE_REPORTS", f"edge.from.{ATTACKER}.report"))
    assert answer.data == b"FORGED"
    assert await world.growth() == {}
    assert [message for message in await world.heard_by_people() if not betrays_itself(message)] == []


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_an_operator_names_it_as_reply(world: World, target: Target) -> None:
    number = TARGETS.index(target) + 1
    for subject, data in OPERATOR_WAYS:
        await world.operator.publish(subject.format(number), data, reply=target.subject)
    await settle(world.operator)
    # nats-server itself refuses a client any reply below _R_, and with it the message.
    assert await world.growth() == ({} if target.subject.startswith("_R_.") else OPERATOR_STORES)
    assert [message for message in await world.heard_by_people() if not betrays_itself(message)] == []


def betrays_itself(message: Msg) -> bool:
    """Whether an injected message can be told from a true one.

    Inside OPS a reply subject reaches whoever listens there, so one person can aim an answer of the hub at another's live view or
    (if it could be guessed) query. It is the hub's answer word for word: a stored message under the mark of its true subject, or
    an answer of the API, which is neither a device's answer nor a report.
    """
    headers = message.headers or {}
    return "Nats-Subject" in headers or "Status" in headers or set(json.loads(message.data)) & {"seq", "type"} != set()


# ---- publishing and subscribing without the right ------------------------------------------------------------------------------

#: Beside the targets: other devices' and groups' reads, and what a device could do with the API if it had it.
DEVICE_MAY_NOT_PUBLISH = [
    *[target.subject for target in TARGETS],
    *[target.subject for target in LIVE],
    "edge.to.fleet.all.query",
    f"edge.to.device.{ATTACKER}.cmd.1",
    f"$KV.edge_config.device.{ATTACKER}",
    f"$KV.edge_devices.{ATTACKER}",
    direct_get("KV_edge_config", f"$KV.edge_config.device.{VICTIM}"),
    direct_get("KV_edge_config", "$KV.edge_config.group.paris"),
    direct_get("KV_edge_config"),
    direct_get("KV_edge_presence", f"$KV.edge_presence.{ATTACKER}"),
    direct_get("KV_edge_devices", f"$KV.edge_devices.{VICTIM}"),
    direct_get("EDGE_COMMANDS"),
    direct_get("EDGE_COMMANDS", f"edge.to.device.{VICTIM}.cmd.*"),
    direct_get("EDGE_COMMANDS", "edge.to.group.paris.cmd.*"),
    direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.report"),
    direct_get("EDGE_REPORTS", "edge.from.*.report"),
    direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.heartbeat"),
    direct_get("EDGE_RESULTS", f"edge.from.{VICTIM}.result.01ABC"),
    direct_get("EDGE_METRICS", f"edge.from.{VICTIM}.metric"),
    direct_get("EDGE_DATA", f"edge.from.{VICTIM}.data"),
    direct_get("EDGE_EVENTS"),
    direct_get("EDGE_AUDIT"),
    "edge.api.STREAM.INFO.EDGE_REPORTS",
    *[
        f"{prefix}.{order}"
        for prefix in ("edge.api", "$JS.API", "$JS.hub.API")
        for order in (
            "STREAM.CREATE.MINE",
            "STREAM.UPDATE.EDGE_EVENTS",
            "STREAM.MSG.GET.EDGE_REPORTS",
            "STREAM.MSG.DELETE.EDGE_EVENTS",
            "CONSUMER.CREATE.EDGE_COMMANDS",
            "CONSUMER.DELETE.EDGE_AUDIT.mine",
            "CONSUMER.MSG.NEXT.EDGE_COMMANDS.mine",
        )
    ],
    "$JS.API.INFO",
    direct_get("KV_edge_trust", "$KV.edge_trust.*"),
    direct_get("KV_edge_tokens", "$KV.edge_tokens.token.abc234"),
    direct_get("KV_edge_revocations", "$KV.edge_revocations.>"),
    direct_get("KV_edge_people", "$KV.edge_people.olga"),
    direct_get("EDGE_FILES"),
    direct_get("EDGE_FILES", ">"),
    direct_get("EDGE_UPLOADS"),
    direct_get("EDGE_UPLOADS", f"edge.from.{VICTIM}.file"),
    direct_get("EDGE_UPLOADS", f"edge.from.{ATTACKER}.file"),
    f"edge.admin.{ATTACKER}.device_groups",
    f"provision.renew.{ATTACKER}",
    "$SYS.REQ.SERVER.PING.LEAFZ",
    "$MQTT.sess.x",
    "$SRV.PING",
    "local.metric.cpu",
    # A quota counts per subject: whoever could invent severities could evict everybody's events.
    f"edge.from.{ATTACKER}.event.flood",
    f"edge.from.{ATTACKER}.event.x.y",
    f"edge.from.{ATTACKER}.invented",
]
#: With ``micro`` on a device may answer the micro protocol; ``_INBOX.srv`` is the one inbox of people's that it may write to.
DEVICE_MAY_NOT_PUBLISH.remove("_INBOX.srv.olga.zz")
DEVICE_MAY_NOT_PUBLISH.remove("_R_.aaaaaa.bbbbbb")


@pytest.mark.parametrize("subject", DEVICE_MAY_NOT_PUBLISH)
async def test_a_device_is_cut_off_for_publishing(world: World, subject: str) -> None:
    attacker = await world.hub.device(ATTACKER, "berlin")
    attacker.publish(subject, b"FORGED", reply=f"edge.to.device.{ATTACKER}.in.x")
    assert not await attacker.settle(), "the link is still open"
    assert attacker.messages == []
    assert await world.growth() == {} and await world.fooled() == []


@pytest.mark.parametrize("subject", [subject for subject in DEVICE_MAY_NOT_PUBLISH if "*" not in subject])
async def test_a_device_that_poses_as_a_hub_is_not_heard(world: World, subject: str) -> None:
    # nats-server drops what such a link may not publish without closing it.
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        await unheard(world, attacker, subject)


#: What is left open: on a link that claims ``is_hub`` nats-server (2.15.1, leafnode.go's leafReceiveAllowed) lets a message pass whose
#: own subject has wildcards, if an allowed subject lies within them. So such a device can store under an id that is none, and read
#: the newest message of others. It cannot speak as another, and LEAFZ gives it away.
OVERREACHING_WRITES = [
    "edge.from.*.report",
    "edge.from.*.heartbeat",
    "edge.from.*.metric",
    "edge.from.*.event.>",
    "edge.from.*.data.>",
]
OVERREACHING_READS = [
    direct_get("EDGE_REPORTS", "edge.from.*.report"),
    direct_get("EDGE_REPORTS", ">"),
    direct_get("EDGE_METRICS", "edge.from.*.metric"),
    direct_get("EDGE_COMMANDS", "edge.to.device.>"),
    direct_get("KV_edge_config", "$KV.edge_config.device.*"),
]


@pytest.mark.parametrize("subject", OVERREACHING_WRITES)
async def test_a_device_that_poses_as_a_hub_stores_nothing_under_anothers_id(world: World, subject: str) -> None:
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        for _ in range(3):
            attacker.publish(subject, b"FORGED")
        await own_answer(attacker)
    await world.growth()
    assert not [name for name in await world.fooled() if is_id(name.split(".")[2])]
    for stream, pattern in (("EDGE_REPORTS", "report"), ("EDGE_METRICS", "metric")):
        kept = await world.viewer.request(direct_get(stream, f"edge.from.{VICTIM}.{pattern}"))
        assert kept.headers["Nats-Subject"] == f"edge.from.{VICTIM}.{pattern}"


@pytest.mark.xfail(
    reason="nats-server: a link with is_hub may use wildcards as the subject of a message", raises=AssertionError, strict=True
)
@pytest.mark.parametrize("subject", OVERREACHING_READS)
async def test_a_device_that_poses_as_a_hub_reads_nothing_of_others(world: World, subject: str) -> None:
    await world.operator.request(f"$KV.edge_config.device.{VICTIM}", b"of the victim")
    await world.victim.request(f"edge.from.{VICTIM}.report", b"TRUE")
    async with await world.hub.device(ATTACKER, is_hub=True) as attacker:
        attacker.subscribe(f"edge.to.device.{ATTACKER}.in.x")
        attacker.publish(subject, reply=f"edge.to.device.{ATTACKER}.in.x")
        await own_answer(attacker)
        with contextlib.suppress(AssertionError):  # another server's or thread's answer may come later than our own
            await until(lambda: any(message.subject.endswith(".in.x") for message in attacker.messages), "it reads", 5)
        assert [message for message in attacker.messages if message.subject.endswith(".in.x")] == []


async def test_leafz_shows_who_poses_as_a_hub(world: World) -> None:
    system = await world.hub.connect(world.hub.keyring.service_credentials("sys"))
    async with await world.hub.device(ATTACKER, is_hub=True):
        answer = await system.request("$SYS.REQ.SERVER.PING.LEAFZ")
        assert sorted(leaf["is_spoke"] for leaf in json.loads(answer.data)["data"]["leafs"]) == [False, True]
    await system.close()


@pytest.mark.parametrize("subject", ["_R_.aaaaaa.bbbbbb", "$JS.ACK.EDGE_COMMANDS.x.1.1.1.1.0", "$JS.ACK.x"])
async def test_what_the_server_lets_every_leaf_publish_goes_nowhere(world: World, subject: str) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        await unheard(world, attacker, subject)


async def unheard(world: World, attacker: Rogue, subject: str) -> None:
    inbox = f"edge.to.device.{ATTACKER}.in.x"
    attacker.subscribe(inbox)
    attacker.publish(subject, b"FORGED", reply=inbox)
    await own_answer(attacker)
    assert [message for message in attacker.messages if message.subject == inbox] == []
    assert await world.growth() == {"EDGE_REPORTS": (0, 1)} and await world.fooled() == []


@pytest.mark.parametrize(
    "subject",
    [
        f"edge.to.device.{VICTIM}.query",
        f"edge.to.device.{VICTIM}.in.1",
        "edge.to.group.paris.query",
        "edge.to.group.paris.config",
        f"edge.from.{VICTIM}.report",
        f"edge.live.{VICTIM}.report",
        "_INBOX.ops.olga.1",
        "$KV.edge_config.fleet.all",
        "provision.claim.x",
    ],
)
@pytest.mark.parametrize("queue", ["", "workers"], ids=["plain", "queue"])
async def test_a_device_is_cut_off_for_subscribing(world: World, subject: str, queue: str) -> None:
    attacker = await world.hub.device(ATTACKER, "berlin")
    attacker.subscribe(subject, queue=queue)
    assert not await attacker.settle(), "the link is still open"
    assert any("Permissions Violation for Subscription" in error for error in attacker.errors)


@pytest.mark.parametrize("is_hub", [False, True], ids=["leaf", "posing as a hub"])
async def test_a_device_with_wildcards_hears_its_own_only(world: World, is_hub: bool) -> None:
    # A leaf may ask for any wildcard (stock ones do); the hub checks each message instead.
    async with await world.hub.device(ATTACKER, "berlin", is_hub=is_hub) as attacker:
        for subject in (">", "edge.>", "edge.to.>", f"edge.to.device.{VICTIM}.>", "edge.to.*.*.query", "edge.live.>", "_INBOX.>"):
            attacker.subscribe(subject)
        assert await attacker.settle()
        for scope in (f"device.{VICTIM}", "group.paris", "group.berlin", "fleet.all"):
            await world.operator.publish(f"edge.to.{scope}.query", b"?", reply="_INBOX.ops.olga.q")
            await world.operator.request(f"$KV.edge_config.{scope}", b"document")
        await world.operator.publish(f"edge.to.device.{ATTACKER}.query", b"last", reply="_INBOX.ops.olga.q")
        assert await attacker.next_on(f"edge.to.device.{ATTACKER}.query")
        heard = {message.subject for message in attacker.messages if not message.subject.startswith("$LDS.")}
        scopes = {".".join(subject.split(".")[2:4]) for subject in heard}
        assert scopes == {f"device.{ATTACKER}", "group.berlin", "fleet.all"}


VIEWER_MAY_NOT_PUBLISH = [
    "$KV.edge_config.fleet.all",
    "$KV.edge_presence.pi-1",
    "$KV.edge_devices.pi-1",
    "edge.to.fleet.all.cmd.3",
    f"edge.file.{UPLOAD}.2",
    "edge.to.fleet.all.config",
    "edge.to.device.pi-1.in.1",
    "edge.from.pi-1.report",
    "edge.from.pi-1.reply.olga.1",
    "edge.live.pi-1.report",
    "_INBOX.ops.olga.x",
    "_INBOX.srv.olga.x",
    "edge.api.STREAM.DELETE.EDGE_REPORTS",
    "edge.api.STREAM.PURGE.KV_edge_config",
    "edge.api.STREAM.MSG.DELETE.EDGE_COMMANDS",
    "edge.api.CONSUMER.CREATE.EDGE_REPORTS",
    "$JS.API.STREAM.DELETE.EDGE_REPORTS",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SRV.anything",
    "$KV.edge_trust.signers",
    "$KV.edge_trust.authorities",
    "$KV.edge_people.eve",
    "$KV.edge_tokens.token.abc234",
    "$KV.edge_revocations.FLEET.UABC",
    "edge.to.device.pi-1.record",
    "edge.to.trust.signers.config",
    "edge.admin.eve.token_create",
    "edge.admin.ada.token_create",
    "edge.api.DIRECT.GET.KV_edge_tokens.$KV.edge_tokens.token.abc234",
    "edge.api.DIRECT.GET.EDGE_AUDIT.edge.to.fleet.all.cmd.1",
    "edge.api.STREAM.INFO.KV_edge_tokens",
    "provision.claim.abc234",
    "provision.renew.pi-1",
]
OPERATOR_MAY_NOT_PUBLISH = [
    s
    for s in VIEWER_MAY_NOT_PUBLISH
    if s not in ("$KV.edge_config.fleet.all", "edge.to.fleet.all.cmd.3", f"edge.file.{UPLOAD}.2")
]
#: An administrator is an operator who orders the hub about in the own name and says who may sign; no more than that.
ADMIN_MAY_NOT_PUBLISH = [
    *[s for s in OPERATOR_MAY_NOT_PUBLISH if s != "$KV.edge_trust.signers" and not s.startswith("edge.admin.ada.")],
    "edge.admin.admin.device_revoke",
    "edge.admin.ada.device.revoke",
]
_GROUPS = ("fleet.all", "group.paris", "device.pi-1")
GROUP_OPERATOR_MAY_NOT_PUBLISH = [
    *OPERATOR_MAY_NOT_PUBLISH,
    *[f"edge.to.{scope}.query" for scope in _GROUPS],
    *[f"edge.to.{scope}.cmd.3" for scope in _GROUPS],
    *[f"$KV.edge_config.{scope}" for scope in _GROUPS],
    "edge.admin.gus.device_groups",
]
GROUP_VIEWER_MAY_NOT_PUBLISH = [
    *GROUP_OPERATOR_MAY_NOT_PUBLISH,
    f"edge.file.{UPLOAD}.2",
    "edge.to.group.berlin.cmd.3",
    "$KV.edge_config.group.berlin",
]


@pytest.mark.parametrize("subject", VIEWER_MAY_NOT_PUBLISH)
async def test_a_viewer_may_not_publish(world: World, subject: str) -> None:
    await refused_publish(world, world.viewer, subject)


@pytest.mark.parametrize("subject", OPERATOR_MAY_NOT_PUBLISH)
async def test_an_operator_may_not_publish(world: World, subject: str) -> None:
    await refused_publish(world, world.operator, subject)


async def test_an_administrator_may_not_publish(world: World) -> None:
    await refused_publishes(world, "ada", "admin", (), ADMIN_MAY_NOT_PUBLISH)


async def test_an_operator_of_a_group_may_not_publish(world: World) -> None:
    await refused_publishes(world, "gus", "operator", ["berlin"], GROUP_OPERATOR_MAY_NOT_PUBLISH)


async def test_a_viewer_of_a_group_may_not_publish(world: World) -> None:
    await refused_publishes(world, "gus", "viewer", ["berlin"], GROUP_VIEWER_MAY_NOT_PUBLISH)


async def test_an_operator_of_a_group_speaks_to_that_group(world: World) -> None:
    # What would make the test above worthless: a login that may do nothing at all.
    login = world.hub.keyring.operator_credentials("gus", "operator", groups=["berlin"])
    gus = await world.hub.connect(login, "_INBOX.ops.gus")
    await gus.publish("edge.to.group.berlin.query", b"?", reply="_INBOX.ops.gus.1")
    assert await world.victim.next_on("edge.to.group.berlin.query")
    assert "error" not in json.loads((await gus.request("$KV.edge_config.group.berlin", b"document")).data)
    assert gus.seen_errors == []
    await gus.close()


async def refused_publishes(world: World, name: str, role: Any, groups: Sequence[str], subjects: Sequence[str]) -> None:
    login = world.hub.keyring.operator_credentials(name, role, groups=groups)
    person = await world.hub.connect(login, f"_INBOX.ops.{name}")
    for subject in subjects:
        await person.publish(subject, b"FORGED")
    await settle(person)
    refused = "\n".join(person.seen_errors)
    assert [s for s in subjects if f'permissions violation for publish to "{s.lower()}"' not in refused] == []
    assert await world.growth() == {} and await world.fooled() == []
    await person.close()


async def refused_publish(world: World, client: Client, subject: str) -> None:
    await client.publish(subject, b"FORGED")
    await settle(client)
    assert [error for error in client.seen_errors if f'permissions violation for publish to "{subject.lower()}"' in error]
    assert await world.growth() == {} and await world.fooled() == []


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "edge.>",
        "_INBOX.>",
        "_INBOX.ops.olga.>",
        "edge.from.*.reply.olga.*",
        "edge.from.*.reply.*.*",
        "edge.to.>",
        "$KV.>",
        "$SYS.>",
    ],
)
async def test_a_viewer_may_not_subscribe(world: World, subject: str) -> None:
    await world.viewer.subscribe(subject)
    await settle(world.viewer)
    assert [error for error in world.viewer.seen_errors if "permissions violation for subscription" in error]


# ---- files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits", [{"actions": ["ping"]}, {"actions": ["file.pull"], "groups": ["berlin"]}], ids=["all", "group"]
)
async def test_who_may_not_push_files_uploads_none(world: World, limits: Any) -> None:
    login = world.hub.keyring.operator_credentials("paul", "operator", **limits)
    paul = await world.hub.connect(login, "_INBOX.ops.paul")
    await refused_publish(world, paul, f"edge.file.{UPLOAD}.3")
    await paul.close()


async def test_who_may_push_files_uploads_each_piece_once(world: World) -> None:
    login = world.hub.keyring.operator_credentials("paul", "operator", groups=["berlin"], actions=["file.*"])
    paul = await world.hub.connect(login, "_INBOX.ops.paul")
    subject = f"edge.file.{UPLOAD[::-1]}.1"
    assert "error" not in json.loads((await paul.request(subject, b"first")).data)
    assert "maximum messages per subject" in json.loads((await paul.request(subject, b"second")).data)["error"]["description"]
    never = await paul.request(f"edge.file.{UPLOAD[::-1]}.2", b"for ever", headers={"Nats-TTL": "never"})
    assert "TTL is disabled" in json.loads(never.data)["error"]["description"]
    await paul.close()


async def test_a_device_reads_every_file_that_was_pushed(world: World) -> None:
    """Its random name protects nothing: a literal asterisk asks for the newest piece, and the answer names the upload."""
    async with await world.hub.device(ATTACKER) as attacker:
        answer = await attacker.request(direct_get("EDGE_FILES", "edge.file.*.1"))
        assert answer is not None and b"Nats-Subject: edge.file." in answer.headers


async def test_a_device_that_floods_leaves_the_others_their_files(world: World) -> None:
    quota = (await world.serve.jetstream().stream_info("EDGE_UPLOADS")).config.max_msgs_per_subject
    await world.victim.request(f"edge.from.{VICTIM}.file", b"of the victim")
    async with await world.hub.device(ATTACKER) as attacker:
        for _ in range(quota + 50):
            attacker.publish(f"edge.from.{ATTACKER}.file", b"FLOOD")
        answer = await attacker.request(f"edge.from.{ATTACKER}.file", b"LAST")
        assert answer is not None and b'"stream":"EDGE_UPLOADS"' in answer.data
    kept = await world.serve.jetstream().stream_info("EDGE_UPLOADS", subjects_filter="edge.from.*.file")
    assert kept.state.subjects[f"edge.from.{ATTACKER}.file"] == quota
    found = await world.viewer.request(direct_get("EDGE_UPLOADS", f"edge.from.{VICTIM}.file"))
    assert found.data == b"of the victim"


# ---- headers -------------------------------------------------------------------------------------------------------------------

HARMFUL_HEADERS = {
    "rollup of all": {"Nats-Rollup": "all"},
    "rollup of the subject": {"Nats-Rollup": "sub"},
    "time to live": {"Nats-TTL": "1s"},
    "schedule": {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": f"edge.from.{VICTIM}.event.info"},
    "counter": {"Nats-Incr": "1"},
    "batch": {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    "other stream": {"Nats-Expected-Stream": "EDGE_COMMANDS"},
}


@pytest.mark.parametrize("headers", HARMFUL_HEADERS.values(), ids=HARMFUL_HEADERS)
async def test_a_device_sends_a_header_that_the_stream_refuses(world: World, headers: dict[str, str]) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        answer = await attacker.request(f"edge.from.{ATTACKER}.event.info", b"x", headers=headers)
        assert answer is not None and "error" in json.loads(answer.data)
        assert await world.growth() == {}


@pytest.mark.parametrize("headers", [{"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}], ids=["all", "sub"])
async def test_an_operator_cannot_wipe_the_config(world: World, headers: dict[str, str]) -> None:
    answer = await world.operator.request("$KV.edge_config.fleet.all", b"x", headers=headers)
    assert "error" in json.loads(answer.data)
    assert await world.growth() == {}


async def test_an_operator_cannot_rewrite_a_command(world: World) -> None:
    subject = "edge.to.group.rome.cmd.1"
    assert "error" not in json.loads((await world.operator.request(subject, b"first")).data)
    assert "error" in json.loads((await world.operator.request(subject, b"second")).data)
    assert (await world.viewer.request(direct_get("EDGE_COMMANDS", subject))).data == b"first"


TRACED = [target.subject for target in (*TARGETS, *LIVE) if not target.subject.startswith("_INBOX.srv.")]


@pytest.mark.parametrize("subject", TRACED)
async def test_a_device_has_a_message_traced_to(world: World, subject: str) -> None:
    # The servers themselves publish the trace, so they must check that the sender could.
    async with await world.hub.device(ATTACKER) as attacker:
        for only in ("true", "false"):
            headers = {"Nats-Trace-Dest": subject, "Nats-Trace-Only": only}
            attacker.publish(f"edge.from.{ATTACKER}.event.info", b"x", headers=headers)
        await own_answer(attacker)
        assert await world.growth() == {"EDGE_REPORTS": (0, 1)}
        assert await world.fooled() == [] and world.victim.messages == []


async def test_a_used_message_id_suppresses_nobody(world: World) -> None:
    # Our uploads carry no Nats-Msg-Id at all. Should a client send one, it can be taken by another for no longer than the window.
    async with await world.hub.device(ATTACKER) as attacker:
        await attacker.request(f"edge.from.{ATTACKER}.result.1", b"x", headers={"Nats-Msg-Id": "same"})
        answer = await world.victim.request(f"edge.from.{VICTIM}.result.2", b"TRUE")
        assert answer is not None and "duplicate" not in json.loads(answer.data)
    for stream in streams.STREAMS:
        info = await world.serve.jetstream().stream_info(stream.name)
        assert info.config.duplicate_window == 0.1


FORGED_MARKS: dict[str, dict[str, str] | bytes] = {
    "subject": {"Nats-Subject": f"edge.from.{VICTIM}.report", "Nats-Sequence": "1", "Nats-Time-Stamp": "2030-01-01T00:00:00Z"},
    "end of the page": {"Status": "204", "Nats-Num-Pending": "0"},
    "not found": {"Status": "404"},
    "no responders": {"Status": "503"},
    "inline status": b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
}


@pytest.mark.parametrize("headers", FORGED_MARKS.values(), ids=FORGED_MARKS)
async def test_a_listing_is_not_fooled_by_a_stored_header(world: World, headers: dict[str, str] | bytes) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        await attacker.request(f"edge.from.{ATTACKER}.report", b"FORGED", headers=headers)
        await world.victim.request(f"edge.from.{VICTIM}.report", b"TRUE")
        try:
            listed = {item.subject: item.data async for item in read_all(world.viewer, "EDGE_REPORTS", "edge.from.*.report")}
        finally:
            await attacker.request(f"edge.from.{ATTACKER}.report", b"FORGED")  # as the other tests want it
        assert listed[f"edge.from.{VICTIM}.report"] == b"TRUE"
        assert listed.get(f"edge.from.{ATTACKER}.report", b"FORGED") == b"FORGED"


# ---- credentials -----------------------------------------------------------------------------------------------------------------


async def test_a_devices_credentials_are_no_login_for_a_client(hub: Hub) -> None:
    with pytest.raises(nats.errors.Error):
        await hub.connect(hub.keyring.device_credentials(ATTACKER))


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_a_persons_credentials_are_no_login_for_a_leaf(hub: Hub, role: Any) -> None:
    leaf = await Rogue.connect(hub.leaf_port, hub.keyring.operator_credentials("mallory", role))
    assert not await leaf.settle()


async def test_expired_credentials_are_refused(hub: Hub) -> None:
    leaf = await Rogue.connect(hub.leaf_port, hub.keyring.device_credentials(ATTACKER, expires_in_seconds=-1))
    assert not await leaf.settle()


async def test_a_device_that_another_hub_signed_is_refused(hub: Hub) -> None:
    # It names this hub's account; only the signature is of a key that this hub does not know, or of one that is no device's.
    stranger, key, account = Owner.create("hub"), KeyPair.generate("user"), hub.keyring.account_public("FLEET")
    for signer in (stranger.key("role-device"), stranger.key("account-FLEET"), KeyPair.generate("account")):
        token = jwt.scoped_user(signer, subject=key.public, name=VICTIM, account=account, issued_at=int(time.time()))
        leaf = await Rogue.connect(hub.leaf_port, Credentials(token, key.seed))
        assert not await leaf.settle()
    leaf = await Rogue.connect(hub.leaf_port, stranger.device_credentials(VICTIM))
    assert not await leaf.settle()


async def test_a_changed_jwt_is_refused(hub: Hub) -> None:
    mine, other = hub.keyring.device_credentials(ATTACKER), hub.keyring.device_credentials(VICTIM)
    head, _, signature = mine.jwt.split(".")
    leaf = await Rogue.connect(hub.leaf_port, Credentials(f"{head}.{other.jwt.split('.')[1]}.{signature}", mine.seed))
    assert not await leaf.settle()


async def test_anothers_key_does_not_open_the_door(hub: Hub) -> None:
    stolen = hub.keyring.device_credentials(VICTIM)
    leaf = await Rogue.connect(hub.leaf_port, Credentials(stolen.jwt, KeyPair.generate("user").seed))
    assert not await leaf.settle()


async def test_an_account_without_a_grant_imports_nothing(world: World) -> None:
    client = await world.hub.connect(account_user(world.hub.folder, "naked"))
    with pytest.raises(nats.errors.NoRespondersError):
        await client.request(f"edge.from.{VICTIM}.report", b"FORGED")
    assert await world.growth() == {} and await world.fooled() == []
    await client.close()


async def test_an_account_with_a_stolen_grant_is_refused_whole(hub: Hub) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await hub.connect(account_user(hub.folder, "stolen"))


# ---- limits ----------------------------------------------------------------------------------------------------------------------


async def test_a_device_that_floods_leaves_the_others_their_events(world: World) -> None:
    quota = (await world.serve.jetstream().stream_info("EDGE_EVENTS")).config.max_msgs_per_subject
    await world.victim.request(f"edge.from.{VICTIM}.event.warning", b"TRUE")
    async with await world.hub.device(ATTACKER) as attacker:
        for _ in range(quota + 50):
            for severity in streams.SEVERITIES:
                attacker.publish(f"edge.from.{ATTACKER}.event.{severity}", b"x" * 100)
        for severity in streams.SEVERITIES:
            await attacker.request(f"edge.from.{ATTACKER}.event.{severity}", b"last")
        kinds = len(streams.SEVERITIES)
        messages, sequences = (await world.growth())["EDGE_EVENTS"]
        assert sequences == 1 + kinds * (quota + 51) and messages <= 1 + kinds * quota
    kept = await world.viewer.request(direct_get("EDGE_EVENTS", f"edge.from.{VICTIM}.event.warning"))
    assert kept.data == b"TRUE"


async def test_a_message_beyond_the_devices_limit_ends_the_link(world: World) -> None:
    attacker = await world.hub.device(ATTACKER)
    attacker.publish(f"edge.from.{ATTACKER}.data", bytes((1 << 20) + 1))
    assert not await attacker.settle()
    assert "maximum payload exceeded" in (world.hub.folder / "server.log").read_text().lower()
    assert await world.growth() == {}
    assert await world.victim.settle()


async def test_a_device_has_so_many_subscriptions_and_no_more(world: World) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        for number in range(200):
            attacker.subscribe(f"edge.to.device.{ATTACKER}.in.{number}.>")
        assert await attacker.settle()
        assert {error.strip("'") for error in attacker.errors} == {"maximum subscriptions exceeded"}
        assert len(attacker.errors) >= 200 - 160


async def test_a_message_that_is_too_large_is_refused_but_the_link_stays(world: World) -> None:
    async with await world.hub.device(ATTACKER) as attacker:
        answer = await attacker.request(f"edge.from.{ATTACKER}.event.info", bytes(100_000))
        assert answer is not None and json.loads(answer.data)["error"]["err_code"] == 10054
        await own_answer(attacker)


# ---- what must work --------------------------------------------------------------------------------------------------------------

UPLOADS = {
    "EDGE_REPORTS": ["report", "heartbeat"],
    "EDGE_RESULTS": ["result.01HX"],
    "EDGE_METRICS": ["metric"],
    "EDGE_DATA": ["data"],
    "EDGE_EVENTS": ["event.warning"],
}


@pytest.mark.parametrize(("stream", "what"), [(stream, what) for stream, whats in UPLOADS.items() for what in whats])
async def test_an_upload_is_acknowledged_read_back_and_seen_live(world: World, stream: str, what: str) -> None:
    async with await world.hub.device("pi-2") as device:
        data = f"true {what}".encode()
        answer = await device.request(f"edge.from.pi-2.{what}", data)
        assert answer is not None and json.loads(answer.data)["stream"] == stream
        if stream != "EDGE_EVENTS":  # events carry an id and need no cursor
            own = await device.request(direct_get(stream, f"edge.from.pi-2.{what}"))
            assert own is not None and own.data == data
        assert (await world.viewer.request(direct_get(stream, f"edge.from.pi-2.{what}"))).data == data
        await world.growth()
        assert {m.data for m in world.heard if m.subject == f"edge.live.pi-2.{what}"} == {data}
        assert await world.fooled("pi-2") == []


async def test_a_fence_lets_only_the_next_chunk_in(world: World) -> None:
    async with await world.hub.device("pi-3") as device:

        async def send(fence: int) -> dict[str, Any]:
            headers = {"Nats-Expected-Last-Subject-Sequence": str(fence)}
            answer = await device.request("edge.from.pi-3.metric", b"chunk", headers=headers)
            assert answer is not None
            return dict(json.loads(answer.data))

        first = (await send(0))["seq"]
        assert (await send(0))["error"]["err_code"] == 10071
        assert (await send(first))["seq"] > first


async def test_a_device_reads_its_scopes_and_hears_their_doorbells(world: World) -> None:
    async with await world.hub.device("pi-4", "berlin", "paris") as device:
        for scope in ("device.pi-4", "group.berlin", "group.paris", "fleet.all"):
            device.subscribe(f"edge.to.{scope}.config")
            device.subscribe(f"edge.to.{scope}.command")
            assert await device.settle()
            await world.operator.request(f"$KV.edge_config.{scope}", f"config of {scope}".encode())
            bell = await device.next_on(f"edge.to.{scope}.config")
            assert bell is not None and bell.data == b"" and b"Nats-Sequence" in bell.headers
            read = await device.request(direct_get("KV_edge_config", f"$KV.edge_config.{scope}"))
            assert read is not None and read.data == f"config of {scope}".encode()
            first = {"Nats-Expected-Last-Subject-Sequence": "0"}
            await world.operator.request(f"edge.to.{scope}.cmd.4242", b"command", headers=first)
            bell = await device.next_on(f"edge.to.{scope}.command")
            assert bell is not None and bell.data == b"" and f"edge.to.{scope}.cmd.4242".encode() in bell.headers
            head = await device.request(direct_get("EDGE_COMMANDS", f"edge.to.{scope}.cmd.4242"))
            assert head is not None and head.data == b"command"
        assert not device.closed.is_set()


async def test_a_query_is_answered_to_its_asker_only(world: World) -> None:
    mine = await world.viewer.subscribe("edge.from.*.reply.eve.*")
    await world.viewer.publish("edge.to.fleet.all.query", b"{}", reply="_INBOX.ops.eve.q")
    await settle(world.viewer)
    query = await world.victim.next_on("edge.to.fleet.all.query")
    assert query is not None and query.reply == "_INBOX.ops.eve.q"
    world.victim.publish(f"edge.from.{VICTIM}.reply.eve.t1", b"answer")
    answer = await mine.next_msg(timeout=PATIENCE_SECONDS)
    assert (answer.subject, answer.data) == (f"edge.from.{VICTIM}.reply.eve.t1", b"answer")
    await world.growth()
    assert [m.subject for m in world.heard if ".reply." in m.subject] == [f"edge.from.{VICTIM}.reply.eve.t1"]


async def test_presence_is_read_and_watched_by_people(world: World) -> None:
    await world.serve.request("$KV.edge_presence.pi-5", b"online")
    assert (await world.viewer.request(direct_get("KV_edge_presence", "$KV.edge_presence.pi-5"))).data == b"online"
    await world.growth()
    await world.fooled()
    assert [m.data for m in world.heard if m.subject == "edge.live.pi-5.presence"] == [b"online"] * 3


@pytest.mark.parametrize("stream", streams.PEOPLE_READ)
async def test_people_read_every_stream_that_is_theirs(world: World, stream: str) -> None:
    info = json.loads((await world.viewer.request(f"edge.api.STREAM.INFO.{stream}")).data)
    assert info["config"]["name"] == stream
    assert (await world.viewer.request(direct_get(stream), b'{"seq":1,"batch":1}')).headers["Nats-Stream"] == stream


async def test_the_audit_has_what_operators_wrote(world: World) -> None:
    await world.operator.request("$KV.edge_config.group.audited", b"document")
    await world.operator.request("edge.to.group.audited.cmd.1", b"command")
    js = world.serve.jetstream()
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    wanted = {"$KV.edge_config.group.audited", "edge.to.group.audited.cmd.1"}
    while not wanted <= set((await js.stream_info("EDGE_AUDIT", subjects_filter=">")).state.subjects or {}):
        assert asyncio.get_running_loop().time() < deadline, "the audit stream did not take them"
        await asyncio.sleep(0.02)


async def test_leafz_tells_a_device_by_its_own_literal_subscription(world: World) -> None:
    # A leaf that asks for another's literal subject is cut off, so the server's list proves who it is; a wildcard proves nothing.
    system = await world.hub.connect(world.hub.keyring.service_credentials("sys"))
    async with await world.hub.device("pi-6") as device, await world.hub.device(ATTACKER) as attacker:
        device.subscribe("edge.to.device.pi-6.query")
        attacker.subscribe("edge.to.device.pi-6.>")
        assert await device.settle() and await attacker.settle()
        answer = await system.request("$SYS.REQ.SERVER.PING.LEAFZ", b'{"subscriptions":true}')
        lists = [leaf.get("subscriptions_list") or [] for leaf in json.loads(answer.data)["data"]["leafs"]]
        assert sum("edge.to.device.pi-6.query" in listed for listed in lists) == 1
    await system.close()


async def test_a_stock_leaf_links_and_serves_its_agent(world: World, tmp_path: Path) -> None:
    (tmp_path / "device.creds").write_text(world.hub.keyring.device_credentials("pi-7", ["berlin"]).format())
    process, log = start(tmp_path, leaf_config(tmp_path, world.hub.leaf_port))
    try:
        agent = await nats.connect(f"nats://127.0.0.1:{port_of('client', log)}", inbox_prefix=b"edge.to.device.pi-7.in")
        bell = await agent.subscribe("edge.to.group.berlin.config")
        ack = await ask_until_linked(agent, "edge.from.pi-7.report", b"facts")
        assert json.loads(ack.data)["stream"] == "EDGE_REPORTS"
        assert (await agent.request(direct_get("EDGE_REPORTS", "edge.from.pi-7.report"))).data == b"facts"
        await world.operator.request("$KV.edge_config.group.berlin", b"document")
        assert (await bell.next_msg(timeout=PATIENCE_SECONDS)).subject == "edge.to.group.berlin.config"
        with pytest.raises(nats.errors.NoRespondersError):
            await agent.request(direct_get("EDGE_REPORTS", f"edge.from.{VICTIM}.report"))
        await agent.close()
    finally:
        process.kill()
        process.wait()


def leaf_config(folder: Path, leaf_port: int) -> str:
    return f"""
        server_name: pi-7-random
        listen: 127.0.0.1:-1
        leafnodes {{ reconnect: 1s, remotes: [
            {{ url: "nats-leaf://127.0.0.1:{leaf_port}", credentials: "{folder}/device.creds", ignore_discovered_servers: true }}
        ] }}
    """


async def ask_until_linked(agent: Client, subject: str, data: bytes) -> Msg:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            return await agent.request(subject, data)
        except nats.errors.NoRespondersError:
            assert asyncio.get_running_loop().time() < deadline, "the leaf did not link"
            await asyncio.sleep(0.02)
