"""Who is there and who only seems to be: silence, late credentials, foreign ones, a second agent; and what stays on the device."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edgeagent.demo.layout import Pace
from edgeagent.fleet import Fleet, State
from edgeagent.link import connect, settle
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.fleet import PATIENCE_SECONDS, Device, LiveFleet, cli, offline, online
from tests.support.servers import until

#: Heartbeats and pings so rare that within a test nobody learns of a silent cut but by asking.
RARE = Pace(heartbeat_seconds=600, facts_seconds=600, reconnect_seconds=0.5, ping_seconds=600, restart_cap_seconds=1)


@pytest.fixture(scope="module")
def rare_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("rare"), pace=RARE) as fleet:
        yield fleet


@pytest.fixture
def rare(rare_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """A fleet whose parts hardly ever speak unasked, whole. Tests may register more devices."""
    with rare_fleet.borrowed() as fleet:
        yield fleet


# ---- silence ---------------------------------------------------------------------------------------------------------------


async def test_a_silent_device_is_waited_for_once(rare: LiveFleet) -> None:
    rare.cut("pi-02", silent=True)
    async with Fleet() as operator:
        outcome = await operator.query(devices=rare.ids, timeout=2.0)
    assert online(outcome) == ["pi-01", "pi-03"] and outcome.waited_for == ["pi-02"]
    assert [(row.id, row.state) for row in outcome.silent] == [("pi-02", State.ONLINE)]
    assert outcome.elapsed_seconds >= 2.0, "it seemed online, so its answer was waited for until the deadline"

    # Another process, the same person: it does not wait again, and says why.
    said = cli("fleet", "query", "true", "--json", "--timeout", "60", timeout=30)
    found = json.loads(said.out)
    assert [row["id"] for row in found["answered"]] == ["pi-01", "pi-03"] and found["elapsed_seconds"] < 30
    assert [(row["id"], row["state"]) for row in found["silent"]] == [("pi-02", "suspect")] and found["silent"][0]["last_seen"]
    strict = cli("fleet", "ls", "--strict", "--timeout", "60", timeout=30)
    assert strict.code == 3 and "pi-02 is silent" in strict.err and "no answer from pi-02" in strict.err

    rare.restore("pi-02")
    rare.until("pi-02 speaks again", lambda outcome: "pi-02" in online(outcome))
    rare.cut("pi-02", silent=True)
    async with Fleet() as operator:
        outcome = await operator.query(devices=rare.ids, timeout=0.5)
    assert outcome.waited_for == ["pi-02"], "it had spoken, so it is waited for again"


async def test_silence_is_noticed_without_asking(rare: LiveFleet) -> None:
    """Offline after three missed heartbeats; the hub's pings, which would tell it too, are rare here."""
    assert cli("config", "set", "-d", "pi-03", "agent.heartbeat_seconds=1.5").code == 0
    async with Fleet() as operator:

        async def beats() -> bool:
            return (await operator.roster()).devices["pi-03"].heartbeat_seconds == 1.5

        await until(beats, "it speaks unasked")
    rare.cut("pi-03", silent=True)
    cut = time.time()
    rare.until("pi-03 is offline", lambda outcome: "pi-03" in offline(outcome))
    async with Fleet() as operator:
        (row,) = (await operator.query(timeout=PATIENCE_SECONDS)).offline
    assert row.state is State.OFFLINE and row.last_seen and row.last_seen.timestamp() < cut + 1
    assert cli("config", "unset", "-d", "pi-03", "agent.heartbeat_seconds").code == 0


async def test_a_device_that_never_came_is_listed_and_not_waited_for(rare: LiveFleet, tmp_path: Path) -> None:
    await Device(rare, tmp_path, "in-a-drawer").register("berlin")
    async with Fleet() as operator:
        outcome = await operator.query(groups=["berlin"], timeout=PATIENCE_SECONDS)
    assert online(outcome) == ["pi-01"] and outcome.silent == []
    (row,) = outcome.offline
    assert (row.id, row.state, row.last_seen, row.groups) == ("in-a-drawer", State.NEVER_SEEN, None, ("berlin",))
    assert [line.split()[:3] for line in cli("fleet", "ls", "-d", "in-a-drawer").out.splitlines()[1:]] == [
        ["in-a-drawer", "never", "seen"]
    ]


# ---- one device and its files ----------------------------------------------------------------------------------------------


async def test_credentials_may_come_later(rare: LiveFleet, tmp_path: Path) -> None:
    device = Device(rare, tmp_path, "late-1")
    with device.running():
        await until(lambda: _has_status(device), "the agent runs")
        status = device.status()
        assert not status.link.up and any(str(device.credentials) in problem.what for problem in status.problems)
        assert cli("status", "--settings", str(device.settings)).code == 0

        await device.register("kitchen", "munich")
        await until(lambda: device.status().link.up, "it links by itself")
        async with Fleet() as operator:
            outcome = await operator.query(devices=["late-1"], select=["groups"], timeout=PATIENCE_SECONDS)
            by_group = await operator.query(groups=["munich"], timeout=PATIENCE_SECONDS)
    assert [(row.id, row.facts) for row in outcome.answered] == [("late-1", {"groups": ["kitchen", "munich"]})]
    assert "late-1" in online(by_group), "it listens to the groups that it did not know at its start"
    assert device.status().problems == [] and device.status().groups == ["kitchen", "munich"]


def _has_status(device: Device) -> bool:
    try:
        return device.status().leaf.state == "running"
    except OSError:
        return False


async def test_credentials_of_another_device_are_refused(rare: LiveFleet, tmp_path: Path) -> None:
    mine, other = Device(rare, tmp_path / "mine", "mixed-up"), Device(rare, tmp_path / "other", "somebody-else")
    await other.register(target=mine.credentials)
    said = cli("run", "--settings", str(mine.settings))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        f"edgeagent: cannot be mixed-up: the credentials in {mine.credentials} are those of 'somebody-else'."
    )
    assert "agent.toml" in said.err and len(said.err.splitlines()) == 1
    checked = cli("check", "--settings", str(mine.settings))
    assert checked.code == 1 and "'somebody-else'" in checked.out


def test_the_second_agent_in_a_folder_says_that_the_first_runs(rare: LiveFleet) -> None:
    said = cli("run", "--settings", str(rare.layout.settings("pi-01")))
    assert said.code == 1 and f"already running as pid {rare.pid('pi-01')}" in said.err
    assert len(said.err.splitlines()) == 1


# ---- local programs --------------------------------------------------------------------------------------------------------


class Program(Client):
    """A local program; what the leaf complains of is in ``complaints``."""

    complaints: list[str]


@pytest.fixture
async def program(rare: LiveFleet) -> AsyncIterator[Program]:
    """On pi-01, without a login."""
    client = Program()
    client.complaints = []

    async def note(error: Exception) -> None:
        client.complaints.append(str(error))

    await client.connect(servers=[rare.leaf_url("pi-01")], error_cb=note, allow_reconnect=False)
    yield client
    await client.close()


@pytest.fixture
async def witness(rare: LiveFleet) -> AsyncIterator[Client]:
    """On the hub, with every right in the devices' account."""
    account = rare.owner.key("account-FLEET")
    user = KeyPair.generate("user")
    token = jwt.user(account, subject=user.public, name="witness", account=account.public, issued_at=int(time.time()))
    login = creds.callbacks(Credentials(token, user.seed))
    client = await connect(rare.url, what="watch", name="witness", inbox_prefix="_INBOX.w", jwt=login, reconnect=False)
    yield client
    await client.close()


async def test_local_programs_talk_to_each_other(rare: LiveFleet, program: Program) -> None:
    other = await connect(rare.leaf_url("pi-01"), what="reach the leaf", name="b", inbox_prefix="_INBOX", reconnect=False)
    try:

        async def answer(message: Msg) -> None:
            await message.respond(b"21.5")

        await other.subscribe("local.sensor.*", cb=answer)
        await settle(other, what="listen")
        assert (await program.request("local.sensor.temperature", timeout=PATIENCE_SECONDS)).data == b"21.5"
    finally:
        await other.close()
    assert program.complaints == []


DEVICES_OWN_VOICE = ["edge.from.pi-01.report", "edge.from.pi-01.reply.admin.x"]
#: What a program may say, but to other programs only: on the hub it would count as the device's word.
LOCAL = ["local.sensor.temperature", "local.metric.x", "_INBOX.srv.admin.x", "_INBOX.ops.admin.x"]


@pytest.mark.parametrize("subject", [*DEVICES_OWN_VOICE, "edge.api.x", "$JS.API.INFO", "x"])
async def test_local_programs_cannot_speak_as_the_device(program: Program, subject: str) -> None:
    await program.publish(subject, b"{}")
    await until(lambda: bool(program.complaints), "the leaf complains")
    assert f'permissions violation for publish to "{subject}"'.lower() in program.complaints[0].lower()


@pytest.mark.parametrize("subject", ["edge.to.>", "edge.to.fleet.all.query", "edge.>", ">", "$SYS.>", "$SRV.>"])
async def test_local_programs_cannot_listen_to_what_the_hub_says(program: Program, subject: str) -> None:
    await program.subscribe(subject)
    await until(lambda: bool(program.complaints), "the leaf complains")
    assert f'permissions violation for subscription to "{subject}"'.lower() in program.complaints[0].lower()


async def test_nothing_local_reaches_the_hub(rare: LiveFleet, program: Program, witness: Client) -> None:
    seen: list[str] = []

    async def see(message: Msg) -> None:
        seen.append(message.subject)

    await witness.subscribe(">", cb=see)
    await witness.subscribe("local.>", cb=see)
    await settle(witness, what="listen")
    async with Fleet() as operator:
        await operator.query(devices=["pi-01"], timeout=PATIENCE_SECONDS)
        await until(lambda: bool(_replies(seen)), "the witness sees what a device says")
        for subject in LOCAL:
            await program.publish(subject, b"21.5")
        await settle(program, what="reach the leaf")
        # The leaf has it now; whatever it sends to the hub after that comes after that.
        before = len(_replies(seen))
        await operator.query(devices=["pi-01"], timeout=PATIENCE_SECONDS)
        await until(lambda: len(_replies(seen)) > before, "the witness sees the next answer")
    assert [subject for subject in seen if subject in LOCAL or subject.startswith("local.")] == []
    assert program.complaints == []


def _replies(seen: list[str]) -> list[str]:
    return [subject for subject in seen if subject.startswith("edge.from.pi-01.reply.")]


async def test_nothing_local_comes_from_the_hub(rare: LiveFleet, program: Program, witness: Client) -> None:
    secrets = json.loads((rare.layout.device("pi-01") / "secrets.json").read_text())
    agent = await connect(
        rare.leaf_url("pi-01"),
        what="listen",
        name="x",
        inbox_prefix="_INBOX.x",
        password=("agent", secrets["agent"]),
        reconnect=False,
    )
    try:
        local = await program.subscribe("local.>")
        crossing = await agent.subscribe("edge.to.device.pi-01.test")
        await settle(program, what="reach the leaf")

        async def crosses() -> bool:
            await witness.publish("local.alarm", b"forged")
            await witness.publish("edge.to.device.pi-01.test")
            return crossing.pending_msgs > 0

        await until(crosses, "the way from the hub to the leaf is open")
        await settle(program, what="reach the leaf")
        assert local.pending_msgs == 0
    finally:
        await agent.close()
