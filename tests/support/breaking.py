"""A hub as people run it, and one way for each thing that its doctor looks at to break that very thing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import subjects, wire
from edgeagent.administration import Person
from edgeagent.assembly import hubmake
from edgeagent.assembly.hublogin import sign_in
from edgeagent.hub import streams
from edgeagent.hub.bucket import Bucket
from edgeagent.hub.device_orders import TAMPERED
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import LOGIN_SUFFIX, Keyring, Service
from edgeagent.hub.owner import Owner
from edgeagent.hub.streams import DEVICES_BUCKET, PEOPLE_BUCKET, PRESENCE_BUCKET
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.link import Client, request
from edgeagent.natsserver import ports
from edgeagent.publish import published
from edgeagent.times import rfc3339
from edgeagent.trust import certificates, creds, jwt
from tests.support import quick
from tests.support.hub import STORE_BYTES, Hub, new_hub, started
from tests.support.servers import until
from tests.support.smalldisk import small_disk

__all__ = ["BREAKS", "Broken", "Live", "living"]

DAY = timedelta(days=1)


@dataclass
class Live:
    """A hub that runs. metrics: the port of its /metrics and /healthz. folder: for other hubs, which need not run."""

    hub: Hub
    metrics: int
    folder: Path

    @property
    def place(self) -> HubFolder:
        return self.hub.place

    @contextlib.asynccontextmanager
    async def client(self, service: Service = "hub") -> AsyncIterator[Client]:
        client = await sign_in(self.place, Keyring.load(self.place.path), service)
        try:
            yield client
        finally:
            await client.close()

    def another(self, **options: Any) -> HubFolder:
        """A hub that does not run."""
        place = HubFolder(self.folder / f"another-{time.monotonic_ns()}")
        hubmake.make(place, HubOptions(name=f"h{time.monotonic_ns()}", **options), "olga", passphrase=None)
        return place

    @contextlib.contextmanager
    def edited(self, old: str, new: str) -> Iterator[None]:
        """hub.toml, while the hub runs: it reads it at its start."""
        file = self.place.options_file
        before = file.read_text()
        assert old in before
        file.write_text(before.replace(old, new))
        try:
            yield
        finally:
            file.write_text(before)

    async def health(self, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        return await asyncio.to_thread(_asked, f"http://127.0.0.1:{self.metrics}/healthz{query}", headers)


def _asked(url: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextlib.contextmanager
def living(folder: Path) -> Iterator[Live]:
    with new_hub(folder) as hub:
        here = Live(hub, ports.pick(), folder)
        with hub.place.options_file.open("a") as file:
            file.write(f'[metrics]\nlisten = "127.0.0.1:{here.metrics}"\n')
            file.write('[notify.webhooks.ops]\nurl = "http://127.0.0.1:1/hook"\nminimum = "critical"\n')
        words = quick.hub("up", "--dir", str(hub.place.path))
        with started(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)):
            asyncio.run(until(hub.answers, "the hub answers"))
            yield here


@dataclass
class Broken:
    """What a check is asked about, and what it must say. level: of that. word: in its text."""

    place: HubFolder
    level: str
    word: str


Break = Callable[[Live], AbstractAsyncContextManager[Broken]]
#: ``(name of the check, what breaks it)``.
BREAKS: list[tuple[str, Break]] = []


def breaks(check: str) -> Callable[[Callable[[Live], AsyncGenerator[Broken, None]]], Break]:
    def taken(way: Callable[[Live], AsyncGenerator[Broken, None]]) -> Break:
        made = contextlib.asynccontextmanager(way)
        BREAKS.append((check, made))
        return made

    return taken


# ---- what runs ----


@breaks("running")
async def no_server(here: Live) -> AsyncGenerator[Broken, None]:
    yield Broken(here.another(client_port=ports.pick(), leaf_port=ports.pick()), "wrong", "nats-server  nothing listens")


@breaks("running")
async def no_services(here: Live) -> AsyncGenerator[Broken, None]:
    before = here.place.lock.read_text()
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    here.place.lock.write_text(f"{ended.pid}\n")
    yield Broken(here.place, "wrong", "presence and renewals stand still")
    here.place.lock.write_text(before)


@breaks("servers")
async def a_stream_is_gone(here: Live) -> AsyncGenerator[Broken, None]:
    async with here.client() as hub:
        await hub.jetstream().delete_stream("EDGE_DATA")
        yield Broken(here.place, "wrong", "EDGE_DATA: not there")
        await streams.ensure(hub.jetstream(), here.place.options().store_max_bytes)


@breaks("trouble")
async def refused_logins(here: Live) -> AsyncGenerator[Broken, None]:
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", here.hub.client_port)
        writer.write(b"CONNECT {}\r\n")
        await reader.read()
        writer.close()
    async with here.client() as hub:

        async def told() -> bool:
            info = await hub.jetstream().stream_info("EDGE_EVENTS", subjects_filter=subjects.event("hub", "warning"))
            return bool(info.state.subjects)

        await until(told, "the hub tells of it")
    yield Broken(here.place, "warn", "logins were refused")


# ---- what it has on disk ----


@breaks("exposure")
async def plain_for_everybody(here: Live) -> AsyncGenerator[Broken, None]:
    with here.edited('listen = "127.0.0.1"\nadv', 'listen = "0.0.0.0"\nadv'):
        yield Broken(here.place, "warn", "whoever is on the way reads everything")


def expired(here: Live) -> HubFolder:
    place, ends = here.another(tls="self"), datetime.now(timezone.utc) - 2 * DAY
    own, authority = TlsFolder(place), certificates.make_authority("CA", ends)
    own.certificate.write_bytes(certificates.make_server(authority, ("localhost",), ends).certificate)
    own.authorities.write_bytes(authority.certificate)
    return place


@breaks("certificate")
async def its_certificate_ended(here: Live) -> AsyncGenerator[Broken, None]:
    yield Broken(expired(here), "wrong", "expired on")


@breaks("certificate")
async def its_certificate_lacks_a_name(here: Live) -> AsyncGenerator[Broken, None]:
    place = here.another(tls="self")
    place.options_file.write_text(place.options_file.read_text().replace('advertise = ""', 'advertise = "new.example"'))
    yield Broken(place, "warn", "new.example: not in the certificate")


@breaks("certificate_authorities")
async def its_authority_ended(here: Live) -> AsyncGenerator[Broken, None]:
    yield Broken(expired(here), "wrong", "expired on")


@breaks("permissions")
async def keys_for_everybody(here: Live) -> AsyncGenerator[Broken, None]:
    here.place.keys.chmod(0o755)
    yield Broken(here.place, "wrong", "others can read")
    here.place.keys.chmod(0o700)


@breaks("foreign_key")
async def a_key_of_its_owner_for_everybody(here: Live) -> AsyncGenerator[Broken, None]:
    ends = datetime.now(timezone.utc) + 90 * DAY
    authority = certificates.make_authority("CA", ends)
    pair = certificates.make_server(authority, ("localhost",), ends)
    files = {"certificate_file": pair.certificate, "key_file": pair.key, "authorities_file": authority.certificate}
    for name, data in files.items():
        (here.folder / name).write_bytes(data)
        (here.folder / name).chmod(0o600)
    place = here.another(tls="files", advertise="localhost", **{name: str(here.folder / name) for name in files})
    (here.folder / "key_file").chmod(0o644)
    yield Broken(place, "wrong", "everybody can read")


@breaks("services")
async def a_login_of_its_own_ends(here: Live) -> AsyncGenerator[Broken, None]:
    place, key = here.another(), creds.KeyPair.generate("user")
    owner, now = creds.KeyPair.generate("account"), int(time.time())
    text = jwt.user(owner, subject=key.public, name="hub", account=owner.public, issued_at=now, expires_at=now + 86_400)
    (place.keys / f"hub{LOGIN_SUFFIX}").write_text(creds.Credentials(text, key.seed).format())
    yield Broken(place, "warn", f"hub{LOGIN_SUFFIX} is good until")


# ---- what it gives to others ----


@breaks("given_out")
async def metrics_for_everybody(here: Live) -> AsyncGenerator[Broken, None]:
    with here.edited(f'"127.0.0.1:{here.metrics}"', f'"0.0.0.0:{here.metrics}"'):
        yield Broken(here.place, "warn", "everybody who reaches")


@breaks("offered")
async def another_program_has_the_port(here: Live) -> AsyncGenerator[Broken, None]:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example\r\n\r\n")
        writer.close()

    port = ports.pick()
    async with await asyncio.start_server(speak, "127.0.0.1", port):
        with here.edited(f'"127.0.0.1:{here.metrics}"', f'"127.0.0.1:{port}"'):
            yield Broken(here.place, "wrong", "another program answers there")


@breaks("secrets")
async def a_token_for_everybody(here: Live) -> AsyncGenerator[Broken, None]:
    file = here.place.path / "influx.token"
    file.write_text("abc")
    file.chmod(0o644)
    influx = '[influx]\nurl = "http://127.0.0.1:1"\nbucket = "b"\norg = "o"\ntoken_file = "influx.token"\n'
    with here.edited("\n[metrics]\n", f"\n{influx}[metrics]\n"):
        yield Broken(here.place, "wrong", "everybody can read")


@breaks("sending")
async def nobody_takes_a_message(here: Live) -> AsyncGenerator[Broken, None]:
    async with here.client() as hub:
        event = wire.Event(kind="app.burns", text="it burns")
        await published(hub, subjects.event("pi-01", "critical"), wire.encode(event))
    await until(lambda: any(here.place.troubles.glob("*")), "the hub tries, and nobody takes it")
    yield Broken(here.place, "wrong", "webhook ops: nothing is taken since")


# ---- its store ----


@breaks("disk")
async def a_full_disk(here: Live) -> AsyncGenerator[Broken, None]:
    (here.folder / "disk").mkdir()
    with small_disk(here.folder / "disk", 16) as disk:
        place = HubFolder(disk.path / "hub")
        shutil.copytree(here.another().path, place.path)
        disk.fill()
        yield Broken(place, "wrong", "it is full")


@breaks("limits")
async def more_than_the_disk_has(here: Live) -> AsyncGenerator[Broken, None]:
    with here.edited(f"store_max_bytes = {STORE_BYTES}", f"store_max_bytes = {1 << 50}"):
        yield Broken(here.place, "wrong", "it will run full")


@breaks("fill")
async def a_stream_without_room(here: Live) -> AsyncGenerator[Broken, None]:
    async with here.client() as hub:
        js = hub.jetstream()
        await published(hub, subjects.command_log(subjects.Scope.group("paris"), 1), b"x" * 8000)
        config = (await js.stream_info("EDGE_COMMANDS")).config
        await js.update_stream(config.evolve(max_bytes=8192))
        yield Broken(here.place, "wrong", "EDGE_COMMANDS has 9")
        await streams.ensure(js, here.place.options().store_max_bytes)


# ---- people and devices ----


@breaks("accounts")
async def an_account_of_strangers(here: Live) -> AsyncGenerator[Broken, None]:
    """nats-server takes it, and says that all is well."""
    public = Keyring.load(here.place.path).account_public("PROVISION")
    token = jwt.account(Owner.create("x").key("operator"), subject=public, name="PROVISION", issued_at=int(time.time()) + 60)
    async with here.client("sys") as system:
        await request(system, "$SYS.REQ.CLAIMS.UPDATE", token.encode(), what="push it")
        yield Broken(here.place, "wrong", "PROVISION is not signed by this hub's keys")


@contextlib.asynccontextmanager
async def known(here: Live, bucket: str, key: str, record: msgspec.Struct) -> AsyncIterator[None]:
    async with here.client() as hub:
        store = Bucket(hub, bucket, type(record))
        await store.change(key, lambda _: record, what="break it")
        yield
        found = await store.find(key)
        assert found is not None
        await store.remove(key, found[1], what="mend it")


LINKED = wire.Presence(online=True, since="2026-01-01T00:00:00.000Z", connection="X:1")


@breaks("credentials")
async def a_device_does_not_renew(here: Live) -> AsyncGenerator[Broken, None]:
    record = wire.DeviceRecord(id="pi-03", key="U", issued_at=1, expires_at=int(time.time()) + 86_400)
    async with known(here, DEVICES_BUCKET, "pi-03", record), known(here, PRESENCE_BUCKET, "pi-03", LINKED):
        yield Broken(here.place, "warn", "pi-03: linked, and should have been renewed")


@breaks("credentials")
async def a_persons_login_ends(here: Live) -> AsyncGenerator[Broken, None]:
    person = Person(name="otto", role="viewer", key="U", expires_at=int(time.time()) + 86_400)
    async with known(here, PEOPLE_BUCKET, "otto", person):
        yield Broken(here.place, "warn", "otto's login as viewer ends")


@breaks("devices")
async def a_copied_card(here: Live) -> AsyncGenerator[Broken, None]:
    async with known(here, PRESENCE_BUCKET, "pi-04", msgspec.structs.replace(LINKED, twins=["a", "b"])):
        yield Broken(here.place, "wrong", "its card was copied")


@breaks("devices")
async def a_tampered_device(here: Live) -> AsyncGenerator[Broken, None]:
    async with known(here, DEVICES_BUCKET, "pi-05", wire.DeviceRecord(id="pi-05", revoked=True, reason=TAMPERED)):
        yield Broken(here.place, "warn", "pi-05 was kept out by the hub itself")


@breaks("stale")
async def a_device_that_hangs(here: Live) -> AsyncGenerator[Broken, None]:
    record = wire.DeviceRecord(id="pi-06")
    async with known(here, DEVICES_BUCKET, "pi-06", record), known(here, PRESENCE_BUCKET, "pi-06", LINKED):
        yield Broken(here.place, "warn", "pi-06: linked, and nothing comes from there")


@breaks("stale")
async def a_device_that_never_came(here: Live) -> AsyncGenerator[Broken, None]:
    added = rfc3339(datetime.now(timezone.utc) - 8 * DAY)
    async with known(here, DEVICES_BUCKET, "pi-07", wire.DeviceRecord(id="pi-07", added=added)):
        yield Broken(here.place, "warn", "pi-07: away for more than 7 days")
