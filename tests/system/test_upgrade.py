"""Upgrades of a real device: a Debian with systemd, a hub on this machine, and releases that are good, bad, and nobody's.

The tests go on from each other, for a machine takes long to install.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.js.errors import Error as JetStreamError

from edgeagent.assembly.hublogin import sign_in
from edgeagent.errors import EdgeError
from edgeagent.hub.keyring import Keyring
from edgeagent.link import Client, connect
from edgeagent.localsubjects import local_metric
from edgeagent.natsserver import ports
from tests.support.debian import Debian, python, wheels
from tests.support.fleet import Said, cli
from tests.support.forwarding import numbers
from tests.support.hub import Hub, new_hub, started
from tests.support.metricchaos import Line, problems
from tests.support.releases import released
from tests.support.servers import kill_leftovers, until

#: One that goes on for so long has proved itself, and one that takes longer to link has not; a test writes others.
TRIAL, LINK = 3, 60
SETTINGS = """[leaf]
mode = "external"
port = {port}
[agent]
heartbeat_seconds = 2
[forward]
seconds = 1
[commands]
allow = ["ping", "agent.upgrade"]
[upgrade]
trial_seconds = {trial}
link_seconds = {link}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    with new_hub(folder) as hub, started(hub.up()):
        asyncio.run(until(hub.answers, "the hub is up"))
        yield hub
    kill_leftovers(folder)


class Device:
    """pi-1, installed as its page says. folder: with the wheels of all that edgeagent needs, and of its releases."""

    def __init__(self, debian: Debian, hub: Hub, folder: Path) -> None:
        self.debian, self.folder, self.port = debian, folder, ports.pick()
        own = folder / "own"
        own.mkdir()
        for each in (each for shared in wheels(own).values() for each in shared.glob("*.whl")):
            (folder / each.name).symlink_to(each)
        (self.wheel,) = own.glob("edgeagent-*.whl")
        debian.install_wheel()
        (debian.root / "etc/edgeagent").mkdir()
        self.set()
        (debian.root / "root/token").write_text(cli("token", "create").out)
        debian.run(f"/opt/edgeagent/bin/edgeagent install --hub 127.0.0.1:{hub.leaf_port} --id pi-1 --token-file /root/token")

    def set(self, trial: int = TRIAL, link: int = LINK) -> None:
        text = SETTINGS.format(port=self.port, trial=trial, link=link)
        (self.debian.root / "etc/edgeagent/agent.toml").write_text(text)

    def release(self, version: str, **after: str) -> str:
        """Make it. after: what stands at the end of a module, whose name has two underscores for a slash."""
        ends = {f"edgeagent/{name.replace('__', '/')}.py": text for name, text in after.items()}
        released(self.wheel, version, self.folder, after=ends)
        return version

    def upgraded(self, version: str, *words: str) -> tuple[dict[str, Any], Said]:
        """Command it, and wait for the end: what the device said."""
        said = cli(
            *("fleet", "upgrade", version, "-d", "pi-1", "--wheels", str(self.folder), "--wait", "--json", *words), timeout=100
        )
        found: dict[str, Any] = json.loads(said.out)["devices"]["pi-1"]
        return found, said

    def shown(self, unit: str) -> dict[str, str]:
        text = self.debian.run(f"systemctl show --property=MainPID,ActiveState {unit}").stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def current(self) -> str:
        return str((self.debian.root / "opt/edgeagent/current").readlink())

    def facts(self) -> dict[str, Any]:
        """What it answers now."""
        said = cli("fleet", "query", "true", "--select", "versions.agent,upgrade", "-d", "pi-1", "--json", "--timeout", "20")
        found: dict[str, Any] = json.loads(said.out)["answered"][0]["facts"]
        return found


@pytest.fixture(scope="module")
def device(debian: Debian, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return Device(debian, hub, tmp_path_factory.mktemp("releases"))


class Program:
    """Numbers the samples that it has the leaf of ``device`` store, in a thread of its own, whatever becomes of leaf and agent."""

    def __init__(self, device: Device) -> None:
        self.line, self._url, self._over = Line(), f"nats://127.0.0.1:{device.port}", threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="program")
        self._thread.start()

    async def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(EdgeError, OSError, nats.errors.Error, asyncio.TimeoutError):
                client = await connect(self._url, what="measure", name="program", inbox_prefix="_INBOX.n", reconnect=False)
                try:
                    await self._store(client)
                finally:
                    await client.close()
            await asyncio.sleep(0.2)

    async def _store(self, client: Client) -> None:
        """What was not acknowledged the leaf may have or not, so the next has another number."""
        js = client.jetstream(timeout=2)
        while not (self._over.is_set() or client.is_closed):
            number, self.line.published = self.line.published, self.line.published + 1
            with contextlib.suppress(JetStreamError, nats.errors.TimeoutError, asyncio.TimeoutError):
                await js.publish(local_metric("n"), str(number).encode())
                self.line.acknowledged.add(number)
            await asyncio.sleep(0.05)

    def end(self) -> Line:
        self._over.set()
        self._thread.join()
        return self.line


@pytest.fixture(scope="module", autouse=True)
def program(device: Device) -> Iterator[Program]:
    """It runs through all of these tests; the last one counts."""
    program = Program(device)
    yield program
    program.end()


def test_a_release_that_proves_itself_stays_and_the_leaf_never_stops(device: Device, program: Program) -> None:
    stored = len(program.line.acknowledged)
    leaf, agent = device.shown("edgeagent-leaf"), device.shown("edgeagent")
    found, said = device.upgraded(device.release("0.2.0"))
    assert found["state"] == "succeeded", (found, device.debian.journal("edgeagent-upgrade"))
    assert device.current() == "releases/0.2.0" and device.facts() == {
        "versions": {"agent": "0.2.0"},
        "upgrade": {"before": "0.1.0"},
    }
    assert device.shown("edgeagent-leaf") == leaf and device.shown("edgeagent") != agent
    assert len(program.line.acknowledged) > stored
    (size,) = re.findall(r"answer now, each fetches ([\d.]+) MB", said.err)
    assert float(size) < 2, "its own wheel is all that differs"
    assert list((device.debian.root / "var/lib/edgeagent/upgrade").iterdir()) == []
    again, _ = device.upgraded("0.2.0")
    assert (again["state"], again["value"]["unchanged"]) == ("succeeded", True)


UNDER_SYSTEMD = "\nimport os, threading\nif 'NOTIFY_SOCKET' in os.environ:\n    "
NEVER = "\nasync def _never(self):\n    import asyncio\n    await asyncio.Event().wait()\nReporter._beat = _never\n"
BAD = {
    "0.3.0": ({"assembly__deviceloop": "\nimport nothing_of_this_name\n"}, {}, "No module named 'nothing_of_this_name'"),
    "0.3.1": ({"patterns__report": NEVER}, {"link": 2}, "has not reached the hub within 2 s"),
    "0.3.2": (
        {"assembly__deviceloop": f"{UNDER_SYSTEMD}threading.Timer(2, os._exit, [3]).start()\n"},
        {"trial": 60},
        "its agent ended after",
    ),
}


@pytest.mark.parametrize("version", BAD)
def test_a_bad_release_is_gone_back_from_and_named(device: Device, version: str) -> None:
    broken, settings, why = BAD[version]
    device.set(**settings)  # type: ignore[arg-type]
    leaf = device.shown("edgeagent-leaf")
    found, sent = device.upgraded(device.release(version, **broken))
    (size,) = re.findall(r"of which ([\d.]+) MB are not at the hub yet", sent.err)
    assert float(size) < 2, "the other wheels are there since the first upgrade"
    assert found["state"] == "failed" and why in found["reason"], (found, device.debian.journal("edgeagent-upgrade"))
    assert device.current() == "releases/0.2.0" and not (device.debian.root / "opt/edgeagent/releases" / version).exists()
    facts = device.facts()
    assert facts["versions"]["agent"] == "0.2.0" and facts["upgrade"]["failed"]["version"] == version
    assert why in facts["upgrade"]["failed"]["why"]
    assert device.shown("edgeagent-leaf") == leaf
    device.set()


#: What whoever has taken the agent over can write: a command that it signed itself, pins of its own, and a wheel.
THEIRS = """
import json, os, pathlib, time, msgspec
from edgeagent.command import Entry, new_id
from edgeagent.subjects import FLEET_ALL
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign
role, user, now = KeyPair.generate("account"), KeyPair.generate("user"), int(time.time())
token = jwt.scoped_user(role, subject=user.public, name="mallory", account=role.public, issued_at=now, expires_at=now + 900, tags=())
args = {"version": "6.6.6", "upload": "0" * 32, "pieces": 1, "bytes": 2, "sha256": "a" * 64}
entry = Entry(id=new_id(now, user.public), action="agent.upgrade", log="l", floor=1, not_after=now + 600, args=args)
signed = sign(Credentials(token, user.seed), kind="command", scope=FLEET_ALL, number=1, at=now, body=msgspec.json.encode(entry))
state = pathlib.Path("/var/lib/edgeagent")
(state / "trust.json").write_bytes(msgspec.json.encode(Pins(signers={role.public: "admin"})))
(state / "upgrade" / ("a" * 64 + ".json")).write_text("{}")
(state / "upgrade/request.json").write_text(json.dumps({"signed": signed.decode()}))
print(entry.id)
"""


def test_whoever_takes_the_agent_over_has_nothing_installed(device: Device) -> None:
    debian, root = device.debian, device.debian.root
    (root / "tmp-theirs.py").write_text(THEIRS)
    pins = root / "var/lib/edgeagent/trust.json"
    before = pins.read_bytes()
    as_agent = "runuser -u edgeagent -- "
    entry = debian.run(f"{as_agent}/opt/edgeagent/current/bin/python -I /tmp-theirs.py").stdout.strip()
    standing = root / "opt/edgeagent/upgrade.json"
    asyncio.run(until(lambda: json.loads(standing.read_text())["last"]["id"] == entry, "root has judged it"))
    said = json.loads(standing.read_text())["last"]
    assert said["state"] == "refused" and "not known here" in said["why"]
    pins.write_bytes(before)
    for file in ("trial.json", "signers.json", "upgrade.json", "current/x", "releases/6.6.6"):
        assert debian.run(f"{as_agent}touch /opt/edgeagent/{file}", check=False).returncode != 0, file
    assert device.current() == "releases/0.2.0" and [each.name for each in (root / "opt/edgeagent/releases").iterdir()] == [
        "0.2.0"
    ]


def test_a_trial_goes_on_after_a_power_cut(device: Device) -> None:
    device.set(trial=300)
    said = cli("fleet", "upgrade", device.release("0.4.0"), "-d", "pi-1", "--wheels", str(device.folder), "--detach")
    assert said.code == 0, said
    trial = device.debian.root / "opt/edgeagent/trial.json"
    asyncio.run(until(lambda: trial.exists() and json.loads(trial.read_text())["phase"] == "agent", "it is on trial"))
    asyncio.run(until(lambda: device.current() == "releases/0.4.0", "it is the present one"))
    device.debian.pull_the_plug()
    device.set()
    device.debian.boot()
    found = cli("cmd", "show", said.out.strip(), "--wait", "--json", timeout=100)
    state = json.loads(found.out)["devices"]["pi-1"]
    assert state["state"] == "succeeded", (state, device.debian.journal("edgeagent-upgrade"))
    assert device.current() == "releases/0.4.0" and not trial.exists() and device.facts()["upgrade"] == {"before": "0.2.0"}
    kept = sorted(each.name for each in (device.debian.root / "opt/edgeagent/releases").iterdir())
    assert kept == ["0.2.0", "0.4.0"], "the present one and the one before"


def test_an_installation_that_is_newer_than_what_came_from_afar_is_not_put_in_order_by_it(device: Device) -> None:
    newer = device.debian.root / "opt/edgeagent/lib" / f"python{python()}/site-packages/edgeagent-9.9.9.dist-info"
    newer.mkdir()
    said = device.debian.run("/opt/edgeagent/current/bin/edgeagent install --dry-run", check=False)
    newer.rmdir()
    agent = device.shown("edgeagent")
    assert "nothing to do" in device.debian.run("/opt/edgeagent/bin/edgeagent install").stdout, "it is older, and leaves it alone"
    assert device.shown("edgeagent") == agent
    assert said.returncode == 2 and "`sudo /opt/edgeagent/bin/edgeagent install`" in said.stderr, said


async def test_what_was_stored_through_all_of_that_is_at_the_hub_once(device: Device, program: Program, hub: Hub) -> None:
    line = program.end()
    client = await sign_in(hub.place, Keyring.load(hub.place.path), "hub")
    try:

        async def all_there() -> bool:
            return line.acknowledged <= set(await numbers(client, "pi-1"))

        await until(all_there, "the hub has what the leaf acknowledged")
        assert problems(line, await numbers(client, "pi-1")) == []
    finally:
        await client.close()
