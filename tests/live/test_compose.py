"""deploy/compose/compose.yaml, done without docker: its services as processes of their own, with the commands, environments, volumes,
names and health checks that it says, on real nats-servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.composed import Composed, needed
from tests.support.servers import until

FILE = Path(__file__).parents[2] / "deploy" / "compose" / "compose.yaml"
HOST = "hub.example.org"
VARIABLES = {"EDGEAGENT_HOST": HOST, "GRAFANA_PASSWORD": "secret", "EDGEAGENT_STORE_BYTES": str(256 << 20)}
SERVERS = ("hub-1", "hub-2", "hub-3")
#: For what a cluster does on a busy machine, in seconds.
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    needed()
    with Composed(FILE, tmp_path_factory.mktemp("composed"), VARIABLES) as composed:
        made = composed.run("init", "--no-passphrase")
        assert made.returncode == 0, made.stderr
        yield composed


async def becomes_healthy(hub: Composed, name: str) -> None:
    await until(lambda: asyncio.to_thread(hub.healthy, name), f"{name} is healthy", PATIENCE_SECONDS)


async def test_it_comes_up_healthy_and_outlives_a_server(hub: Composed) -> None:
    running = {name: hub.up(name) for name in SERVERS}
    await until(lambda: all(hub.says(name, "nats-server: running") for name in SERVERS), "they listen", PATIENCE_SECONDS)
    hub.up("serve")  # it reaches the servers by the name that people use
    told = {**dict.fromkeys(SERVERS, "the hub is up"), "serve": "one more of the hub's services runs"}
    await until(lambda: all(hub.says(name, text) for name, text in told.items()), "all are up", PATIENCE_SECONDS)
    await asyncio.gather(*(becomes_healthy(hub, name) for name in told))
    token = hub.run("tool", "token", "create")
    assert token.returncode == 0 and f"--hub {HOST},{HOST}:7423,{HOST}:7424" in token.stderr, token
    hub.kill("hub-1")
    running["hub-1"].wait()
    assert not hub.healthy("hub-1")
    await until(lambda: hub.run("tool", "token", "ls").returncode == 0, "people go on while a server is away", PATIENCE_SECONDS)


def test_whoever_takes_a_container_over_can_write_its_volume_only(hub: Composed) -> None:
    tries = "; ".join(
        f"touch {path}/mine 2>/dev/null && echo {path}" for path in ("", "/usr", "/etc", "/opt/edgeagent", "/hub", "/tmp")
    )
    said = hub.inside("hub-2", "sh", "-c", f"{tries}; grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status; rm -f /hub/mine")
    paths = [line for line in said.stdout.splitlines() if line.startswith("/")]
    assert paths == ["/hub", "/tmp"], said
    status = dict(line.split(":\t") for line in said.stdout.splitlines() if ":\t" in line)
    assert {int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {0} and status["NoNewPrivs"] == "1"


def test_each_server_has_its_own_folder_and_the_same_keys(hub: Composed) -> None:
    folders = [hub.volume(name) for name in SERVERS]
    assert len({(folder / "keys" / "public.json").read_bytes() for folder in folders}) == 1
    assert len({(folder / "hub.toml").read_bytes() for folder in folders}) == 3
    assert all((folder / "hub.toml").stat().st_uid == 10001 and (folder.stat().st_mode & 0o777) == 0o700 for folder in folders)
    again = hub.run("init", "--no-passphrase")
    assert again.returncode != 0 and "there is one already" in again.stderr, again
