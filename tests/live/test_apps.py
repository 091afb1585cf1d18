"""Local programs with a login, on a real leaf: what they can do, and what not even a hostile one can."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio

from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.natsserver import ports
from edgeagent.trust.nkeys import KeyPair
from tests.support.servers import PATIENCE_SECONDS, until

DOORS, WINDOWS = App(name="doors", password="secret-d"), App(name="windows", password="secret-w")
KEY = KeyPair.generate("user")


@pytest_asyncio.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    made = Leaf(LeafOptions(device_id="pi-01", server_name="pi-01-x", folder=tmp_path / "state", port=ports.pick()))
    await made.start()
    yield made
    await made.stop()


async def give(leaf: Leaf, *known: App) -> None:
    apps.save(leaf.options.apps_file, {app.name: app for app in known})
    await leaf.apply()


class Program:
    """A local program's connection, with all that the leaf complained of."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    async def __aenter__(self) -> Program:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def connect(self, leaf: Leaf, inbox: str = "_INBOX", **login: Any) -> Program:
        async def note(error: Exception) -> None:
            self.errors.append(str(error))

        self.client = await nats.connect(
            leaf.url, error_cb=note, inbox_prefix=inbox.encode(), allow_reconnect=False, max_reconnect_attempts=1, **login
        )
        return self

    async def refused(self) -> bool:
        """Whether the leaf refused what was sent so far."""
        await self.client.flush()
        await self.client.flush()
        return any("permissions violation" in error.lower() for error in self.errors)


async def program(leaf: Leaf, app: App) -> Program:
    return await Program().connect(leaf, f"_INBOX.{app.name}", user=app.name, password=app.password)


async def local_agent(leaf: Leaf) -> Program:
    user, password = leaf.local_login
    return await Program().connect(leaf, apps.AGENT_INBOX, user=user, password=password)


async def test_a_program_speaks_for_itself_and_a_running_one_is_not_disturbed(leaf: Leaf) -> None:
    display = App(name="display", password="secret", subscribe=("local.metric.*",))
    await give(leaf, display)
    async with await program(leaf, display) as before, await Program().connect(leaf) as stranger:
        heard = await before.client.subscribe("local.metric.*")
        await give(leaf, DOORS, display)
        async with await program(leaf, DOORS) as doors:
            await doors.client.publish("local.metric.doors", b"1")
            assert not await doors.refused()
        assert (await heard.next_msg(timeout=PATIENCE_SECONDS)).subject == "local.metric.doors"
        assert before.client.is_connected and stranger.client.is_connected


@pytest.mark.parametrize(
    "subject",
    [
        "local.metric.windows",
        "local.data.other",
        "local.config.windows",
        "edge.from.pi-01.report",
        "$JS.API.INFO",
        "mcu.m1.led",
    ],
)
async def test_it_cannot_speak_for_another(leaf: Leaf, subject: str) -> None:
    await give(leaf, DOORS, WINDOWS)
    async with await program(leaf, DOORS) as doors:
        await doors.client.publish(subject, b"forged")
        assert await doors.refused()


@pytest.mark.parametrize(
    "subject", [">", "local.>", "local.metric.windows", "_INBOX.windows.>", "_INBOX.>", "local.action.windows.open", "$SYS.>"]
)
async def test_it_cannot_listen_to_another(leaf: Leaf, subject: str) -> None:
    await give(leaf, DOORS, WINDOWS)
    async with await program(leaf, DOORS) as doors:
        await doors.client.subscribe(subject)
        assert await doors.refused()


@pytest.mark.parametrize("subject", ["local.metric.agent", "local.metric.agent.hw.temperature", "local.metric.oven"])
async def test_nobody_speaks_for_the_agent_and_the_programs_that_it_runs(tmp_path: Path, subject: str) -> None:
    options = LeafOptions(
        device_id="pi-01", server_name="pi-01-x", folder=tmp_path / "state", port=ports.pick(), collectors=("oven",)
    )
    curious = App(name="curious", password="secret", publish=("local.metric.>",), subscribe=("local.metric.>",))
    leaf = Leaf(options)
    await leaf.start()
    try:
        await give(leaf, curious)
        async with await Program().connect(leaf) as stranger, await program(leaf, curious) as given:
            heard = await given.client.subscribe("local.metric.>")
            await given.client.publish("local.metric.anything", b"1")
            assert not await given.refused()
            for each in (stranger, given):
                await each.client.publish(subject, b"forged")
                assert await each.refused()
            assert (await heard.next_msg(timeout=PATIENCE_SECONDS)).data == b"1" and not heard.pending_msgs
    finally:
        await leaf.stop()


async def test_it_answers_what_it_is_asked_and_no_more(leaf: Leaf) -> None:
    await give(leaf, DOORS)
    async with await program(leaf, DOORS) as doors, await local_agent(leaf) as agent:

        async def open_it(message: Any) -> None:
            await message.respond(b"open")

        await doors.client.subscribe("local.action.doors.open", cb=open_it)
        assert not await doors.refused()
        assert (await agent.client.request("local.action.doors.open", timeout=PATIENCE_SECONDS)).data == b"open"
        await doors.client.publish("edge.to.device.pi-01.in.1", b"unasked")
        assert await doors.refused()


@pytest.mark.parametrize(
    "reply",
    [
        "edge.from.pi-01.report",
        "edge.from.pi-01.reply.olga.1",
        "edge.to.device.pi-01.in.1",
        "$JS.API.STREAM.DELETE.kept",
    ],
)
async def test_whoever_asks_it_does_not_speak_through_its_answer(leaf: Leaf, reply: str) -> None:
    """The asker names where the answer goes."""
    await give(leaf, DOORS)
    user, password = leaf.agent_login
    async with await program(leaf, DOORS) as doors, await Program().connect(leaf, user=user, password=password) as agent:
        await agent.client.jetstream().add_stream(name="kept", subjects=["local.metric.>"])
        heard = await agent.client.subscribe(reply)
        answered = asyncio.Event()

        async def answer(message: Any) -> None:
            await message.respond(b"")
            answered.set()

        await doors.client.subscribe("local.action.doors.open", cb=answer)
        assert not await doors.refused() and not await agent.refused()
        async with await Program().connect(leaf) as stranger:
            await stranger.client.publish("local.action.doors.open", b"", reply=reply)
            assert not await stranger.refused()
        await asyncio.wait_for(answered.wait(), PATIENCE_SECONDS)
        assert await doors.refused() and await agent.client.jetstream().stream_info("kept")
        await agent.client.publish(reply, b"the last word")
        assert (await heard.next_msg(timeout=PATIENCE_SECONDS)).data == b"the last word"


@pytest.mark.parametrize("subject", ["local.metric.doors", "local.data.doors.a", "local.config.doors"])
async def test_a_program_without_a_login_cannot_speak_for_one_that_has_one(leaf: Leaf, subject: str) -> None:
    async with await Program().connect(leaf) as stranger:
        await stranger.client.publish(subject, b"its own until then")
        assert not await stranger.refused()
        await give(leaf, DOORS)
        await stranger.client.publish("local.action.doors.open", b"asked")
        assert not await stranger.refused()
        await stranger.client.publish(subject, b"forged")
        assert await stranger.refused() and stranger.client.is_connected


async def test_a_program_without_a_login_overhears_none_that_has_one(leaf: Leaf) -> None:
    """Not even with what it subscribed to before that one came."""
    theirs = ["local.config.doors", "local.action.doors.open", "_INBOX.doors.1", f"{apps.AGENT_INBOX}.1"]
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    async with await Program().connect(leaf) as stranger, await local_agent(leaf) as agent:
        await stranger.client.subscribe("local.>", cb=note)
        await stranger.client.subscribe("_INBOX.>", cb=note)
        assert not await stranger.refused()
        await give(leaf, DOORS)
        await stranger.client.subscribe("local.>", "queue", cb=note)
        async with await program(leaf, DOORS) as doors:
            await doors.client.publish("local.metric.doors", b"x")
            assert not await doors.refused()
        for subject in (*theirs, "local.config.other"):
            await agent.client.publish(subject, b"x")
        assert not await agent.refused()
        await until(lambda: "local.config.other" in heard, "what is nobody's was heard")
        await stranger.client.flush()
        assert {*heard} == {"local.config.other"}
        await stranger.client.subscribe("local.config.doors")
        assert await stranger.refused()


async def test_a_literal_subscription_of_before_ends_with_the_login(leaf: Leaf) -> None:
    async with await Program().connect(leaf) as stranger:
        heard = await stranger.client.subscribe("local.metric.doors")
        assert not await stranger.refused()
        await give(leaf, DOORS)
        async with await program(leaf, DOORS) as doors:
            await doors.client.publish("local.metric.doors", b"1")
            assert not await doors.refused()
        await stranger.client.flush()
        assert heard.pending_msgs == 0 and await stranger.refused()


async def test_a_wrong_password_and_a_login_that_was_taken_away(leaf: Leaf) -> None:
    await give(leaf, DOORS)
    with pytest.raises(nats.errors.Error):
        await Program().connect(leaf, user="doors", password="guess")
    async with await program(leaf, DOORS) as doors:
        await give(leaf)
        await until(lambda: doors.client.is_closed, "its connection was ended")
    with pytest.raises(nats.errors.Error):
        await program(leaf, DOORS)


async def test_a_key_instead_of_a_password(leaf: Leaf) -> None:
    await give(leaf, App(name="doors", nkey=KEY.public))
    assert await _answer_to(leaf, KEY, "PUB local.data.doors 0\r\n\r\n") == "PONG"
    assert "Permissions Violation" in await _answer_to(leaf, KEY, "PUB local.data.windows 0\r\n\r\n")
    assert "Authorization Violation" in await _answer_to(leaf, KEY, "", signer=KeyPair.generate("user"))


async def _answer_to(leaf: Leaf, key: KeyPair, lines: str, *, signer: KeyPair | None = None) -> str:
    """The server's first word to a client that signs in with ``key`` and then sends ``lines`` (nats-py does so only with a package)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", leaf.port)
    try:
        nonce = json.loads((await reader.readline()).removeprefix(b"INFO "))["nonce"]
        signature = base64.urlsafe_b64encode((signer or key).sign(nonce.encode())).rstrip(b"=").decode()
        hello = json.dumps({"nkey": key.public, "sig": signature, "verbose": False, "protocol": 1})
        writer.write(f"CONNECT {hello}\r\n{lines}PING\r\n".encode())
        while (line := (await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)).decode().strip()).startswith("INFO"):
            pass
        return line
    finally:
        writer.close()
