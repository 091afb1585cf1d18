"""The lines of docs/install.md, typed by an ordinary user on a Debian with a real systemd, to a real hub."""

from __future__ import annotations

import asyncio
import json
import platform
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import deb
from edgeagent.assembly import shipped
from edgeagent.natsserver import ports
from tests.support.debian import Debian, booted, missing, python, wheels
from tests.support.fleet import cli
from tests.support.hub import Hub, new_hub, started
from tests.support.servers import until

TREE = Path(__file__).parents[2]


@dataclass
class Site:
    """A machine and a hub that it may become a device of. port, mqtt_port: where its leaf listens, for the machine shares our network."""

    debian: Debian
    hub: Hub
    port: int
    mqtt_port: int

    def typed(self, line: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """As the user pi."""
        return self.debian.run(line, user="pi", check=check)

    def token(self) -> str:
        said = cli("token", "create", "--groups", "berlin", "--uses", "9", "--json")
        return str(json.loads(said.out)["token"])

    def online(self) -> list[str]:
        return sorted(
            row["id"] for row in json.loads(cli("fleet", "ls", "--json", "--timeout", "1").out) if row["state"] == "online"
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.hub.leaf_port}"

    def take_port(self) -> None:
        """Have the leaf listen where no other test's does."""
        self.typed(f"sudo sed -i 's/^mode = .*/&\\nport = {self.port}/' /etc/edgeagent/agent.toml")
        self.typed(f"printf '[mqtt]\\nport = {self.mqtt_port}\\n' | sudo tee -a /etc/edgeagent/agent.toml")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if why := missing():
        pytest.skip(why)
    shared = wheels(tmp_path_factory.mktemp("wheel"))
    package = tmp_path_factory.mktemp("deb")
    (own,) = shared["edgeagent"].glob("*.whl")
    deb.build(package, own, shared["wheels"], platform.machine(), python(), compression="none").rename(package / "edgeagent.deb")
    with (
        booted(tmp_path_factory.mktemp("debian"), {**shared, "deb": package}) as debian,
        new_hub(tmp_path_factory.mktemp("hub")) as hub,
        started(hub.up()),
    ):
        asyncio.run(until(hub.answers, "the hub answers"))
        yield Site(debian, hub, ports.pick(), ports.pick())


def test_from_a_virtual_environment_to_fleet_ls(site: Site) -> None:
    site.typed("sudo python3 -m venv /opt/edgeagent")
    site.typed("sudo /opt/edgeagent/bin/pip install edgeagent")
    site.typed("sudo ln -s /opt/edgeagent/bin/edgeagent /usr/local/bin/")
    tried = site.typed("edgeagent install --dry-run")
    assert "would change" in tried.stdout and not (site.debian.root / "etc/edgeagent").exists()
    refused = site.typed("edgeagent install", check=False)
    assert refused.returncode == 1 and "sudo" in refused.stderr
    for token in ("echo nonsense", ":"):
        bad = site.typed(f"{token} | sudo edgeagent install --hub 127.0.0.1 --token-file -", check=False)
        assert bad.returncode == 2 and not bad.stdout and not (site.debian.root / "etc/edgeagent").exists()
    assert "next: `sudo edgeagent install --hub" in site.typed("sudo edgeagent install").stdout
    assert site.typed("systemctl is-active edgeagent", check=False).stdout == "inactive\n", "it is nobody's device yet"
    site.take_port()
    site.typed("sudo systemctl start edgeagent")  # as a boot would: it is on its own, by another name
    said = site.typed(f"echo {site.token()} | sudo edgeagent install --hub {site.address} --token-file - --id oven-7")
    assert "oven-7 is linked to hub berlin" in said.stdout
    assert site.online() == ["oven-7"]
    for unit in ("edgeagent.service", "edgeagent-leaf.service", "edgeagent-leaf.path"):
        assert site.typed(f"systemctl is-active {unit}; systemctl is-enabled {unit}").stdout == "active\nenabled\n", unit


def test_a_second_time_there_is_nothing_to_do(site: Site) -> None:
    pids = site.typed("systemctl show --property=MainPID edgeagent edgeagent-leaf").stdout
    said = site.typed(f"sudo edgeagent install --hub {site.address} --token {site.token()} --json")
    found = json.loads(said.stdout)
    assert (found["changed"], found["linked"], found["id"], found["hub"]) == (False, True, "oven-7", "berlin")
    assert {step["state"] for step in found["steps"]} == {"done"}
    assert site.typed("systemctl show --property=MainPID edgeagent edgeagent-leaf").stdout == pids
    assert "nothing to do" in site.typed("sudo edgeagent install").stdout


#: What whoever has the agent can leave for the next enrolment: one that was broken off when all was there, with pins of its own.
PLANTED = "umask 077 && grep -o '^SU[A-Z0-9]*' device.creds > enrolment.nk && sed -i 's/\"A[A-Z0-9]*\"/\"AMALLORY\"/' trust.json"


def test_an_enrolment_that_was_planted_gives_root_nobody_to_follow(site: Site) -> None:
    pins, signers = (site.debian.root / path for path in ("var/lib/edgeagent/trust.json", "opt/edgeagent/signers.json"))
    before = pins.read_bytes(), signers.read_bytes()
    (site.debian.root / "srv/planted").write_text(f"cd /var/lib/edgeagent && {PLANTED}\n")
    site.debian.run("runuser -u edgeagent -- sh /srv/planted")
    said = site.typed(f"echo {site.token()} | sudo edgeagent enroll --hub {site.address} --token-file -")
    assert "enrolled as oven-7" in said.stdout and b"AMALLORY" in pins.read_bytes()
    assert signers.read_bytes() == before[1]
    pins.write_bytes(before[0])


def test_the_leaf_outlives_its_agent_and_both_come_back_after_a_boot(site: Site) -> None:
    before = site.typed("systemctl show --property=MainPID --value edgeagent-leaf").stdout
    site.typed("sudo systemctl restart edgeagent")
    assert site.typed("systemctl show --property=MainPID --value edgeagent-leaf").stdout == before
    site.debian.pull_the_plug()
    site.debian.boot()
    assert "oven-7 is linked" in site.typed("sudo edgeagent install").stdout
    assert site.online() == ["oven-7"]


async def test_the_agent_sees_what_its_locked_down_leaf_has_open(site: Site) -> None:
    site.typed("sudo edgeagent mcu add oven", check=False)  # it says that the leaf must be restarted
    site.typed("sudo systemctl restart edgeagent-leaf")
    shown = f"mqtt://127.0.0.1:{site.mqtt_port}"
    await until(lambda: shown in site.typed("edgeagent status", check=False).stdout, "the agent sees the leaf's port for MQTT")


def test_a_link_that_does_not_come_is_said_with_its_remedy(site: Site) -> None:
    site.typed("sudo systemctl stop edgeagent edgeagent-leaf && sudo systemctl mask --runtime --now edgeagent-leaf")
    assert "is not running; this is what it knew" in site.typed("edgeagent status", check=False).stdout
    said = site.typed("sudo edgeagent install --wait 2", check=False)
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert "cannot " in said.stderr and "edgeagent-leaf" in said.stderr
    site.typed("sudo systemctl unmask --runtime edgeagent-leaf && sudo edgeagent install")


#: What somebody who took a service over would try, each as root and as the service's user where that is more.
TRIES = {
    "root": [
        "touch /etc/edgeagent/agent.toml",
        "touch /opt/edgeagent/bin/mine",
        "ls /home/pi/.profile",
        "unshare --user true",
        "mount -t tmpfs none /mnt",
        "head -c1 /dev/kmsg",
        "hostname mine",
        "ip link set lo down",
        "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'",
    ],
    "": ["cat /etc/shadow", "ls /proc/1/status", "sudo -n true", "systemctl stop edgeagent"],
}


@pytest.mark.parametrize("unit", ["edgeagent-leaf.service", *shipped.HUB_UNITS])
@pytest.mark.parametrize("user", TRIES)
def test_whoever_takes_a_service_over_gets_nothing_of_the_machine(site: Site, unit: str, user: str) -> None:
    script = "; ".join(f"if {line}; then echo GOT: {line[:20]!r}; fi" for line in TRIES[user])
    root, name = site.debian.root, f"tried-{user}-{unit}"
    (root / "srv/tries").write_text(f"{script}; echo tried all\n")
    text = re.sub(r"(?m)^(Condition|Restart|Type|ExecReload).*\n", "", (TREE / "systemd" / unit).read_text())
    text = re.sub(r"(?m)^ExecStart=.*$", "Type=oneshot\nExecStart=/bin/sh /srv/tries", text)
    text = re.sub(r"(?m)^User=.*$", f"User={user or 'edgeagent'}", text)
    (root / "etc/systemd/system" / name).write_text(text)
    try:
        site.debian.run(f"systemctl start {name}")
    finally:
        (root / "etc/systemd/system" / name).unlink()
    said = site.debian.journal(name)
    assert "tried all" in said and "GOT" not in said, said


#: What a command has begun, which is no part of the agent's own unit.
BEGUN = "sudo systemd-run --quiet --property=User=edgeagent --unit=edgeagent-action-01J0000000000000000000000Z sleep 600"


def test_uninstall_keeps_the_device_and_says_where(site: Site) -> None:
    site.typed(BEGUN)
    site.typed("sudo cp -al /opt/edgeagent /srv/environment")
    asked = site.typed("sudo edgeagent uninstall --purge", check=False)
    assert asked.returncode == 2 and "--yes" in asked.stderr
    said = site.typed("sudo edgeagent uninstall").stdout
    assert "kept     /etc/edgeagent and /var/lib/edgeagent" in said
    assert (site.debian.root / "var/lib/edgeagent/device.creds").exists()
    assert left_in(site.debian.root) == [] and "edgeagent" not in site.typed("ls /run").stdout
    assert "edgeagent" not in site.typed("systemctl list-units --plain --no-legend 'edgeagent*'").stdout


def left_in(root: Path) -> list[str]:
    """What names edgeagent where programs, units and rules are."""
    folders = ("opt", "etc/systemd", "etc/udev", "usr/local", "usr/lib/systemd", "usr/lib/sysusers.d", "usr/bin")
    return [str(path) for folder in folders for path in (root / folder).rglob("*edgeagent*")]


def test_the_debian_package_finds_it_again(site: Site) -> None:
    site.typed("sudo apt-get install -qy /srv/deb/edgeagent.deb")
    said = site.typed("sudo edgeagent install").stdout
    assert "oven-7 is linked to hub berlin" in said and site.online() == ["oven-7"]
    assert "nothing to do" in site.typed("sudo edgeagent install").stdout
    refused = site.typed("sudo edgeagent uninstall", check=False)
    assert refused.returncode == 2 and "sudo apt remove edgeagent" in refused.stderr


def test_a_package_that_is_not_older_than_what_came_from_afar_counts(site: Site) -> None:
    current = site.debian.root / "opt/edgeagent/current"
    for release, left in (("releases/99.0.0", "releases/99.0.0"), ("releases/0.0.1", ".")):
        site.typed(f"sudo ln -sfn {release} /opt/edgeagent/current && sudo /var/lib/dpkg/info/edgeagent.postinst configure ''")
        assert str(current.readlink()) == left
    assert site.online() == ["oven-7"]


def test_a_hub_runs_as_a_locked_down_service(site: Site) -> None:
    port, leaf_port = ports.pick(), ports.pick()
    made = f"--dir /var/lib/edgeagent-hub --name home --client-port {port} --leaf-port {leaf_port} --store-bytes 268435456"
    site.typed(f"sudo edgeagent hub init {made} --tls-self --no-passphrase --admin olga")
    assert site.typed("sudo systemctl enable --now edgeagent-hub", check=False).returncode == 0, site.debian.journal(
        "edgeagent-hub"
    )
    assert "home" in site.typed("sudo edgeagent hub status --dir /var/lib/edgeagent-hub").stdout
    site.typed("sudo edgeagent token create --groups berlin")
    site.typed("sudo systemctl disable --now edgeagent-hub")


def test_apt_remove_keeps_the_device_and_purge_does_not(site: Site) -> None:
    site.typed(BEGUN)
    site.typed("sudo apt-get remove -qy edgeagent")
    assert site.typed("pgrep -u edgeagent", check=False).stdout == ""
    assert left_in(site.debian.root) == [] and (site.debian.root / "var/lib/edgeagent/device.creds").exists()
    site.typed("sudo apt-get purge -qy edgeagent")
    assert not (site.debian.root / "var/lib/edgeagent").exists() and not (site.debian.root / "etc/edgeagent").exists()
    assert "edgeagent:" not in (site.debian.root / "etc/passwd").read_text()


def test_what_user_data_does_at_the_first_boot(site: Site) -> None:
    """Its script as cloud-init would run it, with the token where it puts that; the environment is that of the first test."""
    site.typed("sudo mkdir -p /opt && sudo mv /srv/environment /opt/edgeagent")
    token = site.token()
    text = (TREE / "deploy/cloud-init/user-data").read_text()
    given = text.replace("content: TOKEN", f"content: {token}").replace("hub.example", site.address)
    assert "python3 -m venv /opt/edgeagent\n" in text and "/opt/edgeagent/bin/pip install edgeagent\n" in text
    assert text.count("TOKEN") == 1 and given.count(site.address) == 1
    script = textwrap.dedent(re.search(r"per-boot/edgeagent\n.*?content: \|\n(.*)\Z", given, re.S)[1])  # type: ignore[index]
    root = site.debian.root
    for path, content, mode in (
        ("root/edgeagent.token", token, 0o600),
        ("var/lib/cloud/scripts/per-boot/edgeagent", script, 0o700),
        ("boot/firmware/user-data", given, 0o644),
        ("etc/edgeagent/agent.toml", f'[leaf]\nmode = "external"\nport = {site.port}\n', 0o644),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
        (root / path).chmod(mode)
    site.debian.run("hostname pi-017 && /var/lib/cloud/scripts/per-boot/edgeagent")
    assert site.online() == ["pi-017"]
    assert not (root / "root/edgeagent.token").exists() and not (root / "var/lib/cloud/scripts/per-boot/edgeagent").exists()
    assert token not in (root / "boot/firmware/user-data").read_text()
    site.typed("sudo edgeagent uninstall --purge --yes")
    assert left_in(root) == [] and not (root / "var/lib/edgeagent").exists() and not (root / "etc/edgeagent").exists()
