"""What the status file says is wrong, and with it what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import settings, status
from edgeagent.assembly.devicestatus import StatusKeeper
from edgeagent.assembly.statusled import Light
from edgeagent.errors import Failed, Unreachable
from edgeagent.hub.owner import Owner
from edgeagent.status import CommandsStatus, LeafStatus, Problem, Status
from edgeagent.wire import LinkRepairs

URL = "nats-leaf://hub.example:7422"


class Kept:
    """A keeper, and what it has written."""

    def __init__(self, folder: Path, more: str = "") -> None:
        text = f'[device]\nid = "pi-01"\n[hub]\nurls = ["{URL}"]\n[paths]\nstate = "."\nruntime = "."\n{more}'
        self.settings = settings.parse(text, folder / "agent.toml")
        self.keeper = StatusKeeper(self.settings, "pi-01", [])

    def read(self) -> Status:
        self.keeper.close()
        return status.read(self.settings.status_file)

    def wrong(self) -> list[str]:
        return [problem.what for problem in self.read().problems]


@pytest.fixture
def keyring() -> Owner:
    return Owner.create("hub")


def give(folder: Path, keyring: Owner, seconds: float = 86400) -> None:
    path = folder / "device.creds"
    path.touch(0o600)
    path.write_text(keyring.device_credentials("pi-01", [], expires_in_seconds=seconds).format())


async def test_the_reason_is_shown(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    kept = Kept(tmp_path)
    assert kept.wrong() == [f"the hub does not acknowledge ({URL})"]
    kept.keeper.link_tried(Unreachable("store it", "no answer within 5 s"))
    assert kept.wrong() == [f"the hub does not acknowledge ({URL}): no answer within 5 s"]
    assert not kept.read().link.up
    assert kept.read().problems[0].remedy.endswith(f"the leaf's log: {tmp_path}/leaf.log")
    kept.keeper.link_tried(None)
    assert kept.wrong() == [] and kept.read().link.up and kept.read().link.acknowledged


async def test_commands_are_asked_for_when_it_is_written(tmp_path: Path) -> None:
    kept, now = Kept(tmp_path), [CommandsStatus(waiting=1000, last="ping", last_state="succeeded")]
    kept.keeper.commands_changed(lambda: now[0])
    assert kept.read().commands == now[0] and kept.read().waiting == {"commands": 1000}
    now[0] = CommandsStatus(running=1, unreported=2)
    assert kept.read().commands == now[0] and kept.read().waiting == {"results": 2}

    def gone() -> CommandsStatus:
        raise Failed("keep the commands", "it is closed")

    kept.keeper.commands_changed(gone)
    assert kept.read().waiting == {"results": 2}, "what was known last"


async def test_the_leafs_log_knows_better(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    log = tmp_path / "leaf.log"
    log.write_text("[ERR] lid:6 - TLS leafnode handshake error: tls: x509: certificate signed by unknown authority\n")
    kept = Kept(tmp_path)
    kept.keeper.link_tried(Unreachable("store it", "no answer within 5 s"))
    (problem,) = kept.read().problems
    assert problem.what.startswith(f"the hub does not acknowledge ({URL}): its certificate is not signed by an authority")
    assert "the network" not in problem.remedy and problem.remedy.endswith(f"the leaf's log: {log}")
    log.write_text("[ERR] Error trying to connect as leafnode to remote server: connection refused\n")
    kept.keeper.link_lost()
    assert kept.read().problems[0].remedy.startswith("check the network"), "that may pass"
    log.write_text("[ERR] lid:6 - Credentials file has malformed seed\n")
    assert Kept(tmp_path, '[leaf]\nmode = "external"').wrong() == [f"the hub does not acknowledge ({URL})"], "not its log"


async def test_a_report_that_the_hub_refuses_is_no_missing_link(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    kept = Kept(tmp_path)
    kept.keeper.link_tried(None)
    kept.keeper.report_tried(Failed("store it", "message size exceeds maximum allowed"))
    found = kept.read()
    assert found.link.up and "does not keep this device's report: message size exceeds" in found.problems[0].what
    assert found.problems[0].remedy
    kept.keeper.report_tried(None)
    assert kept.wrong() == []


async def test_a_heartbeat_that_the_hub_refuses_came_through(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    kept = Kept(tmp_path)
    kept.keeper.link_tried(Failed("store it", "maximum bytes exceeded"))
    found = kept.read()
    assert (found.link.up, found.link.acknowledged) == (True, "")
    assert "does not keep this device's heartbeat: maximum bytes exceeded" in found.problems[0].what
    kept.keeper.link_lost()
    assert not kept.read().link.up and kept.wrong() == [f"the hub does not acknowledge ({URL})"]


async def test_expired_credentials_are_the_reason(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, seconds=-2 * 86400 - 60)
    kept = Kept(tmp_path)
    kept.keeper.link_tried(Unreachable("store it", "nobody answers there"))
    (problem,) = kept.read().problems
    assert problem.what == f"the credentials at {tmp_path}/device.creds expired 2d ago"
    assert problem.remedy.startswith("get new ones from whoever runs the hub")
    give(tmp_path, keyring)
    kept.keeper.link_lost()
    assert "expired" not in kept.wrong()[0], "new ones were put there"


async def test_what_an_led_shows(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    kept, shown = Kept(tmp_path), list[Light]()
    kept.keeper = StatusKeeper(kept.settings, "pi-01", [], shown.append)

    def light() -> Light:
        kept.keeper.close()
        return shown[-1]

    assert light() is Light.STARTING
    kept.keeper.begun()
    assert light() is Light.UNLINKED
    kept.keeper.link_tried(None)
    assert light() is Light.LINKED
    kept.keeper.store_changed([Problem("the store takes nothing")])
    assert light() is Light.TROUBLE
    kept.keeper.store_changed([])
    kept.keeper.link_tried(Failed("store it", "maximum bytes exceeded"))
    assert light() is Light.TROUBLE, "the hub is there, and does not keep what it is sent"
    kept.keeper.link_tried(Unreachable("store it", "no answer within 5 s"))
    assert light() is Light.UNLINKED


async def test_repairs_of_the_link_outlive_its_changes(tmp_path: Path) -> None:
    kept, repairs = Kept(tmp_path), LinkRepairs(dialled=1, last="dialled", time="2026-11-21T11:55:00.000Z")
    kept.keeper.link_repaired(repairs)
    for change in (kept.keeper.link_lost, lambda: kept.keeper.link_tried(None), kept.keeper.link_lost):
        change()
        assert kept.read().link.repairs == repairs


async def test_credentials_that_are_missing_or_none(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.wrong() == [f"there are no credentials at {tmp_path}/device.creds"]
    (tmp_path / "device.creds").write_text("no credentials")
    (tmp_path / "device.creds").chmod(0o600)
    kept.keeper.link_lost()
    assert kept.wrong() == [f"cannot read the credentials {tmp_path}/device.creds: it is no credentials file"]


async def test_an_external_leafs_log_is_its_units(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring)
    kept = Kept(tmp_path, '[leaf]\nmode = "external"')
    assert kept.read().problems[0].remedy.endswith("`journalctl -u edgeagent-leaf`")
    leaf = LeafStatus(mode="external", state="running", port=4222, wished_port=4222, version="2.15.1")
    kept.keeper.leaf_changed(leaf, Problem("it smokes"))
    assert kept.read().leaf == leaf and kept.wrong()[0] == "it smokes"
