"""The accounts at the server are made true: revocations, changed rights, foreign JWTs; and every leaf hears and speaks afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from edgeagent import subjects
from edgeagent.errors import Failed, Refused
from edgeagent.hub import accounts_keeper, interest, leafs, roles
from edgeagent.hub.accounts import ACCOUNTS
from edgeagent.hub.accounts_keeper import AccountsKeeper, differs, differs_beside_revocations
from edgeagent.hub.revocations import LIMIT, Revocation, Revocations, in_force
from edgeagent.link import connect, request
from edgeagent.natsserver import binary, ports
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.provisioninghub import ProvisioningHub
from tests.support.rogue import Rogue
from tests.support.servers import until

REAL, RAW = 10, 40


class Server(ProvisioningHub):
    """A nats-server with an owner's accounts, as the hub starts it, and connections to them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Server:
        self.start()
        self._stack.callback(self.kill)
        await self.ready()
        self.hub = await self.connect(self.owner.service_credentials("hub"))
        self.system = await self.connect(self.owner.service_credentials("sys"))
        self.fleet = await self.connect(self.owner.service_credentials("fleet"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def run(self, conf: Path, folder: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([binary.find().path, "-c", str(conf)])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    async def connect(self, login: Credentials, inbox: str = "") -> Client:
        client = await connect(
            f"nats://127.0.0.1:{self.port}",
            what="reach the hub",
            name="test",
            inbox_prefix=inbox or f"_INBOX.{login.name}",
            jwt=creds.callbacks(login),
        )
        self._stack.push_async_callback(client.close)
        return client

    async def device(self, device_id: str) -> None:
        """A real leaf, with a program on it that answers queries as an agent does."""
        folder = self.folder / device_id
        folder.mkdir()
        (folder / "device.creds").write_text(self.owner.device_credentials(device_id).format())
        conf, port = folder / "leaf.conf", ports.pick()
        conf.write_text(f"""
            server_name: {device_id}-x
            listen: 127.0.0.1:{port}
            ports_file_dir: "{folder}"
            logfile: "{folder}/leaf.log"
            leafnodes {{ reconnect: "200ms", remotes: [
              {{ url: "nats-leaf://127.0.0.1:{self.leaf_port}", credentials: "{folder}/device.creds" }}
            ] }}
        """)
        process = self.run(conf, folder)
        await until(lambda: ports.read(folder, process.pid) is not None, f"the leaf of {device_id} is ready")
        agent = await connect(
            f"nats://127.0.0.1:{port}", what="reach the leaf", name="agent", inbox_prefix=subjects.agent_inbox(device_id)
        )
        self._stack.push_async_callback(agent.close)

        async def answer(message: Any) -> None:
            await agent.publish(subjects.reply(device_id, "olga", message.data.decode()), b"here")

        await agent.subscribe(subjects.query(subjects.FLEET_ALL), cb=answer)

    async def raw_device(self, device_id: str) -> None:
        """The same without a server of its own: links, and answers; links again when it is cut off."""
        login = self.owner.device_credentials(device_id)

        async def lived() -> bool:
            """Whether it was let in; it is over then."""
            with contextlib.suppress(OSError, ValueError, AssertionError):
                async with await Rogue.connect(self.leaf_port, login) as rogue:
                    rogue.subscribe(subjects.query(subjects.FLEET_ALL))
                    if await rogue.settle():
                        await _answer_all(rogue)
                        return True
            return False

        async def live() -> None:
            while True:
                await until(lived, f"{device_id} is let in")

        task = asyncio.create_task(live(), name=device_id)
        self._stack.push_async_callback(_ended, task)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[AccountsKeeper]:
        """A keeper that runs."""
        keeper = AccountsKeeper(self.system, self.hub, self.owner, micro=True)
        running = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            await _ended(running)

    async def at_server(self, account: Any) -> dict[str, Any]:
        subject = f"$SYS.REQ.ACCOUNT.{self.owner.account_public(account)}.CLAIMS.LOOKUP"
        return jwt.claims((await request(self.system, subject, what="look")).data.decode())

    async def push(self, token: str) -> None:
        await request(self.system, "$SYS.REQ.CLAIMS.UPDATE", token.encode(), what="push")


async def _answer_all(rogue: Rogue) -> None:
    answered = 0
    while not rogue.closed.is_set():
        for message in rogue.messages[answered:]:
            rogue.publish(subjects.reply(rogue.device_id, "olga", message.data.decode()), b"here")
        answered = len(rogue.messages)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rogue.closed.wait(), 0.02)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Fleet:
    """Asks every device. ``olga`` may."""

    def __init__(self, client: Client) -> None:
        self._client, self._number = client, 0
        self._answered: set[str] = set()
        self._news = asyncio.Event()

    @classmethod
    async def of(cls, server: Server) -> Fleet:
        fleet = cls(await server.connect(server.owner.operator_credentials("olga", "viewer"), subjects.operator_inbox("olga")))
        await fleet._client.subscribe(subjects.replies_to("olga"), cb=fleet._heard)
        return fleet

    async def _heard(self, message: Any) -> None:
        device, token = subjects.parse_reply(message.subject) or ("", "")
        if token == str(self._number):
            self._answered.add(device)
            self._news.set()

    async def _whole(self, wanted: set[str]) -> None:
        while self._answered != wanted:
            self._news.clear()
            await self._news.wait()

    async def until_answered(self, wanted: set[str], seconds: float = 60.0) -> None:
        """Ask until exactly these have answered one question."""
        patience = 0.1  # a question that came in the midst of it is lost for some; more on a machine that is slow to answer

        async def all_of_them() -> bool:
            nonlocal patience
            patience = min(2 * patience, 5.0)
            self._number += 1
            self._answered.clear()
            await self._client.publish(subjects.query(subjects.FLEET_ALL), str(self._number).encode(), reply="_INBOX.ops.olga.x")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._whole(wanted), patience)
            return self._answered == wanted

        await until(all_of_them, f"these answer: {sorted(wanted)}; now {sorted(self._answered)}", seconds)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path) as server:
        yield server


async def test_every_device_hears_and_speaks_after_any_change(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_keeper, "BATCH", 8)
    await interest.hold(server.fleet)
    names = {f"pi-{number:02}" for number in range(REAL)} | {f"raw-{number:02}" for number in range(RAW)}
    await asyncio.gather(*(server.device(name) if name.startswith("pi") else server.raw_device(name) for name in names))
    fleet = await Fleet.of(server)
    await fleet.until_answered(names)
    revocations = Revocations(server.hub)
    stranger = KeyPair.generate("user").public
    async with server.kept() as keeper:
        # Revocations alone cut nobody off, and make nobody deaf or mute: the links are the same afterwards.
        before = {leaf.connection for leaf in await leafs.listed(server.system, server.owner.account_public("FLEET"))}
        for number, account in enumerate(("FLEET", "OPS", "HUB", "FLEET"), start=1):
            await revocations.add(account, stranger, Revocation(until=number))  # type: ignore[arg-type]  # names of accounts
            await keeper.apply()
            assert (await server.at_server(account))["nats"]["revocations"] == {stranger: number}
            await fleet.until_answered(names)
        after = {leaf.connection for leaf in await leafs.listed(server.system, server.owner.account_public("FLEET"))}
        assert before == after

        # Other rights of people make every leaf deaf (nats-server 2.15.1): they are made to link anew.
        viewer = roles.viewer
        monkeypatch.setattr(roles, "viewer", lambda **options: {**viewer(**options), "subs": 99})
        await keeper.apply()
        await fleet.until_answered(names)
        relinked = {leaf.connection for leaf in await leafs.listed(server.system, server.owner.account_public("FLEET"))}
        assert not relinked & before

        # And what keeps them speaking has outlived that.
        await revocations.add("FLEET", stranger, Revocation(until=9))
        await keeper.apply()
        await fleet.until_answered(names)


async def test_without_interest_of_ours_leafs_fall_silent(server: Server) -> None:
    """Why there is edgeagent.hub.interest. When nats-server is mended this fails, and that module can go."""
    names = {f"pi-{number}" for number in range(3)}
    await asyncio.gather(*(server.device(name) for name in names))
    fleet = await Fleet.of(server)
    await fleet.until_answered(names)
    keeper = AccountsKeeper(server.system, server.hub, server.owner, micro=True)
    for number in range(1, 4):
        await Revocations(server.hub).add("FLEET", KeyPair.generate("user").public, Revocation(until=number))
        await keeper.apply()
    with pytest.raises(AssertionError, match="these answer"):
        await fleet.until_answered(names, 3.0)


async def test_who_wants_what_devices_say_is_given_none_of_it(server: Server) -> None:
    await interest.hold(server.fleet)
    await server.device("pi-1")
    fleet = await Fleet.of(server)
    await fleet.until_answered({"pi-1"})
    assert server.fleet.stats["in_msgs"] == 0
    await server.fleet.publish("edge.to.device.pi-1.query", b"x")
    await until(lambda: "permissions violation" in str(server.fleet.last_error).lower(), "it may say nothing")


async def test_a_decision_is_pushed_before_apply_returns_and_pruned_when_it_is_over(server: Server) -> None:
    keeper, revocations = AccountsKeeper(server.system, server.hub, server.owner, micro=True), Revocations(server.hub)
    public, over = KeyPair.generate("user").public, KeyPair.generate("user").public
    await revocations.add("FLEET", public, Revocation(until=7, name="pi-1"))
    await revocations.add("FLEET", over, Revocation(until=7, forget_at=int(time.time()) - 1))
    await asyncio.gather(*(keeper.apply() for _ in range(20)))
    claims = await server.at_server("FLEET")
    assert claims["nats"]["revocations"] == {public: 7}
    await keeper.apply()
    assert (await server.at_server("FLEET"))["jti"] == claims["jti"], "what is true already is not pushed again"
    assert set(await revocations.all()) == {f"FLEET.{public}"}


async def test_a_decision_during_a_push_is_not_missed(server: Server) -> None:
    """Two hubs at once: whoever pushes last has looked at what the other decided."""
    one, two = (AccountsKeeper(server.system, server.hub, server.owner, micro=True) for _ in range(2))
    revocations, keys = Revocations(server.hub), [KeyPair.generate("user").public for _ in range(6)]

    async def decide(number: int) -> None:
        await revocations.add("FLEET", keys[number], Revocation(until=number + 1))
        await (one if number % 2 else two).apply()

    await asyncio.gather(*(decide(number) for number in range(len(keys))))
    assert (await server.at_server("FLEET"))["nats"]["revocations"] == {key: n + 1 for n, key in enumerate(keys)}


async def test_two_of_different_options_do_not_push_against_each_other(server: Server) -> None:
    """The one beside nats-server says what roles may do; the other one keeps people out all the same, and changes nothing else."""
    main = AccountsKeeper(server.system, server.hub, server.owner, micro=True)
    other = AccountsKeeper(server.system, server.hub, server.owner, micro=False, templates=False)
    revocations, keys = Revocations(server.hub), [KeyPair.generate("user").public for _ in range(2)]
    await main.apply()
    before = {account: await server.at_server(account) for account in ACCOUNTS}
    await other.apply()
    assert {account: (await server.at_server(account))["jti"] for account in ACCOUNTS} == {
        account: claims["jti"] for account, claims in before.items()
    }
    await revocations.add("FLEET", keys[0], Revocation(until=7))
    await other.apply()
    pushed = await server.at_server("FLEET")
    assert pushed["nats"] == {**before["FLEET"]["nats"], "revocations": {keys[0]: 7}} and pushed["iat"] > before["FLEET"]["iat"]
    await main.apply()
    assert (await server.at_server("FLEET"))["jti"] == pushed["jti"], "and the first one has nothing to put right"
    await revocations.add("OPS", keys[1], Revocation(until=8))
    await asyncio.gather(main.apply(), other.apply())
    assert (await server.at_server("OPS"))["nats"] == {**before["OPS"]["nats"], "revocations": {keys[1]: 8}}


async def test_a_foreign_account_is_replaced_and_none_is_pushed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = KeyPair.generate("operator")
    public = server.owner.account_public("FLEET")
    forged = jwt.account(stranger, subject=public, name="FLEET", issued_at=int(time.time()))
    await server.push(forged)  # nats-server takes it
    assert (await server.at_server("FLEET"))["iss"] == stranger.public
    keeper = AccountsKeeper(server.system, server.hub, server.owner, micro=True)
    await keeper.apply()
    assert (await server.at_server("FLEET"))["iss"] in server.owner.issuers()
    async with await Rogue.connect(server.leaf_port, server.owner.device_credentials("pi-1")) as rogue:
        assert await rogue.settle()

    ours = server.owner.account_jwts()
    monkeypatch.setattr(server.owner, "account_jwts", lambda **_: {**ours, "FLEET": (public, forged)})
    with pytest.raises(Refused, match="who may not"):
        await keeper.apply()
    monkeypatch.setattr(server.owner, "account_jwts", lambda **_: {**ours, "FLEET": ours["OPS"]})
    with pytest.raises(Refused, match="another account"):
        await keeper.apply()
    assert (await server.at_server("FLEET"))["sub"] == public


async def test_as_many_revocations_as_fit_are_pushed_and_the_server_takes_them(server: Server) -> None:
    """nats-server takes no JWT of more than 1 MiB, whatever its max_payload is; then nobody could be kept out any more."""
    login = server.owner.device_credentials("pi-1")
    stem = KeyPair.generate("user").public[:-5]
    floors = {f"FLEET.{stem}{number:05}": Revocation(until=1_795_237_373, floor=1_795_237_373) for number in range(LIMIT + 2_000)}
    records = {**floors, f"FLEET.{login.public_key}": Revocation(until=login.issued_at)}
    keeper = AccountsKeeper(server.system, server.hub, server.owner, micro=True)

    def signed(revocations: dict[str, dict[str, int]], later: int) -> str:
        return server.owner.account_jwts(revocations=revocations, issued_at=int(time.time()) + later)["FLEET"][1]

    everyone = {"FLEET": {key.partition(".")[2]: record.until for key, record in records.items()}}
    with pytest.raises(Failed, match=r"too large|maximum payload"):
        await keeper._push("FLEET", signed(everyone, 1))
    fitting = in_force(records)
    await keeper._push("FLEET", signed(fitting, 2))
    assert (await server.at_server("FLEET"))["nats"]["revocations"] == fitting["FLEET"]
    async with await Rogue.connect(server.leaf_port, login) as rogue:
        assert not await rogue.settle()
    for account in ("OPS", "PROVISION"):
        token = server.owner.account_jwts(revocations={account: fitting["FLEET"]}, issued_at=int(time.time()) + 3)[account][1]
        await keeper._push(account, token)


def test_what_counts_as_a_difference() -> None:
    def claims(**nats: Any) -> dict[str, Any]:
        return {"iat": time.time(), "nats": json.loads(json.dumps(nats))}

    assert not differs(claims(a=1), claims(a=1)) and differs(claims(a=1), claims(a=2)) and differs(None, claims(a=1))
    one, two = claims(a=1, revocations={"U": 1}), claims(a=1)
    assert differs(one, two) and not differs_beside_revocations(one, two)
    assert differs_beside_revocations(one, claims(a=2)) and differs_beside_revocations(None, two)
