from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent import settings, status
from edgeagent.assembly.checks import Finding, check
from edgeagent.hub.owner import Owner
from edgeagent.status import LeafStatus, LinkStatus, Status


def write(folder: Path, text: str) -> list[Finding]:
    (folder / "agent.toml").write_text(text)
    return check(settings.load(folder / "agent.toml"))


def bad(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if not finding.good]


BASE = """
[device]
id = "pi-01"
[hub]
urls = ["nats-leaf://hub.example:7422"]
[paths]
state = "state"
runtime = "run"
"""


@pytest.fixture
def keyring() -> Owner:
    return Owner.create("hub")


def give(folder: Path, keyring: Owner, device: str, seconds: float = 2 * 86400 + 1800) -> None:
    (folder / "state").mkdir(0o700, exist_ok=True)
    path = folder / "state" / "device.creds"
    path.touch(0o600)
    path.write_text(keyring.device_credentials(device, ["berlin"], expires_in_seconds=seconds).format())


def test_all_is_well(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-01")
    findings = write(tmp_path, BASE)
    assert all(finding.good for finding in findings)
    text = "\n".join(finding.text for finding in findings)
    for line in (
        "device id    pi-01",
        "nats-server  2.",
        f"state        {tmp_path}/state",
        "credentials  pi-01, berlin, good for 2d",
    ):
        assert line in text
    assert "hub          nats-leaf://hub.example:7422" in text


def test_everything_wrong_is_said_at_once_and_with_a_remedy(tmp_path: Path) -> None:
    findings = write(
        tmp_path,
        '[device]\nid = "pi-01"\n[hub]\nurls = ["nats-leaf://h:1"]\n[leaf]\nserver = "/no/such/server"\n[paths]\nstate = "s"\nruntime = "r"',
    )
    assert bad(findings) == [
        "start nats-server: there is no file /no/such/server",
        f"read the credentials {tmp_path}/s/device.creds: there is no such file",
    ]
    assert all(finding.remedy for finding in findings if not finding.good)


def test_a_device_on_its_own_is_fine(tmp_path: Path) -> None:
    findings = write(tmp_path, '[device]\nid = "pi-01"\n[paths]\nstate = "s"\nruntime = "r"')
    assert bad(findings) == [] and "stays on its own" in findings[-1].text


def test_an_external_leaf_needs_no_server_of_ours(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-01")
    assert bad(write(tmp_path, BASE + '[leaf]\nmode = "external"\nserver = "/no/such/server"')) == []


def test_credentials_that_are_not_there(tmp_path: Path) -> None:
    (problem,) = bad(write(tmp_path, BASE))
    assert problem == f"read the credentials {tmp_path}/state/device.creds: there is no such file"


def test_credentials_of_another_device(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-02")
    (problem,) = bad(write(tmp_path, BASE))
    assert problem == f"use the credentials: {tmp_path}/state/device.creds is that of 'pi-02'"


def test_credentials_that_expired(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-01", seconds=-2 * 86400)
    (problem,) = bad(write(tmp_path, BASE))
    assert problem == f"use the credentials: {tmp_path}/state/device.creds expired 2d ago"


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-01")
    (tmp_path / "run").touch()
    (problem,) = bad(write(tmp_path, BASE))
    assert problem == f"use the runtime folder {tmp_path}/run: {tmp_path}/run is a file"


def test_a_folder_that_this_user_may_not_write_in(tmp_path: Path, keyring: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    give(tmp_path, keyring, "pi-01")
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode & os.W_OK))  # root may write everywhere
    (finding,) = [finding for finding in write(tmp_path, BASE) if not finding.good]
    assert finding.text == f"write to the runtime folder {tmp_path}/run: this user may not write in {tmp_path}"
    assert finding.remedy.startswith(f"run as the owner of {tmp_path}")


def test_who_may_not_look_into_the_state_folder_is_told_nothing_that_is_in_it(
    tmp_path: Path, keyring: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(tmp_path, keyring, "pi-01")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "state")
    *_, hidden = found = write(tmp_path, BASE)
    assert (len(found), hidden.level, hidden.remedy) == (2, "unknown", "`sudo edgeagent check`")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            '"nats-leaf://hub.example:7422"',
            '"wss://a.example", "tls://b.example"',
            "hub.urls mixes ws:// or wss:// with other addresses",
        ),
        ('id = "pi-01"', 'id = "hub"', "no device may be called 'hub'"),
    ],
)
def test_what_the_leaf_could_not_run_with(tmp_path: Path, keyring: Owner, old: str, new: str, problem: str) -> None:
    give(tmp_path, keyring, "pi-01")
    assert f"set up the leaf: {problem}" in bad(write(tmp_path, BASE.replace(old, new)))
    assert not (tmp_path / "state" / "instance").exists(), "a check makes nothing"


def test_why_an_agent_that_runs_has_no_link(tmp_path: Path, keyring: Owner) -> None:
    give(tmp_path, keyring, "pi-01")
    (tmp_path / "state" / "leaf.log").write_text("[ERR] lid:6 - Leafnode Error 'Authorization Violation'\n")
    assert bad(write(tmp_path, BASE)) == [], "none runs here, so the log is of the past"
    kept = settings.load(tmp_path / "agent.toml")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "edgeagent"]) as agent:
        for up in (True, False):
            leaf, link = LeafStatus(mode="managed", state="running"), LinkStatus(up=up)
            kept.runtime_folder.mkdir(exist_ok=True)
            text = Status(id="pi-01", version="1", pid=agent.pid, started="", written="", leaf=leaf, link=link)
            status.write(kept.status_file, text)
            found = bad(write(tmp_path, BASE))
            assert found == ([] if up else ["link to the hub: it does not accept the login"])
        agent.kill()
