"""`edgeagent enroll` against a real hub in operator mode: the ways in, what stands in the way, and what it must never show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from edgeagent import settings
from edgeagent.assembly.enrol import EnrolOptions, enrol
from edgeagent.enrolment import NO_ID, Admission, ClaimToken
from edgeagent.errors import Refused
from edgeagent.hub import accounts
from edgeagent.identity import device_id
from edgeagent.leaf import conf
from edgeagent.leaf.visit import VisitOptions
from edgeagent.machine import Machine
from edgeagent.times import rfc3339
from edgeagent.trust import certificates, creds, jwt
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.pins import load as load_pins
from tests.support.enrolling import NewDevice, ended, lines
from tests.support.proxy import Proxy
from tests.support.servers import is_alive, kill_leftovers, until
from tests.support.trusthub import TrustHub

FILES = ["device.creds", "enrolment.json", "renewal.creds", "trust.json"]


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TrustHub]:
    async with TrustHub(tmp_path / "hub") as hub:
        hub.groups, hub.labels, hub.signers = ["berlin"], {"site": "berlin"}, {"A" * 56: "operator"}
        yield hub
    kill_leftovers(tmp_path)


@pytest.fixture
def device(tmp_path: Path) -> NewDevice:
    return NewDevice(tmp_path / "device")


def left(device: NewDevice) -> list[str]:
    """The files in the state folder, but for the lock."""
    return sorted(path.name for path in device.state.iterdir() if path.name != "enrolment.lock")


# ---- the ways in -----------------------------------------------------------------------------------------------------------


async def test_a_device_is_enrolled(hub: TrustHub, device: NewDevice) -> None:
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-1", token=hub.token())
    url = f"nats-leaf://127.0.0.1:{hub.leaf_port}"
    assert said.code == 0 and f"enrolled as pi-1 with hub berlin over {url}\n" in said.out
    assert f"`edgeagent run --settings {device.settings}`" in said.out
    steps = ["key made", f"trying {url}", "linked", "admitted as pi-1"]
    assert [line[: len(step)] for line, step in zip(said.err.splitlines(), steps, strict=True)] == steps

    assert left(device) == FILES and stat.S_IMODE(device.state.stat().st_mode) == 0o700
    assert {stat.S_IMODE((device.state / name).stat().st_mode) for name in FILES} == {0o600}
    login, renewal = device.login, creds.load(device.state / "renewal.creds")
    assert (login.name, login.groups) == ("pi-1", ("berlin",)) and login.expires_at
    assert (renewal.name, renewal.seed, renewal.expires_at) == ("pi-1", login.seed, None)
    assert load_pins(device.state / "trust.json") == Pins(signers=hub.signers)
    found = device.enrolment
    assert (found.id, found.hub, found.urls, found.groups) == ("pi-1", "berlin", [url], ["berlin"])
    issued = datetime.fromtimestamp(jwt.claims(login.jwt)["iat"], timezone.utc)
    assert found.enrolled_at == rfc3339(issued), "by the hub's clock: the device's own may be wrong"


async def test_the_enrolment_is_all_the_settings_that_it_needs(hub: TrustHub, device: NewDevice) -> None:
    await device.enrolled_with(hub)
    loaded = settings.load(device.settings)
    assert (loaded.device.id, loaded.hub.urls, loaded.labels) == ("pi-1", device.enrolment.urls, {"site": "berlin"})
    with device.running():
        await until(lambda: device.is_linked, "the agent is linked")
        found = device.status()
        assert found and found.id == "pi-1" and found.groups == ["berlin"]
        assert found.credentials and found.credentials.hub == "berlin" and found.credentials.renews < found.credentials.expires


@pytest.mark.parametrize("scheme", ["nats-leaf", "ws"])
async def test_a_named_address_is_the_only_one_tried(hub: TrustHub, device: NewDevice, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{hub.ws_port if scheme == 'ws' else hub.leaf_port}"
    said = await device.enrol(url, token=hub.token())
    assert said.code == 0 and said.err.count("trying") == 1 and device.enrolment.urls == [url]


async def test_where_the_first_address_fails_the_next_one_is_tried(
    hub: TrustHub, device: NewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the websocket's port a leaf's own protocol gets no answer. In this process, where it can be waited for less long."""
    monkeypatch.setattr(conf, "DIAL_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("edgeagent.assembly.enrol.VisitOptions", partial(VisitOptions, link_seconds=4.0))
    steps: list[str] = []
    found = await enrol(
        settings.load_own(device.settings), EnrolOptions(hub=f"127.0.0.1:{hub.ws_port}", token=hub.token()), steps.append
    )
    assert found.urls == device.enrolment.urls == [f"ws://127.0.0.1:{hub.ws_port}"]
    assert "  it closed the connection, or said nothing" in steps


async def test_by_tls(tmp_path: Path, device: NewDevice) -> None:
    ends = datetime.now(timezone.utc) + timedelta(days=9)
    authority = certificates.make_authority("own", ends)
    pair = certificates.make_server(authority, ["127.0.0.1"], ends)
    for name, data in (("c.pem", pair.certificate), ("k.pem", pair.key)):
        (tmp_path / name).write_bytes(data)
    async with TrustHub(tmp_path / "hub", tls=(tmp_path / "c.pem", tmp_path / "k.pem")) as hub:
        hub.authorities = [authority.certificate.decode()]
        said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
        assert said.code == 0 and device.enrolment.urls == [f"tls://127.0.0.1:{hub.leaf_port}"]
        assert (device.state / "authorities.pem").read_bytes() == authority.certificate
        with device.running():
            await until(lambda: device.is_linked, "the agent is linked by TLS")

        websocket = NewDevice(tmp_path / "websocket")
        said = await websocket.enrol(f"wss://127.0.0.1:{hub.ws_port}", token=hub.token("t2"))
        assert said.code == 0 and websocket.enrolment.urls == [f"wss://127.0.0.1:{hub.ws_port}"]

        stranger = NewDevice(tmp_path / "stranger")
        hub.authorities = [certificates.make_authority("another", ends).certificate.decode()]
        said = await stranger.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token("t3"))
        assert said.code == 1 and "its certificate is not signed by an authority that is trusted here" in said.err
        assert left(stranger) == ["enrolment.nk"] and "provision.claim.t3" not in hub.seen


async def test_whoever_is_in_between_cannot_talk_it_out_of_tls(hub: TrustHub, device: NewDevice) -> None:
    """The attacker's hub has no TLS; the token says that the true one has."""
    token = hub.token()._replace(tls=True)
    for address in (f"127.0.0.1:{hub.leaf_port}", f"127.0.0.1:{hub.ws_port}"):
        said = await device.enrol(address, token=token)
        assert said.code == 1 and "it does not speak TLS as expected" in said.err, said
    said = await device.enrol(f"nats-leaf://127.0.0.1:{hub.leaf_port}", token=token)
    assert said.code == 2 and "by TLS only" in said.err
    assert hub.seen == []


# ---- what stands in the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbled", ["", "hello", "a.b.c~e30", "x" * 500])
async def test_a_garbled_token(hub: TrustHub, device: NewDevice, garbled: str) -> None:
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=garbled)
    assert said.code == 2 and "no claim token, or was not copied whole" in said.err and "Traceback" not in said.err
    half = hub.token().format()[:-9]
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=half)
    assert said.code == 2 and "no claim token" in said.err


async def test_no_token(device: NewDevice) -> None:
    said = await device.enrol("127.0.0.1:1")
    assert said.code == 2 and "there is no claim token" in said.err


async def test_a_token_of_another_hub(tmp_path: Path, hub: TrustHub, device: NewDevice) -> None:
    stranger = TrustHub(tmp_path / "other", name="munich")
    for token in (stranger.token(), hub.token("late", seconds=-60)):
        said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=token)
        assert said.code == 1 and "does not know this token. It is of another hub, or expired long ago" in said.err, said
        assert left(device) == ["enrolment.nk"]
    assert hub.seen == []


async def test_nobody_there(device: NewDevice, hub: TrustHub) -> None:
    said = await device.enrol("127.0.0.1:1", token=hub.token())
    assert said.code == 1 and "nats-leaf://127.0.0.1:1: nothing listens there" in said.err
    assert "ws://127.0.0.1:1: nothing listens there" in said.err
    said = await device.enrol("nowhere.invalid", token=hub.token())
    assert said.code == 1 and "nats-leaf://nowhere.invalid:7422: the name" in said.err


async def test_a_proxy_that_is_not_there(device: NewDevice, hub: TrustHub) -> None:
    said = await device.enrol("127.0.0.1", "--proxy", "http://127.0.0.1:1", token=hub.token())
    assert said.code == 1 and "ws://127.0.0.1:80: proxy 127.0.0.1:1: nothing listens there" in said.err


async def test_by_a_proxy_with_a_login(hub: TrustHub, device: NewDevice) -> None:
    async with Proxy("kim:long-secret") as proxy:
        address, token = f"ws://127.0.0.1:{hub.ws_port}", hub.token()
        said = await device.enrol(address, "--proxy", f"http://kim:wrong-one@127.0.0.1:{proxy.port}", token=token)
        assert said.code == 1 and "the proxy wants another user or password" in said.err and "wrong-one" not in said.err
        said = await device.enrol(address, "--proxy", f"http://kim:long-secret@127.0.0.1:{proxy.port}", token=token)
        assert said.code == 0 and proxy.tunnels and "long-secret" not in said.out + said.err, said
        with device.running():
            await until(lambda: device.is_linked, "the agent is linked by the proxy, without settings")
        assert "long-secret" not in device.log


async def test_the_services_refusals_are_shown_as_they_are(hub: TrustHub, device: NewDevice) -> None:
    hub.refuses = Refused("enrol this device", "this token is used up", "ask whoever runs the hub for another")
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
    assert said.code == 1 and said.err.splitlines()[-1] == f"edgeagent: {hub.refuses}"
    assert left(device) == ["enrolment.nk"] and hub.seen == ["provision.claim.t1"], "a second try would only get another reason"


async def test_a_token_that_says_no_id_is_asked_again_with_the_machines_own(hub: TrustHub, device: NewDevice) -> None:
    own = device_id(Machine())
    hub.refuses = Refused("enrol this device", f"{NO_ID}, and the device none either", "choose one with --id")
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
    assert own and said.code == 1 and hub.seen == ["provision.claim.t1"] * 2
    hub.seen.clear()
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-1", token=hub.token())
    assert said.code == 1 and hub.seen == ["provision.claim.t1"], "it named one"


async def test_a_hub_that_is_full_says_so(hub: TrustHub, device: NewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accounts._LIMITS, "PROVISION", {"conn": 600, "leaf": 0})
    hub.kill()
    await hub.start()
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
    assert said.code == 1 and "the hub has no room for newcomers just now. Try again in a minute" in said.err, said
    assert said.err.count("trying") == 1


OTHER = KeyPair.generate("user").public


@pytest.mark.parametrize("what", ["id", "name", "key", "renewal", "rubbish", "authorities"])
async def test_a_hub_that_answers_for_another_is_refused(hub: TrustHub, device: NewDevice, what: str) -> None:
    def lie(admission: Admission) -> Admission:
        key = creds.jwt.claims(admission.jwt)["sub"]
        changes = {
            "id": {"id": "pi-2", "jwt": hub.device_jwt("pi-2", key), "renewal": hub.renewal_jwt("pi-2", key)},
            "name": {"jwt": hub.device_jwt("pi-2", key)},
            "key": {"jwt": hub.device_jwt("pi-1", OTHER)},
            "renewal": {"renewal": hub.renewal_jwt("pi-1", OTHER)},
            "rubbish": {"jwt": "a.b.c"},
            "authorities": {"authorities": ["-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"]},
        }
        return msgspec.structs.replace(admission, **changes[what])

    hub.alters = lie
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-1", token=hub.token())
    assert said.code == 1 and "the hub" in said.err.splitlines()[-1] and "Traceback" not in said.err
    assert left(device) == ["enrolment.nk"]


async def test_what_a_hub_calls_itself_moves_no_cursor(hub: TrustHub, device: NewDevice) -> None:
    hub.alters = lambda admission: msgspec.structs.replace(admission, hub="berlin\x1b[2J")
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-1", token=hub.token())
    assert said.code == 0 and "\x1b" not in said.out + said.err


# ---- enrolled already ------------------------------------------------------------------------------------------------------


async def test_an_enrolled_device_stays_as_it_is(hub: TrustHub, device: NewDevice) -> None:
    await device.enrolled_with(hub)
    before = {name: (device.state / name).read_bytes() for name in FILES}
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token("t2"))
    assert said.code == 1 and "it is enrolled as pi-1 with hub berlin. `--force`" in said.err
    hub.refuses = Refused("enrol this device", "no")
    assert (await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--force", token=hub.token("t2"))).code == 1
    assert {name: (device.state / name).read_bytes() for name in FILES} == before


async def test_force_gives_up_the_old_hub(tmp_path: Path, hub: TrustHub, device: NewDevice) -> None:
    await device.enrolled_with(hub)
    before = device.login
    (device.state / "authorities.pem").write_text("of the old hub")
    async with TrustHub(tmp_path / "munich", name="munich") as munich:
        said = await device.enrol(f"127.0.0.1:{munich.leaf_port}", "--force", "--id", "pi-7", token=munich.token())
        assert said.code == 0, said
    assert (device.enrolment.hub, device.login.name) == ("munich", "pi-7") and device.login.seed != before.seed
    assert left(device) == FILES


async def test_credentials_that_a_person_put_there_are_not_lost(hub: TrustHub, device: NewDevice) -> None:
    key = KeyPair.generate("user")
    device.state.mkdir(0o700)
    file = device.state / "device.creds"
    file.write_text(creds.Credentials(hub.device_jwt("pi-9", key.public), key.seed).format())
    file.chmod(0o600)
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
    assert said.code == 1 and "it has credentials of pi-9" in said.err and creds.load(file).name == "pi-9"


# ---- killed on the way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["key made", "trying", "linked"])
async def test_killed_and_begun_again(hub: TrustHub, device: NewDevice, step: str) -> None:
    """What comes after the hub's answer: tests/unit/test_enrolfiles.py."""
    hub.open.clear()  # nothing is answered, so it can't get further than it is killed
    address = f"127.0.0.1:{hub.leaf_port}"
    process = await device.begin(address, "--id", "pi-1", token=hub.token())
    async for line in lines(process):
        if line.startswith(step):
            break
    seed = (device.state / "enrolment.nk").read_text().strip()
    with contextlib.suppress(FileNotFoundError):
        leaf = int((device.state / "visit" / "leaf.pid").read_text())
        await killed(process)
        await until(lambda: not is_alive(leaf), "its leaf ended with it")
    await killed(process)
    hub.open.set()
    assert (await device.enrol(address, "--id", "pi-1", token=hub.token())).code == 0
    assert left(device) == FILES and device.login.seed == seed


async def killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def test_two_at_once(hub: TrustHub, device: NewDevice) -> None:
    hub.open.clear()
    address = f"127.0.0.1:{hub.leaf_port}"
    first = await device.begin(address, token=hub.token())
    async for line in lines(first):
        if line == "linked":
            break
    said = await device.enrol(address, token=hub.token())
    assert said.code == 1 and f"already running as pid {first.pid}" in said.err
    hub.open.set()
    assert (await ended(first)).code == 0


# ---- secrets ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["--token", "EDGEAGENT_TOKEN", "stdin"])
async def test_secrets_are_shown_to_nobody(hub: TrustHub, device: NewDevice, way: str) -> None:
    """The words, environment and files of the command and its nats-server, while it waits for the hub's answer."""
    hub.open.clear()
    token, address = hub.token(), f"127.0.0.1:{hub.leaf_port}"
    if way == "--token":
        process = await device.begin(address, "--token", token.format())
    elif way == "stdin":
        process = await device.begin(address, token=token)
    else:
        process = await device.begin(address, **{way: token.format()})
    err = []
    async for line in lines(process):
        err.append(line)
        if line == "linked":
            break
    else:
        pytest.fail("\n".join(err))
    visit = device.state / "visit"
    seed = (device.state / "enrolment.nk").read_text().strip()
    assert len(seed) == 58
    pids = [process.pid, int((visit / "leaf.pid").read_text())]
    shown = b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ"))
    assert b"enroll" in shown and b"leaf.conf" in shown
    log = (visit / "leaf.log").read_bytes() + (visit / "leaf.out").read_bytes() + hub.log()
    hub.open.set()
    said = await ended(process)
    assert said.code == 0
    for secret in (token.jwt, token.jwt.rpartition(".")[2], seed):
        assert secret.encode() not in shown + log and secret not in said.out + said.err + "\n".join(err)
    assert not visit.exists()
    assert json.loads((device.state / "enrolment.json").read_text())["id"]


@pytest.mark.parametrize("way", ["--token", "stdin"])
async def test_the_proxys_password_is_shown_to_nobody(hub: TrustHub, device: NewDevice, way: str) -> None:
    hub.open.clear()
    address, token = f"ws://127.0.0.1:{hub.ws_port}", hub.token()
    async with Proxy("kim:long-secret") as proxy:
        words = [
            "--proxy",
            f"http://kim:long-secret@127.0.0.1:{proxy.port}",
            *(["--token", token.format()] if way == "--token" else []),
        ]
        process = await device.begin(address, *words, token=None if way == "--token" else token)
        async for line in lines(process):
            if line == "linked":
                break
        pids = [process.pid, int((device.state / "visit" / "leaf.pid").read_text())]
        shown = b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ"))
        hub.open.set()
        assert (await ended(process)).code == 0
    assert b"enroll" in shown and b"long-secret" not in shown and token.jwt.encode() not in shown
    assert "long-secret" in device.enrolment.proxy


def test_no_repr_shows_a_secret(tmp_path: Path, hub_token: ClaimToken) -> None:
    options = EnrolOptions(hub="h", token=hub_token, proxy="http://u:hidden@p:1")
    visit = VisitOptions(
        folder=tmp_path, binary=tmp_path, url="ws://h", inbox_prefix="x", credentials="hidden", proxy="http://u:hidden@p:1"
    )
    assert "hidden" not in f"{options!r}{visit!r}" and hub_token.jwt not in repr(options)


@pytest.fixture
def hub_token() -> ClaimToken:
    return ClaimToken("a.b.very-secret", "berlin", True)


async def test_state_that_others_could_read_is_refused(hub: TrustHub, device: NewDevice) -> None:
    device.state.mkdir(0o755)
    said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", token=hub.token())
    assert said.code == 1 and f"`chmod 700 {device.state}`" in said.err and left(device) == []


async def test_a_server_that_is_no_hub(device: NewDevice, hub: TrustHub) -> None:
    """It takes the connection and says something else."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    said = await device.enrol(f"ws://127.0.0.1:{port}", token=hub.token())
    server.close()
    assert said.code == 1 and "no websocket answers there" in said.err
    assert left(device) == ["enrolment.nk"]
