"""The systemd units: systemd itself finds no fault with them, and they name what the agent reads and writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent import places
from edgeagent.actionunits import AGENT
from edgeagent.assembly import actionhelper, shipped, upgrader
from edgeagent.leaf import external
from edgeagent.leaf.options import LeafOptions
from edgeagent.patterns.unitrequests import FOLDER, SOCKET
from edgeagent.upgrade.places import OPT, REQUEST_FILE, SPOOL, Places

UNITS = Path(__file__).parents[2] / "systemd"
STATE = places.state_folder(True)


def values(unit: str, key: str) -> list[str]:
    lines = (UNITS / unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def installed(folder: Path) -> None:
    """The units there, with programs that there are."""
    for unit in UNITS.iterdir():
        text = unit.read_text()
        for place in ("/opt/edgeagent/current/bin", "/opt/edgeagent/proven/bin", "/opt/edgeagent/bin"):
            text = text.replace(place, str(Path(sys.executable).parent))
        (folder / unit.name).write_text(text)


#: The most that `systemd-analyze security` may find open: 0 is a program that can do nothing, 10 one that can do everything.
EXPOSURE = {
    "edgeagent-hub-backup.service": 2.0,
    "edgeagent.service": 2.0,
    "edgeagent-actions@.service": 2.5,
    "edgeagent-upgrade.service": 2.0,
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize(("unit", "most"), EXPOSURE.items(), ids=EXPOSURE)
def test_how_much_is_open_to_whoever_takes_one_over(tmp_path: Path, unit: str, most: float) -> None:
    installed(tmp_path)
    instance = (tmp_path / unit).rename(tmp_path / unit.replace("@.", "@1."))  # of a template there is none to be judged
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={round(most * 10)}", "--no-pager", instance]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_upgrades_begin_where_the_agent_asks_for_them_and_go_on_after_a_boot() -> None:
    request = str(STATE / SPOOL / REQUEST_FILE)
    assert values("edgeagent-upgrade.path", "PathExists") == [request]
    assert values("edgeagent-upgrade.service", "ConditionPathExists") == [f"|{OPT}/trial.json", f"|{request}"]
    assert values("edgeagent-upgrade.service", "ExecStart") == [f"{Places().proven}/bin/python -I -m {upgrader.__name__}"]
    assert all(values(f"edgeagent-upgrade.{kind}", "WantedBy") == ["multi-user.target"] for kind in ("path", "service"))


def test_the_agent_alone_may_ask_for_actions() -> None:
    assert values("edgeagent-actions.socket", "ListenStream") == [SOCKET]
    assert values("edgeagent-actions.socket", "SocketMode") == ["0660"]
    assert values("edgeagent-actions.socket", "SocketGroup") == values("edgeagent.service", "User") == [AGENT]
    assert values("edgeagent-actions@.service", "RuntimeDirectory") == [Path(FOLDER).name]
    assert values("edgeagent-actions@.service", "ExecStart")[0].split()[-1] == actionhelper.__name__
    assert "edgeagent-actions.socket" in values("edgeagent.service", "Wants")[0].split()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_accepts_them(tmp_path: Path) -> None:
    """With the programs of this virtual environment: it wants those that are named to be there."""
    installed(tmp_path)
    done = subprocess.run(["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize(("unit", "most"), [("edgeagent-leaf.service", 2.0), (shipped.HUB_UNIT, 2.0)])
def test_little_is_left_to_who_takes_a_service_over(unit: str, most: float) -> None:
    """systemd's own measure of it, from 0 to 10; below 2 is the best that a service with a network is given."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={int(most * 10)}", str(UNITS / unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_backups_are_of_the_hub_that_runs_here() -> None:
    (command,) = values("edgeagent-hub-backup.service", "ExecStart")
    assert "hub backup --dir /var/lib/edgeagent-hub --out /var/lib/edgeagent-hub-backups --keep" in command
    assert values("edgeagent-hub-backup.service", "StateDirectory") == ["edgeagent-hub-backups"]
    assert values("edgeagent-hub-backup.service", "User") == values(shipped.HUB_UNIT, "User")
    assert not any(unit.name.startswith("edgeagent-hub") for unit in shipped.units())


def test_the_leafs_unit_runs_what_the_agent_takes_for_its_leaf() -> None:
    options = LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=STATE)
    (command,) = values("edgeagent-leaf.service", "ExecStart")
    assert command.split()[1:] == ["-c", str(options.config_file)]
    assert values("edgeagent-leaf.service", "ConditionPathExists") == [str(options.config_file), str(STATE / external.MARK)]
    assert values("edgeagent-leaf.service", "Environment") == [f"GOMEMLIMIT={options.go_memory_limit_bytes >> 20}MiB"]
    assert f"{options.unit}.service" in values("edgeagent.service", "Wants")[0].split()


def test_the_first_configuration_starts_the_leaf() -> None:
    options = LeafOptions(device_id="pi-1", server_name="pi-1-x", folder=STATE)
    assert values("edgeagent-leaf.path", "PathChanged") == [str(options.config_file)]


def test_both_are_one_user_with_the_folders_of_the_machines_own_installation() -> None:
    for unit in ("edgeagent.service", "edgeagent-leaf.service"):
        assert values(unit, "User") == ["edgeagent"]
        assert values(unit, "StateDirectory") == [STATE.name] and values(unit, "StateDirectoryMode") == ["0700"]
    assert values("edgeagent.service", "RuntimeDirectory") == [places.runtime_folder(True).name]
    assert str(places.SYSTEM_SETTINGS) in values("edgeagent.service", "ExecStart")[0]
