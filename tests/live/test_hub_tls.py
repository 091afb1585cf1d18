"""A whole hub with TLS: made, renewed and rotated while people and devices are connected; with a certificate of its owner's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent import context
from edgeagent.assembly import hubtls
from edgeagent.assembly.hublogin import sign_in
from edgeagent.assembly.hubserver import HubServer
from edgeagent.fleet import Fleet
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.leaf.leaf import Leaf, LeafOptions
from edgeagent.link import request
from edgeagent.natsserver import ports
from edgeagent.trust import certificates
from tests.support.fleet import PATIENCE_SECONDS, Said, cli
from tests.support.home import own_home
from tests.support.hub import answers, quick_hub, started
from tests.support.servers import kill_leftovers, until
from tests.support.tlshub import presented


class Hub:
    """Made by `hub init`, with free ports and a websocket port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.place = HubFolder(folder / "hub")
        self.client_port, self.leaf_port, self.websocket_port = ports.pick(), ports.pick(), ports.pick()
        named = {"client": self.client_port, "leaf": self.leaf_port, "websocket": self.websocket_port}
        words = [word for name, port in named.items() for word in (f"--{name}-port", str(port))]
        self.made = self.command(
            "hub", "init", "--name", "t", "--store-bytes", str(512 << 20), "--no-passphrase", *words, *options
        )

    def command(self, *words: str) -> Said:
        return cli(*words, "--dir", str(self.place.path))

    async def shown(self) -> set[bytes]:
        """The certificates at its three ports."""
        return {
            await presented(self.client_port, greets=True),
            await presented(self.leaf_port),
            await presented(self.websocket_port),
        }

    def on_disk(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(hubtls.files_of(self.place, self.place.options())[0].read_text())  # type: ignore[union-attr]  # it has TLS


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    with own_home(tmp_path / "home"):
        yield
        kill_leftovers(tmp_path)


@contextlib.asynccontextmanager
async def linked(hub: Hub, folder: Path) -> AsyncIterator[Leaf]:
    """A device's leaf that trusts the hub's authorities; linked when the block begins."""
    login = Keyring.load(hub.place.path).device_credentials("pi-1")
    (folder / "device.creds").write_text(login.format())
    leaf = Leaf(
        LeafOptions(
            device_id="pi-1",
            server_name="pi-1-a1b2c3d4",
            folder=folder / "leaf",
            hub_urls=(f"tls://127.0.0.1:{hub.leaf_port}",),
            credentials=folder / "device.creds",
            tls_ca_file=TlsFolder(hub.place).authorities,
            port=ports.pick(),
            reconnect_seconds=0.2,
        )
    )
    try:
        await leaf.start()
        await until(lambda: "JetStream using domains" in leaf.options.log_file.read_text(), "the leaf is linked")
        yield leaf
    finally:
        await leaf.stop()


async def test_a_new_certificate_disturbs_nobody(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "--tls-self", "--tls-name", "hub.example")
    assert hub.made.code == 0, hub.made.err
    for url in (
        f"tls://127.0.0.1:{hub.client_port}",
        f"tls://127.0.0.1:{hub.leaf_port}",
        f"wss://127.0.0.1:{hub.websocket_port}",
    ):
        assert url in hub.made.out
    assert "hub.example" in json.loads(hub.command("hub", "tls", "show", "--json").out)["certificate"]["names"]
    with hub.place.options_file.open("a") as file:
        file.write('[metrics]\nlisten = ""\n')
    with started(quick_hub("up", hub.place)):
        await until(lambda: answers(hub.place), "the hub answers", PATIENCE_SECONDS)
        async with linked(hub, tmp_path) as leaf, Fleet() as fleet:
            await fleet.roster()
            await stays(hub, fleet, leaf)
        doctor = hub.command("hub", "doctor")
        assert doctor.code == 0 and "TLS on every port" in doctor.out, doctor.out
        # Whether something keeps this machine's clock right is its own affair.
        assert not [line for line in doctor.out.splitlines() if line.startswith("WARN") and "clock" not in line], doctor.out


async def test_the_next_authority_reaches_people_before_it_counts(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "--tls-self")
    mine = Path(context.load("t").authorities)
    before = mine.read_text()
    with started(quick_hub("up", hub.place)):
        await until(lambda: answers(hub.place), "the hub answers", PATIENCE_SECONDS)
        assert hub.command("hub", "tls", "rotate").code == 0

        async def learned() -> bool:
            async with Fleet():
                return mine.read_text().count("BEGIN CERTIFICATE") == before.count("BEGIN CERTIFICATE") + 1

        await until(learned, "who connects has it", PATIENCE_SECONDS)
        assert mine.stat().st_mode & 0o777 == 0o600


async def stays(hub: Hub, fleet: Fleet, leaf: Leaf) -> None:
    """The first certificate is shown, then others on every port, while nobody is disconnected."""
    shown = [hub.on_disk()]
    assert await hub.shown() == {shown[0]}
    for words in (("renew",), ("rotate", "--now")):
        done = hub.command("hub", "tls", *words)
        assert done.code == 0 and "nats-server uses it from now on" in done.out, done
        shown.append(hub.on_disk())
        assert await hub.shown() == {shown[-1]}
        await fleet.roster()
    assert len(set(shown)) == 3
    assert fleet.client.stats["reconnects"] == 0
    log = leaf.options.log_file.read_text()
    assert log.count("JetStream using domains") == 1 and "Leafnode connection closed" not in log
    newcomer = await sign_in(hub.place, Keyring.load(hub.place.path), "hub")  # it trusts the new authority too
    await newcomer.close()


async def test_what_was_pushed_to_the_hub_outlives_a_new_certificate(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "--tls-self")
    keyring, options = Keyring.load(hub.place.path), hub.place.options()
    login = keyring.device_credentials("pi-1")
    async with HubServer(hub.place, options, keyring) as server:
        system = await sign_in(hub.place, keyring, "sys")
        revoked = {"FLEET": {login.public_key: 2_000_000_000}}
        _, pushed = keyring.account_jwts(revocations=revoked)["FLEET"]
        await request(system, "$SYS.REQ.CLAIMS.UPDATE", pushed.encode(), what="push")
        TlsFolder(hub.place).renew(options, hubtls.now())
        await server.reload()
        found = await request(system, f"$SYS.REQ.ACCOUNT.{keyring.account_public('FLEET')}.CLAIMS.LOOKUP", what="look")
        assert found.data.decode() == pushed, "a revocation that a reload took back would let the device in again"
        await system.close()


def own_files(folder: Path, *names: str, days: float = 100) -> tuple[str, ...]:
    """A certificate of somebody else's, as options of `hub init`."""
    now = datetime.now(timezone.utc)
    authority = certificates.make_authority("somebody's CA", now + timedelta(days=1000))
    pair = certificates.make_server(authority, names, now + timedelta(days=days))
    found = {"certificate": pair.certificate, "key": pair.key, "authorities": authority.certificate}
    for name, data in found.items():
        (folder / f"{name}.pem").write_bytes(data)
        (folder / f"{name}.pem").chmod(0o600)
    return tuple(word for name in found for word in (f"--tls-{name}", str(folder / f"{name}.pem")))


async def test_a_certificate_of_its_owners_is_read_again_when_it_changes(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "--advertise", "localhost", *own_files(tmp_path, "localhost"))
    assert hub.made.code == 0, hub.made.err
    options, keyring = hub.place.options(), Keyring.load(hub.place.path)
    async with HubServer(hub.place, options, keyring) as server:
        keeping = asyncio.ensure_future(hubtls.keep(hub.place, options, server.reload, look_seconds=0.05))
        client = await sign_in(hub.place, keyring, "hub")
        before = hub.on_disk()
        assert await hub.shown() == {before}
        (tmp_path / "certificate.pem").write_bytes(b"half of")  # what is not whole is not used
        own_files(tmp_path, "localhost")

        async def changed() -> bool:
            return await hub.shown() == {hub.on_disk()}

        await until(changed, "the new one is shown")
        assert hub.on_disk() != before and client.stats["reconnects"] == 0
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.close()


@pytest.mark.parametrize(
    ("names", "days", "change", "why"),
    [
        (("localhost",), -1, "", "it expired on"),
        (("localhost",), 1, "key.pem", "it holds no private key in PEM form"),
        (("localhost",), 1, "certificate.pem", "it holds none in PEM form"),
        (("localhost",), 1, "authorities.pem", "it holds none in PEM form"),
        (("localhost",), 1, "other key", "is not its key"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_made(
    tmp_path: Path, names: tuple[str, ...], days: float, change: str, why: str
) -> None:
    options = own_files(tmp_path, *names, days=days)
    if change == "other key":
        pair = certificates.make_authority("x", datetime(2040, 1, 1, tzinfo=timezone.utc))
        (tmp_path / "key.pem").write_bytes(pair.key)
    elif change:
        (tmp_path / change).write_text("nothing")
    hub = Hub(tmp_path, *options)
    assert hub.made.code == 1 and why in hub.made.err and "Traceback" not in hub.made.err, hub.made
    assert not hub.place.path.exists()


def test_one_kind_of_certificate_at_a_time(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "--tls-self", *own_files(tmp_path, "localhost"))
    assert hub.made.code == 2 and "of its own" in hub.made.err and not hub.place.path.exists()


def test_without_tls_there_are_no_certificates(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    for words in (("show",), ("renew",), ("rotate",)):
        said = hub.command("hub", "tls", *words)
        assert said.code == 2 and "it has no TLS" in said.err
