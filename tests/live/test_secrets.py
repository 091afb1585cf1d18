"""No seed, password, token or passphrase is shown to anybody: the whole story by the command line, and then everything is searched.

While the story runs, the words and the environment of every process of ours are read again and again, as any user of the machine could
read the words. Afterwards every file that was written is searched: logs, output, status, and the stores of both nats-servers, so every
report, event, KV value and message. Only :data:`KEPT` may hold a secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from edgeagent.assembly.hubmake import owner_file
from edgeagent.enrolment import ClaimToken
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.owner import Owner
from edgeagent.link import connect
from edgeagent.natsserver import ports
from edgeagent.trust import creds
from edgeagent.trust.nkeys import KeyPair
from tests.support import quick
from tests.support.enrolling import NewDevice, lines
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.home import own_home
from tests.support.hub import answers
from tests.support.servers import until

#: Files whose purpose it is to hold a secret, below the test's folder, and why. Others than their owner can read none of them.
KEPT = {
    "hub/keys/*.nk": "the seeds that the hub signs with",
    "hub/keys/*.creds": "the logins of its services",
    "hub/tls/*.key": "the keys of its certificates",
    "home/config/edgeagent/contexts/*": "people's logins",
    "olga.context": "the login that is handed to olga",
    "pi/state/device.creds": "the device's login",
    "pi/state/renewal.creds": "the same key, to ask for a new one",
    "pi/state/secrets.json": "passwords of the leaf's own users",
    "pi/state/apps.json": "passwords of local programs",
    "pi/state/leaf.conf": "the same passwords, where nats-server reads them",
    "doors.env": "the password of one program, for that program, or for the group that it was given to",
    "gate.nk": "the key of another, likewise",
    "passphrase*": "typed by the owner",
    "damaged/*": "a copy of credentials that this test has damaged",
}
SEED = re.compile(rb"S[AOUNXC][A-Z2-7]{56}")


class Watch:
    """Reads what processes show, from a thread: ``shown`` has the words and variables of each, of those that know ``mark``."""

    def __init__(self, mark: Path) -> None:
        self._mark, self._ended, self._typed = os.fsencode(mark), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.shown: set[bytes] = set()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @contextlib.contextmanager
    def looking_away(self) -> Iterator[None]:
        """While a person has typed a secret on a command line, until the command has got rid of it."""
        self._typed = True
        try:
            yield
        finally:
            self._typed = False

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            away = self._typed
            seen = set(self._look())
            if not away:
                self.shown |= seen

    def _look(self) -> Iterator[bytes]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                both = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                if self._mark in both:
                    yield both


class Story:
    """Commands, and all that they said; ``secret`` names what must not be shown."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[Said]()
        self.secret: dict[str, bytes] = {}
        self.passphrase = folder / "passphrase"
        self.write(self.passphrase, f"staple-{secrets.token_hex(12)}")
        self.secret["passphrase"] = self.passphrase.read_bytes()
        self.client_port, self.leaf_port = ports.pick(), ports.pick()

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(0o600)
        path.write_text(text)

    def do(self, *words: object, code: int = 0) -> Said:
        said = cli(*map(str, words))
        assert said.code == code, said
        self.said.append(said)
        return said

    @contextlib.contextmanager
    def hub_running(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "hub.out").open("ab") as out:
            process = subprocess.Popen(quick.hub("up", "--dir", str(self.folder / "hub")), stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with own_home(tmp_path / "home"):
        del os.environ["EDGEAGENT_PASSPHRASE"]  # here it comes by a file; a variable is shown to one's own processes
        yield Story(tmp_path)


@pytest.mark.timeout(300)  # some fifty commands, one after another
async def test_no_secret_is_shown(story: Story) -> None:
    with Watch(story.folder) as watch:
        await told(story, watch)
        control = await plant(story, watch)
    collect(story)
    assert len(story.secret) > 30, sorted(story.secret)
    heard = "\n".join(said.out + said.err for said in story.said).encode()
    everything = {**files(story.folder), "what the commands said": heard, "what processes show": b"\0".join(watch.shown)}
    # The search would have found them: one that was planted among the words, in a log and in a stream.
    assert {"what processes show", "planted.log"} < found_in(everything, control)
    assert any(name.startswith("hub/store/") for name in found_in(everything, control))
    shown = {what: places for what, secret in story.secret.items() if (places := found_in(everything, secret) - kept(everything))}
    assert shown == {}
    assert any(SEED.search(data) for name, data in everything.items() if name in kept(everything))
    stray = {name for name, data in everything.items() if name not in kept(everything) and strange(data, control)}
    assert stray == set(), "seeds that nobody knows"


def strange(data: bytes, planted: bytes) -> bool:
    return any(seed != planted and is_seed(seed) for seed in SEED.findall(data))


def is_seed(text: bytes) -> bool:
    """Whether it is one: a seed has a checksum, so what looks like one by chance does not count."""
    with contextlib.suppress(Exception):
        return bool(KeyPair.from_seed(text.decode()))
    return False


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found_in(everything: dict[str, bytes], secret: bytes) -> set[str]:
    return {name for name, data in everything.items() if secret in data}


def kept(everything: dict[str, bytes]) -> set[str]:
    return {name for name in everything if any(fnmatchcase(name, pattern) for pattern in KEPT)}


async def told(story: Story, watch: Watch) -> None:
    """Make a hub, let a device, a person and two programs in, put the device out and in again, and do some things wrong."""
    ports_ = ("--client-port", story.client_port, "--leaf-port", story.leaf_port, "--store-bytes", 512 << 20)
    hub, asked = ("--dir", story.folder / "hub"), ("--passphrase-file", story.passphrase)
    story.do("hub", "init", *hub, "--name", "berlin", "--admin", "ada", "--tls-self", *ports_, *asked)
    with story.hub_running():
        await until(lambda: answers(HubFolder(story.folder / "hub")), "the hub answers")
        device = await enrolled(story, watch)
        with device.running():
            await until(lambda: device.is_linked, "it is linked")
            people_and_programs(story, device, asked)
            await out_and_in_again(story, device)
            go_wrong(story, hub)
            await until(lambda: device.is_linked, "it came back with its new login")
            look(story, hub, device)
        await damaged(story, device)


async def enrolled(story: Story, watch: Watch) -> NewDevice:
    made = cli("token", "create", "--device", "pi-1")  # what it prints is the token: the one place where it is shown
    story.said.append(Said(made.code, "", made.err))
    token = ClaimToken.parse(made.out)
    story.secret |= {"claim token": token.jwt.encode(), "its signature": token.jwt.rpartition(".")[2].encode()}
    device = NewDevice(story.folder / "pi", reconnect_seconds=0.5)
    out = []
    with watch.looking_away():
        process = await device.begin(f"127.0.0.1:{story.leaf_port}", "--token", made.out.strip())
        said = lines(process)
        async for line in said:
            out.append(line)
            if line.startswith("key made"):
                break
    out += [line async for line in said]
    assert await process.wait() == 0, out
    story.said.append(Said(0, (await process.communicate())[0].decode(), "\n".join(out)))
    return device


def people_and_programs(story: Story, device: NewDevice, asked: tuple[object, ...]) -> None:
    here = ("--settings", device.settings)
    context = story.folder / "olga.context"
    story.do("operator", "add", "olga", "--role", "operator", "--dir", story.folder / "hub", "--out", context, *asked)
    story.do("context", "import", context, "--name", "olgas")
    story.do("fleet", "ls", "--context", "olgas")
    story.do("context", "use", "berlin")
    story.do("app", "add", "doors", "--out", story.folder / "doors.env", *here)
    story.do("app", "add", "gate", "--nkey", "--out", story.folder / "gate.env", *here)
    story.do("app", "ls", "--json", *here)


async def out_and_in_again(story: Story, device: NewDevice) -> None:
    login = (device.state / "device.creds").read_bytes()
    story.do("device", "revoke", "pi-1", "--reason", "lost")
    await until(lambda: not device.is_linked, "it is out")
    story.do("device", "unrevoke", "pi-1")
    await until(lambda: device.is_linked, "it is in again")
    story.do("device", "group", "add", "kitchen", "pi-1")
    await until(lambda: (device.state / "device.creds").read_bytes() != login and device.is_linked, "it renewed its login")


def go_wrong(story: Story, hub: tuple[object, ...]) -> None:
    wrong = story.folder / "passphrase-wrong"
    story.write(wrong, f"battery-{secrets.token_hex(12)}")
    story.secret["wrong passphrase"] = wrong.read_bytes()
    said = story.do("operator", "add", "eve", "--role", "admin", *hub, "--passphrase-file", wrong, code=1)
    assert "passphrase" in said.err
    # A token that was copied with a piece missing, and one that is used up.
    device = NewDevice(story.folder / "second")
    half = story.secret["claim token"].decode()
    story.write(story.folder / "passphrase-half-token", half)
    where = ("--hub", f"127.0.0.1:{story.leaf_port}", "--settings", device.settings)
    assert "no claim token" in story.do("enroll", *where, "--token-file", story.folder / "passphrase-half-token", code=2).err


def look(story: Story, hub: tuple[object, ...], device: NewDevice) -> None:
    for words in (("ls", "--json"), ("query", "true", "--json"), ("watch", "--help")):
        story.do("fleet", *words)
    story.do("device", "show", "pi-1", "--json")
    story.do("token", "ls", "--json")
    story.do("operator", "ls", "--json")
    story.do("context", "ls", "--json")
    story.do("hub", "keys", "show", "--json", *hub)
    story.said.append(cli("hub", "doctor", "--json", *map(str, hub)))
    story.do("status", "--json", "--settings", device.settings)
    story.said.append(cli("check", "--settings", str(device.settings)))


async def damaged(story: Story, device: NewDevice) -> None:
    """Credentials that lost a letter: what is said about them must not quote them."""
    good = (device.state / "device.creds").read_text()
    seed = device.login.seed
    bad = good.replace(seed, seed[:20] + seed[21:])
    story.secret["a damaged seed"] = seed[:20].encode()
    assert bad != good
    renewal = (device.state / "renewal.creds").read_text()
    (device.state / "device.creds").write_text(bad)
    (device.state / "renewal.creds").write_text(renewal.replace(seed, seed[:20] + seed[21:]))  # else it would heal itself
    story.said.append(cli("check", "--settings", str(device.settings)))
    with device.running():
        await until(lambda: b"malformed seed" in (device.state / "leaf.log").read_bytes(), "the leaf has tried it")
        await until(lambda: bool(device.problems), "the agent says that something is wrong")
        story.said.append(cli("status", "--json", "--settings", str(device.settings)))
    story.write(story.folder / "damaged" / "x.creds", bad)
    url = f"tls://127.0.0.1:{story.client_port}"
    added = cli("context", "add", "broken", "--url", url, "--credentials", str(story.folder / "damaged" / "x.creds"))
    story.said += [added, cli("fleet", "ls", "--context", "broken")]
    assert story.said[-1].code != 0
    (device.state / "device.creds").write_text(good)
    (device.state / "renewal.creds").write_text(renewal)


async def plant(story: Story, watch: Watch) -> bytes:
    """A seed where none belongs: in the words of a process, in a file, and in a message that the hub stores."""
    seed = KeyPair.generate("user").seed
    (story.folder / "planted.log").write_text(f"connected with {seed}\n")
    with asleep(seed, str(story.folder)):
        await until(lambda: any(seed.encode() in shown for shown in watch.shown), "the watch sees it")
    with story.hub_running():
        login = creds.load(story.folder / "hub" / "keys" / "hub.creds")
        authorities = story.folder / "hub" / "tls" / "ca.pem"
        await until(lambda: answers(HubFolder(story.folder / "hub")), "the hub answers")
        url = f"tls://127.0.0.1:{story.client_port}"
        client = await connect(
            url, what="plant", name="t", inbox_prefix="_INBOX.t", jwt=creds.callbacks(login), authorities=authorities
        )
        ack = await client.request("edge.from.pi-1.event.info", seed.encode(), timeout=PATIENCE_SECONDS)
        assert b"EDGE_EVENTS" in ack.data
        await client.close()
    return seed.encode()


@contextlib.contextmanager
def asleep(*words: str) -> Iterator[None]:
    """A process with these words that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *words])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def collect(story: Story) -> None:
    """Every secret that there is, read from where it belongs, the owner's encrypted file among them."""
    owner = Owner.load(owner_file("berlin"), story.secret["passphrase"].decode())
    story.secret |= {f"the owner's {name}": owner.key(name).seed.encode() for name in owner.keys()}  # noqa: SIM118  # it is no mapping
    for name, data in files(story.folder).items():
        if not any(fnmatchcase(name, pattern) for pattern in KEPT):
            continue
        others = 0o007 if name in ("doors.env", "gate.nk") else 0o077  # a program's own files may be given to a group
        assert not stat.S_IMODE((story.folder / name).stat().st_mode) & others, f"others can read {name}"
        story.secret |= {f"{name}: {number}": seed for number, seed in enumerate(SEED.findall(data)) if is_seed(seed)}
        if name.endswith(".key"):
            story.secret[name] = b"".join(data.splitlines()[1:3])[:60] if b"\r" in data else data.splitlines()[1]
    passwords = json.loads((story.folder / "pi/state/secrets.json").read_bytes())
    story.secret |= {f"the leaf's {user}": password.encode() for user, password in passwords.items()}
    (doors,) = [app for app in json.loads((story.folder / "pi/state/apps.json").read_bytes()) if app["name"] == "doors"]
    story.secret["the password of doors"] = doors["password"].encode()
