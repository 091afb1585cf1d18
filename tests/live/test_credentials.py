"""Credentials end and are renewed: people's on a hub that need not run, devices' in the register."""

from __future__ import annotations

import asyncio
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from edgeagent import context
from edgeagent.assembly.hublogin import sign_in
from edgeagent.hub import register
from edgeagent.hub.keyring import DAY_SECONDS, Keyring
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.wire import DeviceRecord
from tests.support.fleet import cli
from tests.support.home import PASSPHRASE, own_home
from tests.support.hub import Hub, new_hub, started
from tests.support.servers import until


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with new_hub(tmp_path_factory.mktemp("credentials")) as hub:
        yield hub


@pytest.fixture(scope="module")
def running(hub: Hub) -> Iterator[Hub]:
    with started(hub.up()):
        asyncio.run(until(hub.answers, "the hub answers"))
        yield hub


def lasts(login: Credentials, days: float) -> bool:
    return login.expires_at is not None and abs(login.expires_at - time.time() - days * DAY_SECONDS) < 300


# ---- people ----------------------------------------------------------------------------------------------------------------


def test_a_person_is_let_in_while_the_hub_is_down(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "viktor.creds"
    said = hub.command("operator", "add", "viktor", "--role", "viewer", "--creds", "--out", str(file))
    assert said.code == 0, said.err
    login = creds.load(file)
    assert login.name == "viktor" and lasts(login, 30) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"edgeagent context add berlin --url nats://127.0.0.1:{hub.client_port} --credentials viktor.creds" in said.out
    assert "Only this machine can reach" in said.out

    again = hub.command("operator", "add", "viktor", "--role", "viewer", "--creds", "--out", str(file), "--expires", "12h")
    assert again.code == 0 and lasts(creds.load(file), 0.5) and creds.load(file).public_key != login.public_key


def test_the_first_administrator_renews_by_importing_again(hub: Hub, tmp_path: Path) -> None:
    before = context.load("berlin")
    old = creds.load(Path(before.credentials))
    said = cli("operator", "add", "olga", "--role", "admin", "--dir", str(hub.place.path), cwd=tmp_path)
    assert said.code == 0 and "edgeagent context import olga.context" in said.out, said
    assert [path.name for path in tmp_path.iterdir()] == ["olga.context"]
    assert cli("context", "import", "olga.context", cwd=tmp_path).code == 0
    now = creds.load(Path(context.load("berlin").credentials))
    assert context.names() == ["berlin"] and now.name == old.name and now.public_key != old.public_key


def test_the_owner_needs_the_passphrase(hub: Hub, tmp_path: Path) -> None:
    words = ("operator", "add", "eve", "--role", "admin", "--dir", str(hub.place.path))
    wrong = cli(*words, cwd=tmp_path, env={"EDGEAGENT_PASSPHRASE": "wrong horse"})
    assert wrong.code == 1 and "the passphrase is wrong" in wrong.err
    none = cli(*words, cwd=tmp_path, env={"EDGEAGENT_PASSPHRASE": ""}, input="")
    assert none.code == 2 and "--passphrase-file FILE, $EDGEAGENT_PASSPHRASE" in none.err
    piped = cli(*words, "--passphrase-file", "-", cwd=tmp_path, env={"EDGEAGENT_PASSPHRASE": ""}, input=PASSPHRASE)
    assert piped.code == 0 and [path.name for path in tmp_path.iterdir()] == ["eve.context"], piped


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["Ó Brien", "--role", "viewer"], 2, "a user's name is"),
        (["olga", "--role", "root"], 2, "is not one of"),
        (["olga"], 2, "--role"),
        (["olga", "--role", "viewer", "--expires", "soon"], 2, "write 90m, 12h, 30d or 8w"),
        (["olga", "--role", "viewer", "--expires", "0d"], 2, "write 90m, 12h, 30d or 8w"),
        (["olga", "--role", "viewer", "--expires", "999999w"], 2, "ten years at most"),
        (["olga", "--role", "admin", "--groups", "berlin"], 2, "cannot be limited to groups"),
        (["olga", "--role", "operator", "--groups", "Ber lin"], 2, "no name of a group"),
        (["olga", "--role", "operator", "--actions", "Reboot"], 2, "names no actions"),
        (["olga", "--role", "viewer", "--out", "notes.txt"], 1, "was not made for olga by this hub"),
        (["olga", "--role", "viewer", "--creds", "--out", "notes.txt"], 1, "does not hold older credentials of olga"),
        (["olga", "--role", "viewer", "--creds", "--out", "pi.creds"], 1, "does not hold older credentials of olga"),
    ],
)
def test_what_is_refused_leaves_the_files_as_they_are(hub: Hub, tmp_path: Path, words: list[str], code: int, why: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "pi.creds").write_text(Keyring.load(hub.place.path).device_credentials("olga").format())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    said = cli("operator", "add", *words, "--dir", str(hub.place.path), cwd=tmp_path)
    assert said.code == code and why in said.err and "Traceback" not in said.err, said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_they_are_let_in(running: Hub, tmp_path: Path) -> None:
    file = tmp_path / "vera.context"
    assert running.command("operator", "add", "vera", "--role", "viewer", "--out", str(file)).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    plain = tmp_path / "gus.creds"
    words = ("--role", "operator", "--groups", "berlin", "--actions", "ping", "--creds", "--out", str(plain))
    assert running.command("operator", "add", "gus", *words).code == 0
    with own_home(tmp_path / "laptop"):
        said = cli("context", "import", str(file))
        assert said.code == 0 and "berlin is current now" in said.out, said
        assert cli("fleet", "ls", "--json").code == 0
        url = f"nats://127.0.0.1:{running.client_port}"
        assert cli("context", "add", "b", "--url", url, "--credentials", str(plain)).code == 0
        assert cli("fleet", "ls", "--json").code == 0


def test_a_running_hub_keeps_no_seed_of_its_owners(running: Hub) -> None:
    owner, allowed = running.owner, ("operator-signing", "role-device", "role-provision", "role-renewal")
    kept = b"".join(path.read_bytes() for path in running.place.path.rglob("*") if path.is_file())
    found = {seed.decode() for seed in re.findall(rb"S[OAU][A-Z2-7]{56}", kept)}
    assert found == {owner.key(name).seed for name in (*allowed, "user-hub", "user-sys", "user-provision", "user-fleet")}


async def test_who_is_limited_to_groups_speaks_to_no_other_device(running: Hub) -> None:
    login = running.owner.operator_credentials("gus", "operator", groups=["berlin"])
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    give, sign = creds.callbacks(login)
    client = await nats.connect(
        f"nats://127.0.0.1:{running.client_port}",
        user_jwt_cb=give,
        signature_cb=sign,
        inbox_prefix=b"_INBOX.ops.gus",
        error_cb=note,
        allow_reconnect=False,
    )
    try:
        forbidden = [
            subject
            for scope in ("fleet.all", "group.munich", "device.pi-01")
            for subject in (f"edge.to.{scope}.query", f"edge.to.{scope}.cmd.1", f"$KV.edge_config.{scope}")
        ]
        for subject in ("edge.to.group.berlin.query", *forbidden, "$KV.edge_trust.signers", "edge.admin.gus.token_create"):
            await client.publish(subject, b"{}")
        await client.flush()
        await until(lambda: len(refused) >= len(forbidden) + 2, "the server has refused them")
        named = {subject for subject in forbidden if any(f'"{subject}"'.lower() in text.lower() for text in refused)}
        assert named == set(forbidden) and not any("group.berlin" in text for text in refused)
    finally:
        await client.close()


# ---- devices ---------------------------------------------------------------------------------------------------------------


async def record(hub: Hub, device_id: str) -> DeviceRecord:
    client = await sign_in(hub.place, Keyring.load(hub.place.path), "hub")
    try:
        found = await register.find(client, device_id)
        assert found
        return found[0]
    finally:
        await client.close()


async def test_a_device_is_renewed(running: Hub, tmp_path: Path) -> None:
    file = tmp_path / "pi-01.creds"
    words = ("device", "add", "pi-01", "--out", str(file))
    assert running.command(*words, "--groups", "berlin,kitchen", "--expires", "10d").code == 0
    first, registered = creds.load(file), await record(running, "pi-01")
    assert lasts(first, 10) and registered.key == first.public_key

    refused = running.command(*words)
    assert refused.code == 1 and "there is such a file already" in refused.err
    refused = running.command(*words[:-1], str(tmp_path / "other.creds"))
    assert refused.code == 1 and "edgeagent device add pi-01 --renew" in refused.err and not (tmp_path / "other.creds").exists()

    said = running.command(*words, "--renew")
    assert said.code == 0 and "renewed pi-01 in berlin, kitchen" in said.out, said
    second, now = creds.load(file), await record(running, "pi-01")
    assert second.groups == ("berlin", "kitchen") and lasts(second, 90) and second.public_key != first.public_key
    assert (now.key, now.groups, now.added) == (second.public_key, registered.groups, registered.added)

    assert running.command(*words, "--renew", "--groups", "munich").code == 0
    assert creds.load(file).groups == ("munich",) and (await record(running, "pi-01")).groups == ["munich"]
    assert running.command(*words, "--renew", "--groups", "").code == 0
    assert creds.load(file).groups == () and (await record(running, "pi-01")).groups == []


@pytest.mark.parametrize(
    ("device_id", "more", "why"),
    [
        ("nobody", ("--renew",), "there is no such device. `edgeagent device add nobody` adds it"),
        ("No Id", ("--renew",), "there is no such device"),
        ("hub", (), "is the hub's own JetStream domain"),
        ("pi-09", ("--expires", "-1d"), "write 90m, 12h, 30d or 8w"),
    ],
)
def test_a_device_that_cannot_be(running: Hub, tmp_path: Path, device_id: str, more: tuple[str, ...], why: str) -> None:
    file = tmp_path / "x.creds"
    said = running.command("device", "add", device_id, "--out", str(file), *more)
    assert said.code == 2 and why in " ".join(said.err.split()) and not file.exists(), said


async def test_somebody_elses_file_is_not_replaced(running: Hub, tmp_path: Path) -> None:
    file = tmp_path / "pi-02.creds"
    assert running.command("device", "add", "pi-02", "--out", str(file)).code == 0
    before = await record(running, "pi-02")
    file.write_text(Keyring.load(running.place.path).device_credentials("pi-03").format())
    said = running.command("device", "add", "pi-02", "--renew", "--out", str(file))
    assert said.code == 1 and "does not hold older credentials of pi-02" in said.err
    assert creds.load(file).name == "pi-03" and await record(running, "pi-02") == before
