"""`edgeagent doctor` on a device that is well, and on one of which one thing is broken: that check alone says so."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.doctor import linkprobe
from edgeagent.doctor.check import Patient
from edgeagent.doctor.examine import CHECKS
from edgeagent.machine import Machine
from edgeagent.natsserver import ports
from edgeagent.trust import certificates
from tests.support import fakeroot
from tests.support.doctored import Doctored, Levels, by_check, changed, hub_that_shows, in_name_space
from tests.support.fleet import LiveFleet, cli
from tests.support.servers import until
from tests.support.tlshub import LATER, TlsHub

DEVICE = "pi-01"
PAST = datetime.now(timezone.utc) - timedelta(days=2)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHub]:
    started = TlsHub(tmp_path_factory.mktemp("tls") / "hub")

    async def start() -> None:
        await started.__aenter__()

    asyncio.run(start())
    yield started
    started.kill()


@pytest.fixture
def device(fleet: LiveFleet, hub: TlsHub, tmp_path: Path) -> Doctored:
    return _made(fleet, hub, tmp_path)


def _made(fleet: LiveFleet, hub: TlsHub, folder: Path) -> Doctored:
    fleet.do(until(lambda: _is_content(fleet), "the agent knows that it is linked, and complains of nothing"))
    (folder / "device").mkdir()
    pi = fakeroot.pi_4(folder / "pi")
    return Doctored(fleet, DEVICE, folder / "device", hub.url("tls-leaf", "localhost"), hub.authorities, pi)


def _is_content(fleet: LiveFleet) -> bool:
    seen = fleet.status(DEVICE)
    return seen.link.up and not seen.problems


@pytest.fixture(scope="module")
def well(shared_fleet: LiveFleet, hub: TlsHub, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    """What is said of a device that is well."""
    with shared_fleet.borrowed():
        return _made(shared_fleet, hub, tmp_path_factory.mktemp("well")).levels()


@dataclass(frozen=True)
class Broken:
    """One thing is broken: ``how`` does it. check: which one has to say so, with these words, and this remedy. level: as what.

    gone: the checks that have nothing to look at then.
    """

    check: str
    how: Callable[[Doctored, ExitStack], object]
    says: str
    remedy: str
    gone: frozenset[str] = frozenset()
    level: str = "wrong"


def _pair(device: Doctored, *names: str, ends: datetime = LATER, stranger: bool = False) -> certificates.Pair:
    authority = certificates.make_authority("CA", LATER)
    if not stranger:
        (device.state / "authorities.pem").write_bytes(authority.certificate)
    return certificates.make_server(authority, names, ends)


def _shows(*names: str, ends: datetime = LATER, stranger: bool = False, scheme: str = "tls") -> Callable[..., None]:
    def how(device: Doctored, stack: ExitStack) -> None:
        pair = _pair(device, *names, ends=ends, stranger=stranger)
        port = stack.enter_context(hub_that_shows(pair, device.folder, greets=scheme != "tls"))
        device.write(urls=[f"{scheme}://localhost:{port}"])

    return how


def _speaks_no_tls(device: Doctored, stack: ExitStack) -> None:
    device.write(urls=[f"tls://localhost:{device.values['port']}"])


def _no_name(device: Doctored, stack: ExitStack) -> None:
    device.write(urls=["tls://no-such-hub.invalid:7422"])


def _nobody_there(device: Doctored, stack: ExitStack) -> None:
    device.write(urls=[f"tls://localhost:{ports.pick()}"])


def _credentials(device: Doctored, name: str, seconds: float) -> None:
    path = device.state / "device.creds"
    path.write_text(device.fleet.owner.device_credentials(name, [], expires_in_seconds=seconds).format())


def _another_architecture(device: Doctored, stack: ExitStack) -> None:
    program = device.folder / "nats-server"
    head = bytearray(Path(sys.executable).resolve().read_bytes()[:64])
    head[18:20] = (0x16).to_bytes(2, "little")  # S/390: no machine of ours
    program.write_bytes(head)
    program.chmod(0o755)
    device.write(server=str(program))


def _old_server(device: Doctored, stack: ExitStack) -> None:
    program = device.folder / "nats-server"
    program.write_text("#!/bin/sh\necho nats-server: v2.10.1\n")
    program.chmod(0o755)
    device.write(server=str(program))


def _ended(device: Doctored, stack: ExitStack) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    device.change_status(pid=process.pid)


def _wear(name: str, text: str) -> Callable[..., object]:
    return lambda device, stack: device.pi.write(f"/sys/class/block/mmcblk0/device/{name}", text)


BREAKAGES = {
    "settings that others can write": Broken(
        "files", lambda device, _: device.settings.chmod(0o666), "others on this machine can change", "sudo chmod go-w"
    ),
    "a key that others can read": Broken(
        "files", lambda device, _: (device.state / "device.creds").chmod(0o644), "can read", "sudo chmod go-rwx"
    ),
    "a state folder that others can enter": Broken(
        "files", lambda device, _: device.state.chmod(0o755), "can enter", "chmod go-rwx"
    ),
    "credentials that expired": Broken(
        "credentials", lambda device, _: _credentials(device, DEVICE, -2 * 86_400), "expired 2d ago", "edgeagent enroll --force"
    ),
    "credentials of another device": Broken(
        "credentials", lambda device, _: _credentials(device, "pi-77", 86_400 * 90), "that of 'pi-77'", "put this device's own"
    ),
    "no credentials": Broken(
        "credentials", lambda device, _: (device.state / "device.creds").unlink(), "none at", "edgeagent enroll"
    ),
    "credentials cut in half": Broken(
        "credentials",
        lambda device, _: os.truncate(device.state / "device.creds", 300),
        "can't be used",
        "edgeagent enroll --force",
    ),
    "a nats-server of another architecture": Broken(
        "nats-server", _another_architecture, "is for another machine", "leaf.server"
    ),
    "an old nats-server": Broken("nats-server", _old_server, "it is nats-server 2.10.1", "nats-server"),
    "no nats-server": Broken(
        "nats-server", lambda device, _: device.write(server="/no/such"), "there is no file /no/such", "correct `leaf.server`"
    ),
    "too little voltage": Broken(
        "power", lambda device, _: device.pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1"), "too low now", "power supply"
    ),
    "a file system with errors": Broken(
        "card",
        lambda device, _: device.pi.write("/sys/fs/ext4/mmcblk0p2/errors_count", "3"),
        "has met 3 errors",
        "replace the card",
    ),
    "a memory that is worn out": Broken("card", _wear("life_time", "0x03 0x0b"), "is over", "replace it"),
    "a memory without spare blocks": Broken("card", _wear("pre_eol_info", "0x03"), "used up", "replace it"),
    "a store larger than the disk": Broken(
        "store",
        lambda device, _: (device.state / "store.json").write_text(
            json.dumps({"limit_bytes": 1 << 50, "wished_bytes": 1, "floor_bytes": 1, "disk_bytes": 1})
        ),
        "may grow to 1024.0 TiB",
        "leaf.store_max_bytes",
    ),
    "the overlay of raspi-config": Broken(
        "storage",
        lambda device, _: (
            device.pi.root_on("0:30", "overlayroot", "rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay", "overlay"),
            device.pi.write("/proc/cmdline", "console=tty1 root=PARTUUID=1-02 overlayroot=tmpfs"),
        ),
        "gone after a reboot",
        "raspi-config",
        frozenset({"card"}),
    ),
    "an agent that ended": Broken("agent", _ended, "it does not run; it was last heard", "edgeagent run", frozenset({"link"})),
    "a leaf that is not there": Broken(
        "leaf",
        lambda device, _: (device.write(port=(port := ports.pick())), device.change_status(leaf={"port": port})),
        "nothing answers at nats://127.0.0.1:",
        "why it ended",
    ),
    "a name that nobody knows": Broken(
        "dns", _no_name, "no-such-hub.invalid: the DNS", "getent hosts no-such-hub.invalid", frozenset({"hub", "tls"})
    ),
    "a hub that is not there": Broken("hub", _nobody_there, "nothing listens there", "firewalls", frozenset({"tls"})),
    "a certificate that expired": Broken("tls", _shows("localhost", ends=PAST), "has expired", "edgeagent hub tls renew"),
    "a certificate for another name": Broken("tls", _shows("hub.example"), "is for another name", "edgeagent hub tls show"),
    "a certificate of a stranger's": Broken(
        "tls", _shows("localhost", stranger=True), "not signed by", "somebody may be in between"
    ),
    "a stranger's, after its first words": Broken(
        "tls", _shows("localhost", stranger=True, scheme="nats-leaf"), "not signed by", "in between"
    ),
    "a hub without TLS": Broken("tls", _speaks_no_tls, "does not speak TLS", "check the address"),
    "authorities that are none": Broken(
        "tls", lambda device, _: (device.state / "authorities.pem").write_text("none"), "holds no certificates", "runs the hub"
    ),
    "a certificate that ends soon": Broken(
        "tls", _shows("localhost", ends=datetime.now(timezone.utc) + timedelta(days=3)), "ends in", "hub tls show", level="warn"
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_said_alone_and_with_its_remedy(device: Doctored, well: Levels, name: str) -> None:
    broken = BREAKAGES[name]
    with ExitStack() as stack:
        broken.how(device, stack)
        findings = device.findings()
    said = [finding for finding in findings if finding.level == broken.level and finding.check == broken.check]
    assert len(said) == 1 and broken.says in said[0].text and broken.remedy in said[0].remedy, said
    after = {
        check: [finding.level for finding in findings if finding.check == check] for check in {each.check for each in findings}
    }
    assert changed(well, after) == {broken.check, *broken.gone}
    assert not broken.gone & {*after}


def test_a_device_that_is_well(well: Levels) -> None:
    assert {level for levels in well.values() for level in levels} == {"good"}
    absent = {"actions"}  # no systemd
    assert {*well} == {check.name for check in CHECKS} - absent


@pytest.fixture(scope="module")
def here(shared_fleet: LiveFleet, hub: TlsHub, tmp_path_factory: pytest.TempPathFactory) -> Levels:
    """The same, with this machine around it in the place of a Pi."""
    with shared_fleet.borrowed():
        return _made(shared_fleet, hub, tmp_path_factory.mktemp("here")).levels(Machine())


def test_another_program_at_the_leafs_port(device: Doctored, here: Levels) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        device.write(port=taken.getsockname()[1])
        findings = device.findings(Machine())
    (said,) = [finding for finding in findings if finding.check == "port"]
    assert said.level == "wrong" and f"(pid {os.getpid()})" in said.text and "`leaf.port`" in said.remedy
    assert changed(here, by_check(findings)) == {"port"}


@pytest.mark.parametrize(
    "script",
    [
        'mount --bind "$STATE" "$STATE" && mount -o remount,bind,ro "$STATE"',
        'cp -a "$STATE/." "$ROOM" && mount -t tmpfs -o mode=700 none "$STATE" && cp -a "$ROOM/." "$STATE"',
        'mount -t tmpfs none "$ROOM" && mkdir "$ROOM/up" "$ROOM/work" && chmod 700 "$ROOM/up" && '
        'mount -t overlay -o lowerdir="$STATE",upperdir="$ROOM/up",workdir="$ROOM/work" none "$STATE"',
    ],
    ids=["read-only", "in memory", "on an overlay"],
)
def test_a_state_folder_that_keeps_nothing(device: Doctored, here: Levels, script: str) -> None:
    after = in_name_space(script, device)
    assert after["storage"] == ["wrong"] and changed(here, after) <= {"storage", "card"}


def test_a_full_disk(device: Doctored) -> None:
    """A small one, on which all was well, but that it is in memory."""
    small = (
        'cp -a "$STATE/." "$ROOM" && mount -t tmpfs -o mode=700,size=96m,nr_inodes=300 none "$STATE" && cp -a "$ROOM/." "$STATE"'
    )
    before = in_name_space(small, device)
    full = in_name_space(f'{small}; head -c 92m /dev/zero > "$STATE/ballast"', device)
    assert full["disk"] == ["wrong"] and changed(before, full) == {"disk", "store"} and full["store"] == ["warn"]
    crowded = in_name_space(f'{small}; for n in $(seq 250); do : > "$STATE/$n"; done', device)
    assert "wrong" in crowded["disk"] and changed(before, crowded) == {"disk"}


def test_a_clock_that_is_wrong(device: Doctored, well: Levels) -> None:
    after = device.levels(now=lambda: datetime(2021, 1, 1, tzinfo=timezone.utc).timestamp())
    assert after["clock"] == ["wrong"] and changed(well, after) == {"clock"}


def test_a_link_that_is_cut_and_one_that_looks_well(device: Doctored, well: Levels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linkprobe, "ANSWER_SECONDS", 0.5)
    device.fleet.cut(DEVICE, silent=True)
    (said,) = [each for each in device.findings() if each.check == "link"]
    assert said.level == "wrong" and "it looks linked, and the hub does not answer" in said.text
    device.fleet.restore(DEVICE)
    device.fleet.whole()
    device.fleet.cut_and_known(DEVICE)
    device.copy_status()
    findings = device.findings()
    (said,) = [each for each in findings if each.check == "link"]
    assert said.level == "wrong" and "not linked since" in said.text and "last acknowledged" in said.text and said.remedy
    assert changed(well, by_check(findings)) - {"agent"} == {"link"}, "the agent may complain of what it could not send"


def test_the_hubs_clock_is_asked(device: Doctored) -> None:
    device.copy_status()
    found = linkprobe.read(Patient.load(lambda: settings.load(device.settings)))
    assert found.milliseconds is not None and found.ahead_seconds is not None and abs(found.ahead_seconds) < 30


def test_an_ordinary_user_is_told_what_only_root_may_see(device: Doctored, well: Levels) -> None:
    device.levels()  # puts the status there
    if os.geteuid() == 0:
        for path in (*device.folder.parents, device.folder):
            if path.stat().st_mode & 0o005 != 0o005 and str(path).startswith("/tmp/"):
                path.chmod(0o755)
        after = _as_nobody(device)
    else:
        device.state.chmod(0)
        after = device.levels()
    assert {name for name, levels in after.items() if levels == ["unknown"]} == {"files", "store", "credentials", "tls"}
    assert "wrong" not in {level for levels in after.values() for level in levels}
    assert changed(well, after) == {"files", "store", "credentials", "tls"}


def _as_nobody(device: Doctored) -> Levels:
    """Another user's Python need not be able to read ours, so a child changes its user when all is loaded."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            nobody = pwd.getpwnam("nobody")
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            os.write(writer, json.dumps(device.levels()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123  # a descriptor
        said = pipe.read()
    os.waitpid(child, 0)
    found: Levels = json.loads(said)
    return found


def test_the_command_line(device: Doctored) -> None:
    device.copy_status()
    device.settings.chmod(0o666)
    said = cli("doctor", "--settings", str(device.settings), "--json")
    found = {each["check"]: each for each in json.loads(said.out)}
    assert said.code == 1 and set(found["files"]) == {"check", "level", "text", "remedy"} and said.err == ""
    assert [name for name, each in found.items() if each["level"] == "wrong"] == ["files"]
    device.settings.chmod(0o644)
    said = cli("doctor", "--settings", str(device.settings))
    assert said.code == 0 and "ok     link         the hub acknowledged just now" in said.out
    assert said.out.splitlines()[-1].startswith("nothing wrong")
