"""Configuration of local programs on a real leaf: what they are answered and told, and what not even a hostile one gets out of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
import pytest_asyncio

from edgeagent import files
from edgeagent.assembly import appclient
from edgeagent.assembly.appclient import Way
from edgeagent.errors import EdgeError, Refused, Unreachable
from edgeagent.leaf import apps
from edgeagent.leaf.apps import AGENT_INBOX, App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import Client, connect, settle
from edgeagent.natsserver import ports
from edgeagent.patterns.appconfig import AppConfig
from edgeagent.trust.nkeys import KeyPair
from tests.support.servers import PATIENCE_SECONDS, until

DOORS = App(name="doors", password="secret-d")
KEY = KeyPair.generate("user")
LOCKS = App(name="locks", nkey=KEY.public)
#: Where an answer would be taken for the word of the device, of the agent, or of another program.
NO_INBOXES = (
    "local.config.windows",
    "local.metric.windows",
    "edge.from.pi-01.event.info",
    "edge.from.pi-01.reply.olga.1",
    "edge.to.device.pi-01.in.1",
    "$JS.API.STREAM.MSG.DELETE.kept",
    "_INBOX.ops.eve.1",
    "_INBOX.srv.eve.1",
    "_INBOX.agent.1",
)
#: What a program may send byte for byte.
RUBBISH = {
    "a subject that is no text": b"PUB local.config.\xff 0\r\n\r\n",
    "a reply that is no text": b"PUB local.config.a _INBOX.\xff\xfe 0\r\n\r\n",
    "headers that are none": b"HPUB local.config.a 5 5\r\nabcde\r\n",
    "a status that is no text": b"HPUB local.config.a 17 17\r\nNATS/1.0 \xff\xff\r\n\r\n\r\n\r\n",
    "a subject with a vertical tab": b"PUB local.config.a\x0bb 0\r\n\r\n",
    "a reply with a vertical tab": b"PUB local.config.a _INBOX.a\x0bb 0\r\n\r\n",
    "a reply that is no subject": b"PUB local.config.a _INBOX..b.*.> 0\r\n\r\n",
    "a payload that is no JSON": b"PUB local.config.a _INBOX.a 8\r\n{}\x00\xff\r\n\r\n\r\n",
}
TABLES = {"doors": {"open": "07:00"}, "windows": {"tilt": 3}}


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    made = Leaf(LeafOptions(device_id="pi-01", server_name="pi-01-x", folder=tmp_path / "state", port=ports.pick()))
    files.make_folder(made.options.folder, 0o700)
    apps.save(made.options.apps_file, {app.name: app for app in (DOORS, LOCKS)})
    await made.start()
    yield made
    await made.stop()


async def as_agent(leaf: Leaf) -> Client:
    return await connect(leaf.url, what="be the agent", name="agent", inbox_prefix=AGENT_INBOX, password=leaf.local_login)


@pytest_asyncio.fixture
async def agent(leaf: Leaf) -> AsyncIterator[Client]:
    client = await as_agent(leaf)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def config(agent: Client) -> AppConfig:
    made = AppConfig(agent)
    await made.set(TABLES)
    await made.start()
    await settle(agent, what="listen")
    return made


def login(leaf: Leaf) -> Way:
    return Way(url=leaf.url, inbox="_INBOX.doors", password=("doors", "secret-d"))


@pytest_asyncio.fixture
async def doors(leaf: Leaf) -> AsyncIterator[Client]:
    client = await connect(leaf.url, what="be doors", name="doors", inbox_prefix="_INBOX.doors", password=("doors", "secret-d"))
    yield client
    await client.close()


@pytest_asyncio.fixture
async def stranger(leaf: Leaf) -> AsyncIterator[Client]:
    """A program without a login."""
    client = await connect(leaf.url, what="be a stranger", name="stranger", inbox_prefix="_INBOX")
    yield client
    await client.close()


async def table(client: Client, name: str) -> Any:
    return json.loads((await client.request(f"local.config.{name}", timeout=PATIENCE_SECONDS)).data)


async def test_each_program_is_answered_with_its_own_table(
    leaf: Leaf, config: AppConfig, doors: Client, stranger: Client
) -> None:
    assert await table(doors, "doors") == {"open": "07:00"}
    assert await table(stranger, "windows") == {"tilt": 3}
    assert await table(stranger, "nobody") == {}
    await config.set({**TABLES, "doors": {"open": "09:00"}})
    assert await table(doors, "doors") == {"open": "09:00"}
    with pytest.raises(Refused, match="this login may not ask for it"):
        await appclient.ask(Way(url=leaf.url), "doors")


async def test_whose_table_changed_is_told_and_nobody_else(config: AppConfig, agent: Client) -> None:
    heard = await agent.subscribe("local.config.*")
    await config.set({"doors": {"open": "09:00", "lock": None}, "windows": {"tilt": 3}, "lamps": {"on": True}})
    await config.set({"lamps": {}, "doors": {"open": "09:00", "lock": None}})
    told = [await heard.next_msg(timeout=PATIENCE_SECONDS) for _ in range(4)]
    assert [(message.subject.rpartition(".")[2], json.loads(message.data), message.reply) for message in told] == [
        ("doors", {"open": "09:00", "lock": None}, ""),
        ("lamps", {"on": True}, ""),
        ("lamps", {}, ""),
        ("windows", {}, ""),
    ]
    await settle(agent, what="hear the rest")
    assert heard.pending_msgs == 0


async def test_a_new_agent_tells_what_the_one_before_may_not_have_told(agent: Client) -> None:
    heard = await agent.subscribe("local.config.*")
    await settle(agent, what="listen")
    await AppConfig(agent).set({**TABLES, "lamps": {}})
    told = [(await heard.next_msg(timeout=PATIENCE_SECONDS)).subject for _ in range(2)]
    assert told == ["local.config.doors", "local.config.windows"]


async def test_a_table_that_no_message_can_carry_costs_the_others_nothing(
    config: AppConfig, agent: Client, doors: Client, stranger: Client
) -> None:
    heard = await agent.subscribe("local.config.windows")
    await config.set({"doors": {"all": "x" * (1 << 20)}, "windows": {"tilt": 4}})
    assert (await heard.next_msg(timeout=PATIENCE_SECONDS)).data == b'{"tilt":4}'
    await doors.publish("local.config.doors", reply="_INBOX.doors.1")
    await settle(doors, what="ask")
    assert await table(stranger, "windows") == {"tilt": 4}


async def test_a_program_does_not_speak_through_the_agents_answer(
    leaf: Leaf, config: AppConfig, agent: Client, doors: Client, stranger: Client
) -> None:
    """The asker names where the answer goes."""
    edge = await connect(leaf.url, what="be the agent", name="agent", inbox_prefix="_INBOX.x", password=leaf.agent_login)
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    try:
        for client, subject in ((edge, ">"), (stranger, "local.>"), (agent, f"{AGENT_INBOX}.>")):
            await client.subscribe(subject, cb=note)
            await settle(client, what="listen")
        for reply in NO_INBOXES:
            await doors.publish("local.config.doors", b"", reply=reply)
            assert await table(doors, "doors") == {"open": "07:00"}, "the agent has gone past the attack"
        for client, subject in ((edge, "edge.last"), (agent, "local.config.last"), (stranger, f"{AGENT_INBOX}.last")):
            await client.publish(subject)
            await settle(client, what="have the last word")
        await until(lambda: len(heard) >= 3, "the last words are heard")
        assert sorted(heard) == [f"{AGENT_INBOX}.last", "edge.last", "local.config.last"]
    finally:
        await edge.close()


async def test_a_program_without_a_login_neither_asks_nor_overhears_nor_answers(
    leaf: Leaf, config: AppConfig, doors: Client, stranger: Client
) -> None:
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    await stranger.subscribe("local.>", cb=note)
    await stranger.subscribe("_INBOX.>", cb=note)
    await settle(stranger, what="listen")
    assert await table(doors, "doors") == {"open": "07:00"}
    await config.set({"doors": {"open": "09:00"}, "windows": {"tilt": 4}})
    await until(lambda: "local.config.windows" in heard, "what is nobody's was heard")
    assert {*heard} == {"local.config.windows"}
    for line in ("local.config.doors", "local.config.doors _INBOX.x"):
        assert "Permissions Violation" in await said_to(leaf, f"PUB {line} 0\r\n\r\n".encode())


async def said_to(leaf: Leaf, lines: bytes) -> str:
    """The leaf's first word to a program without a login that sends ``lines``, byte for byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", leaf.port)
    try:
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + lines + b"PING\r\n")
        while (line := (await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)).decode().strip()).startswith("INFO"):
            pass
        return line
    finally:
        writer.close()


async def test_rubbish_does_not_deafen_the_agent(leaf: Leaf, config: AppConfig, agent: Client, doors: Client) -> None:
    lost = []

    async def note() -> None:
        lost.append("the connection")

    agent._disconnected_cb = note  # set at the connect otherwise
    for what, lines in RUBBISH.items():
        assert await said_to(leaf, lines) == "PONG", what
        assert await table(doors, "doors") == {"open": "07:00"}, what
        assert not lost, what


async def test_a_program_does_not_choose_which_subscription_of_the_agent_hears_it(
    leaf: Leaf, config: AppConfig, agent: Client, doors: Client, stranger: Client
) -> None:
    """nats-py 2.16 takes what is behind a form feed in a subject for the number of the subscription."""
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    secret = await agent.subscribe(f"{AGENT_INBOX}.secret", cb=note)
    await settle(agent, what="listen")
    for separator in "\x0b\x0c":
        subject = f"local.config.a{separator}{secret._id}"
        for line in (f"PUB {subject} 0\r\n\r\n", f"HPUB {subject} 12 12\r\nNATS/1.0\r\n\r\n\r\n"):
            assert await said_to(leaf, line.encode()) == "PONG"
    assert await table(doors, "doors") == {"open": "07:00"}
    await stranger.publish(f"{AGENT_INBOX}.secret")
    await until(lambda: bool(heard), "what is meant for it is heard")
    assert heard == [f"{AGENT_INBOX}.secret"]


async def test_a_flood_of_questions_leaves_the_agent_answering(
    config: AppConfig, agent: Client, doors: Client, stranger: Client
) -> None:
    await config.set({"doors": {"open": "09:00"}, "windows": {"all": "x" * 60_000}})
    for _ in range(3000):
        await stranger.publish("local.config.windows", reply="_INBOX.flood.1")
    await settle(stranger, what="flood")

    async def answered() -> bool:
        # A question that comes when too many wait is dropped; a program asks again.
        with contextlib.suppress(nats.errors.TimeoutError):
            answer = await doors.request("local.config.doors", b"", timeout=1)
            return json.loads(answer.data) == {"open": "09:00"}
        return False

    await until(answered, "the other program's question is answered")
    assert agent.is_connected


async def test_the_command_asks_with_the_programs_login(leaf: Leaf, config: AppConfig) -> None:
    assert await appclient.ask(login(leaf), "doors") == '{"open":"07:00"}'
    with pytest.raises(Refused, match="does not accept these credentials"):
        await appclient.ask(Way(url=leaf.url, password=("doors", "guess")), "doors")
    with pytest.raises(Refused, match="the program's own login"):
        await appclient.ask(login(leaf), "windows")


async def test_who_lacks_the_login_is_told_where_it_is(leaf: Leaf, config: AppConfig, tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'[paths]\nstate = "{leaf.options.folder}"\nruntime = "run"\n')
    apps.save(leaf.options.apps_file, {"doors": msgspec.structs.replace(DOORS, file="/srv/my doors.env")})
    there = appclient.way({"NATS_URL": leaf.url}, file)
    with pytest.raises(Refused, match=r"Use the program's own login: `set -a; \. '/srv/my doors\.env'; set \+a`"):
        await appclient.ask(there, "doors")


async def test_the_command_logs_in_with_a_key(leaf: Leaf, config: AppConfig, tmp_path: Path) -> None:
    await config.set({"locks": {"bolts": 2}})
    (tmp_path / "locks.nk").write_text(KEY.seed)
    text = apps.environment(LOCKS, leaf.url, tmp_path / "locks.nk")
    there = appclient.way(dict(line.split("=", 1) for line in text.splitlines()))
    assert await appclient.ask(there, "locks") == '{"bolts":2}'


async def test_without_an_agent_the_command_says_so(leaf: Leaf) -> None:
    with pytest.raises(Unreachable, match=r"the agent did not answer.*edgeagent status"):
        await appclient.ask(login(leaf), "doors")


async def test_an_answer_that_makes_no_sense_is_an_error(leaf: Leaf, agent: Client) -> None:
    async def answer(message: Any) -> None:
        await message.respond(b"[1")

    await agent.subscribe("local.config.doors", cb=answer)
    await settle(agent, what="listen")
    with pytest.raises(EdgeError, match="cannot read"):
        await appclient.ask(login(leaf), "doors")


async def test_following_goes_on_through_the_end_of_the_leaf_and_of_the_agent(leaf: Leaf, agent: Client) -> None:
    said: list[str] = []
    warned: list[EdgeError] = []
    following = asyncio.create_task(appclient.follow(lambda: login(leaf), "doors", said.append, warned.append))
    try:
        await until(lambda: len(warned) == 1, "it says that no agent answers")
        config = AppConfig(agent)
        await config.set(TABLES)
        await config.start()
        await until(lambda: said == ['{"open":"07:00"}'], "the present value")
        await config.set({"doors": {"open": "08:00"}})
        await until(lambda: said[1:] == ['{"open":"08:00"}'], "a change")
        await leaf.restart()
        await until(lambda: agent.is_connected, "the agent is back")
        await config.set({"doors": {"open": "09:00"}})
        await until(lambda: said[2:] == ['{"open":"09:00"}'], "a change after the leaf's restart, and nothing twice")
        await agent.close()
        second = await as_agent(leaf)
        config = AppConfig(second)
        await config.set({"doors": {"open": "10:00"}})
        await config.start()
        await until(lambda: said[3:] == ['{"open":"10:00"}'], "what changed while there was no agent")
        await second.close()
    finally:
        following.cancel()
        await asyncio.wait({following})
    assert following.cancelled()
