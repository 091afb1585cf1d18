"""Upgrades of a real device: a Debian with systemd, a hub of its own on this machine, and releases that are good, bad, and nobody's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import Debian
from tests.support.fleet import cli
from tests.support.hub import Hub, new_hub, started
from tests.support.releases import released
from tests.support.servers import kill_leftovers, until

TREE = Path(__file__).parents[2]
SETTINGS = """[leaf]
mode = "external"
port = {port}
reconnect_seconds = 0.2
[agent]
heartbeat_seconds = 2
[commands]
allow = ["ping", "agent.upgrade"]
[upgrade]
trial_seconds = 6
link_seconds = 12
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    with new_hub(folder) as hub, started(hub.up()):
        asyncio.run(until(hub.answers, "the hub is up"))
        yield hub
    kill_leftovers(folder)


def install(debian: Debian, hub: Hub, port: int) -> None:
    debian.install_wheel()
    debian.run("ln -s . /opt/edgeagent/current && ln -s . /opt/edgeagent/proven")
    debian.run("useradd --system --home-dir /var/lib/edgeagent --shell /usr/sbin/nologin edgeagent; mkdir -p /etc/edgeagent")
    (debian.root / "etc/edgeagent/agent.toml").write_text(SETTINGS.format(port=port))
    for name in ("edgeagent.service", "edgeagent-leaf.service", "edgeagent-upgrade.service", "edgeagent-upgrade.path"):
        text = (TREE / "systemd" / name).read_text().replace("/opt/edgeagent/bin/", "/opt/edgeagent/current/bin/")
        (debian.root / "etc/systemd/system" / name).write_text(text)
    token = cli("token", "create", "--groups", "berlin").out
    (debian.root / "root/token").write_text(token)
    debian.run(f"/opt/edgeagent/bin/edgeagent enroll --hub 127.0.0.1:{hub.leaf_port} --id pi-1 --token-file /root/token")
    debian.run(
        "systemctl daemon-reload; systemctl enable edgeagent edgeagent-leaf; systemctl start --no-block edgeagent; systemctl enable --now edgeagent-upgrade.path; systemctl enable edgeagent-upgrade"
    )
    debian.run("until [ -e /var/lib/edgeagent/leaf.external ]; do sleep 0.1; done; systemctl start edgeagent-leaf")


def test_by_hand(debian: Debian, hub: Hub, tmp_path: Path) -> None:
    from edgeagent.natsserver import ports

    t = time.time()
    port = ports.pick()
    install(debian, hub, port)
    print("installed", time.time() - t)
    print(
        debian.run(
            "systemctl status edgeagent edgeagent-leaf edgeagent-upgrade.path; cat /opt/edgeagent/signers.json", check=False
        ).stdout
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    from tests.support.debian import wheels as shared

    (tmp_path / "x").mkdir()
    for folder in shared(tmp_path / "x").values():
        for each in folder.glob("*.whl"):
            (wheels / each.name).symlink_to(each)
    own = next((tmp_path / "x").glob("*.whl"))
    released(own, "0.1.1", wheels)
    t = time.time()
    said = cli("fleet", "upgrade", "0.1.1", "-d", "pi-1", "--wheels", str(wheels), "--wait", timeout=100)
    print(time.time() - t, said.code, said.out, said.err)
    print(debian.journal("edgeagent-upgrade.service"))
    print(
        debian.run(
            "ls -la /opt/edgeagent /opt/edgeagent/releases; cat /opt/edgeagent/upgrade.json; du -sh /opt/edgeagent/releases/*; du -sh /opt/edgeagent; systemctl status edgeagent",
            check=False,
        ).stdout
    )
    print(cli("fleet", "ls", "--json").out)
    import os

    if os.environ.get("STAY"):
        print(debian._leader, flush=True)
        time.sleep(600)
    assert 0
