"""The leaf, with real nats-servers, a plain hub and a cable that can be pulled."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from edgeagent.demo.cable import Cable
from edgeagent.errors import Refused, Unreachable
from edgeagent.leaf.conf import ACCOUNT
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import settle
from edgeagent.natsserver import binary, ports
from edgeagent.natsserver.supervisor import State, Timing
from edgeagent.trust.nkeys import KeyPair
from tests.support.servers import PlainHub, is_alive, kill, kill_leftovers, until

QUICK = Timing(first_seconds=0.05, cap_seconds=0.2, good_seconds=60, grace_seconds=10)


def options(folder: Path, **more: Any) -> LeafOptions:
    defaults: dict[str, Any] = {
        "port": ports.pick(),
        "reconnect_seconds": 0.2,
        "ping_seconds": 1,
        "timing": QUICK,
        "start_seconds": 30,
    }
    return LeafOptions(device_id="pi-1", server_name="pi-1-a1b2c3d4", folder=folder / "a leaf", **{**defaults, **more})


@asynccontextmanager
async def started(chosen: LeafOptions) -> AsyncIterator[Leaf]:
    leaf = Leaf(chosen)
    try:
        await leaf.start()
        yield leaf
    finally:
        await leaf.stop()


@asynccontextmanager
async def client(url: str, **login: str) -> AsyncIterator[Client]:
    connected = await nats.connect(url, **login)
    try:
        yield connected
    finally:
        await connected.close()


def agent(leaf: Leaf) -> Any:
    return client(leaf.url, user=leaf.agent_login[0], password=leaf.agent_login[1])


@pytest.fixture(autouse=True)
def leave_nothing(tmp_path: Path) -> Iterator[None]:
    yield
    kill_leftovers(tmp_path)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[PlainHub]:
    async with PlainHub(tmp_path / "hub") as hub:
        yield hub


async def answers(asker: Client, subject: str) -> bool:
    try:
        return bool((await asker.request(subject, b"?", timeout=0.5)).data == b"!")
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return False


async def answer(responder: Client, subject: str) -> None:
    async def respond(message: Any) -> None:
        await message.respond(b"!")

    await responder.subscribe(subject, cb=respond)
    await settle(responder, what="answer")


async def test_files_are_private_and_kept(tmp_path: Path) -> None:
    chosen = options(tmp_path)
    async with started(chosen) as leaf:
        before = (leaf.options.server_name, leaf.agent_login, leaf.sys_login)
        assert leaf.options.server_name.startswith("pi-1-") and leaf.version == binary.find().version
        assert stat.S_IMODE(chosen.folder.stat().st_mode) == 0o700
        for name in ("leaf.conf", "secrets.json"):
            assert stat.S_IMODE((chosen.folder / name).stat().st_mode) == 0o600
        assert f"GOMEMLIMIT={24 << 20}B".encode() in Path(f"/proc/{leaf.pid}/environ").read_bytes().split(b"\0")
    async with started(chosen) as leaf:
        assert (leaf.options.server_name, leaf.agent_login, leaf.sys_login) == before


async def test_what_each_local_user_may(tmp_path: Path) -> None:
    denied: list[str] = []

    async def note(error: Exception) -> None:
        denied.append(str(error).lower())

    async with (
        started(options(tmp_path)) as leaf,
        agent(leaf) as ours,
        client(leaf.url) as other,
        client(leaf.url, error_cb=note) as app,  # type: ignore[arg-type]  # no login, but a callback
    ):
        await answer(other, "local.ask")
        assert await answers(app, "local.ask")
        for subject in ("edge.from.pi-1.report", "mcu.m1.led", "$JS.API.INFO"):
            await app.publish(subject, b"")
        for subject in ("edge.>", ">"):
            await app.subscribe(subject)
        await until(lambda: len(denied) == 5, f"each is denied: {denied}")
        assert all("permissions violation" in error for error in denied)
        info = await ours.jetstream().account_info()
        assert info.domain == "pi-1" and info.limits.max_storage == -1
        await ours.jetstream().add_stream(name="OUTBOX", subjects=["local.metric.>"], max_bytes=1 << 20)
        async with client(leaf.url, user=leaf.sys_login[0], password=leaf.sys_login[1]) as system:
            assert (await system.request("$SYS.REQ.SERVER.PING", b"", timeout=5)).data


async def test_cut_restore_silent_and_the_local_side_never_notices(tmp_path: Path, hub: PlainHub) -> None:
    cable = Cable(("127.0.0.1", hub.leaf_port))
    await cable.start()
    chosen = options(tmp_path, hub_urls=(f"nats-leaf://127.0.0.1:{cable.port}",))
    async with (
        started(chosen) as leaf,
        agent(leaf) as ours,
        client(leaf.url) as app,
        client(leaf.url) as other,
        client(hub.url) as far,
    ):
        await answer(ours, "edge.to.device.pi-1.query")
        await answer(other, "local.ask")

        async def linked() -> bool:
            return await answers(far, "edge.to.device.pi-1.query")

        await until(linked, "the hub reaches the device")
        assert cable.bytes_out > 0 and cable.bytes_back > 0
        async with link_events(leaf) as events:
            for silent in (False, True):
                events.clear()
                await cable.cut(silent=silent)
                await until(lambda: "DISCONNECT" in events, "the leaf notices")
                assert not await linked()
                assert await answers(app, "local.ask")
                await cable.restore()
                await until(linked, "the link is back")
                assert await answers(app, "local.ask")
    await cable.close()


@asynccontextmanager
async def link_events(leaf: Leaf) -> AsyncIterator[list[str]]:
    """A list that grows with what the leaf's system account says of its link."""
    events: list[str] = []

    async def heard(message: Any) -> None:
        if b'"Leafnode"' in message.data:
            events.append(message.subject.rpartition(".")[2])

    async with client(leaf.url, user=leaf.sys_login[0], password=leaf.sys_login[1]) as system:
        await system.subscribe(f"$SYS.ACCOUNT.{ACCOUNT}.*", cb=heard)
        await settle(system, what="listen")
        yield events


async def test_local_subjects_never_cross_whatever_the_hub_allows(tmp_path: Path, hub: PlainHub) -> None:
    async with (
        started(options(tmp_path, hub_urls=(hub.leaf_url,))) as leaf,
        agent(leaf) as ours,
        client(hub.url) as far,
    ):
        up, down = await far.subscribe(">"), await ours.subscribe(">")
        await answer(ours, "edge.ready")

        async def linked() -> bool:
            return await answers(far, "edge.ready")

        await until(linked, "the link is up")
        for subject in ("local.secret", "mcu.m1.led", "edge.last"):
            await ours.publish(subject, b"from the device")
            await far.publish(subject, b"from the hub")
        await asyncio.gather(ours.flush(), far.flush())
        assert await foreign(up, b"from the device") == ["edge.last"]
        assert await foreign(down, b"from the hub") == ["edge.last"]


async def foreign(subscription: Any, data: bytes) -> list[str]:
    """The subjects on which ``data`` arrived, up to ``edge.last``, which was sent last on the same link."""
    subjects: list[str] = []
    while "edge.last" not in subjects:
        message = await subscription.next_msg(timeout=10)
        if message.data == data:
            subjects.append(message.subject)
    return subjects


async def test_it_starts_without_credentials_and_links_once_they_appear(tmp_path: Path, hub: PlainHub) -> None:
    credentials = tmp_path / "device.creds"
    chosen = options(tmp_path, hub_urls=(hub.leaf_url,), credentials=credentials)
    async with started(chosen) as leaf, client(hub.url) as far, agent(leaf) as ours:
        await answer(ours, "edge.ready")
        await until(lambda: "device.creds" in chosen.log_file.read_text(), "it misses the file")
        assert not await answers(far, "edge.ready")
        credentials.write_text(some_credentials())

        async def linked() -> bool:
            return await answers(far, "edge.ready")

        await until(linked, "it links by itself")


def some_credentials() -> str:
    """A file of the right form; a hub without logins asks no more."""
    seed = KeyPair.generate("user").seed
    return (
        "-----BEGIN NATS USER JWT-----\neyJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.AA\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


async def test_apply_links_to_another_hub_without_disturbing_anybody(tmp_path: Path, hub: PlainHub) -> None:
    async with (
        started(options(tmp_path)) as leaf,
        agent(leaf) as ours,
        client(hub.url) as first,
        PlainHub(tmp_path / "hub2") as other,
        client(other.url) as second,
    ):
        await answer(ours, "edge.ready")
        pid = leaf.pid
        for url, asker in ((hub.leaf_url, first), (other.leaf_url, second)):
            await leaf.apply(hub_urls=(url,))
            await until(lambda: answers(asker, "edge.ready"), "it links")  # noqa: B023  # awaited in this turn
        assert not await answers(first, "edge.ready")
        assert leaf.pid == pid and ours.stats["reconnects"] == 0


async def test_apply_restarts_where_a_reload_is_refused(tmp_path: Path) -> None:
    async with started(options(tmp_path)) as leaf:
        pid = leaf.pid
        leaf.options = replace(leaf.options, reconnect_seconds=0.3)
        await leaf.apply(hub_urls=("nats-leaf://127.0.0.1:1",))
        assert leaf.pid != pid and leaf.state is State.RUNNING
        assert (await ports.banner(leaf.port) or {})["server_name"] == leaf.options.server_name


async def test_a_taken_port_is_avoided_and_the_choice_kept(tmp_path: Path) -> None:
    other = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    taken = other.sockets[0].getsockname()[1]
    chosen = options(tmp_path, port=taken)
    async with started(chosen) as leaf:
        found = leaf.port
        assert found != taken == leaf.wished_port
        assert (await ports.banner(found) or {})["server_name"] == leaf.options.server_name
    other.close()
    await other.wait_closed()
    async with started(chosen) as leaf:
        assert leaf.port == found
    wish = ports.pick()
    async with started(replace(chosen, port=wish)) as leaf:
        assert leaf.port == leaf.wished_port == wish


async def test_killed_it_comes_back_where_it_was(tmp_path: Path) -> None:
    async with started(options(tmp_path)) as leaf, agent(leaf) as ours:
        await ours.jetstream().add_stream(name="KEPT", subjects=["local.kept"], max_bytes=1 << 20)
        await ours.jetstream().publish("local.kept", b"precious")
        port, pid = leaf.port, leaf.pid
        assert pid is not None
        kill(pid)
        await until(lambda: leaf.restarts == 1, "the end is seen")
        await leaf.ready()
        assert leaf.port == port and leaf.pid != pid
        async with agent(leaf) as again:
            assert (await again.jetstream().get_last_msg("KEPT", "local.kept")).data == b"precious"


PARENT = """
import asyncio, sys
from pathlib import Path
from edgeagent.leaf.leaf import Leaf, LeafOptions

async def main():
    leaf = Leaf(LeafOptions(device_id="pi-1", server_name="pi-1-a1b2c3d4", folder=Path(sys.argv[1]), port=int(sys.argv[2]), start_seconds=30))
    await leaf.start()
    print(leaf.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_kill_9_of_the_agent_leaves_the_leaf_to_the_next_one(tmp_path: Path) -> None:
    chosen = LeafOptions(
        device_id="pi-1", server_name="pi-1-a1b2c3d4", folder=tmp_path / "leaf", port=ports.pick(), start_seconds=30, timing=QUICK
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(chosen.folder), str(chosen.port), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    assert is_alive(pid)
    async with started(chosen) as leaf, agent(leaf) as ours:
        assert (leaf.pid, leaf.port) == (pid, chosen.port)
        await ours.flush()
        await leaf.release()
        assert is_alive(pid)
        await ours.flush()
    async with started(replace(chosen, ping_seconds=7)) as leaf:
        assert leaf.pid != pid and not is_alive(pid), "changed settings need a new one, never a second one on the same store"


async def test_external_waits_and_names_the_unit(tmp_path: Path, hub: PlainHub) -> None:
    chosen = options(tmp_path, mode="external")
    leaf = Leaf(chosen)
    with pytest.raises(
        Unreachable, match=r"nothing answers at nats://.*\. Start its unit: `sudo systemctl start edgeagent-leaf`"
    ):
        await leaf.start(timeout=0.5)
    with pytest.raises(Refused, match=r"it does not run.*reload-or-restart edgeagent-leaf"):
        await leaf.apply(hub_urls=("nats-leaf://127.0.0.1:1",))
    unit = subprocess_of(chosen)
    await leaf.ready()
    assert (leaf.state, leaf.pid) == (State.RUNNING, None)
    async with agent(leaf) as ours, client(hub.url) as far:
        await answer(ours, "edge.ready")
        await leaf.apply(hub_urls=(hub.leaf_url,))
        await until(lambda: answers(far, "edge.ready"), "it was reloaded")
    with pytest.raises(Refused, match="sudo systemctl restart edgeagent-leaf"):
        await leaf.restart()
    await leaf.stop()
    assert is_alive(unit.pid)
    unit.kill()
    unit.wait()


async def test_an_external_leaf_that_has_only_begun_is_not_ended_by_being_told(tmp_path: Path, hub: PlainHub) -> None:
    chosen = options(tmp_path, mode="external")
    leaf = Leaf(chosen)
    with pytest.raises(Unreachable):
        await leaf.start(timeout=0.1)
    unit = subprocess_of(chosen)
    unit.send_signal(signal.SIGSTOP)  # before it can listen to any signal
    try:
        told = asyncio.create_task(leaf.apply(hub_urls=(hub.leaf_url,)))
        await asyncio.wait({told}, timeout=0.5)
        unit.send_signal(signal.SIGCONT)
        await told
        await leaf.ready()
        async with agent(leaf) as ours, client(hub.url) as far:
            await answer(ours, "edge.ready")
            await until(lambda: answers(far, "edge.ready"), "it links to its new hub")
    finally:
        unit.kill()
        unit.wait()


def subprocess_of(chosen: LeafOptions) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([binary.find().path, "-c", chosen.config_file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def test_external_with_a_stranger_at_the_port(tmp_path: Path, hub: PlainHub) -> None:
    leaf = Leaf(options(tmp_path, mode="external", port=hub.port))
    with pytest.raises(Unreachable, match=r"another nats-server \(hub\) answers"):
        await leaf.start(timeout=0.5)


async def test_nothing_of_it_runs_after_stop(tmp_path: Path) -> None:
    chosen = options(tmp_path)
    async with started(chosen) as leaf:
        pid = leaf.pid
        assert pid is not None
        assert os.path.realpath(f"/proc/{pid}/exe") == str(binary.find().path.resolve())
    assert not is_alive(pid)
