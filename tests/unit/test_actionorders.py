"""What the helper of the agent lets run, judged by agent.toml; and what a unit is told. Under a real systemd: tests/system/test_actions.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import actions
from edgeagent.actions import Action, Context, Outcome, Transient
from edgeagent.actionunits import CLOSED, limits_of
from edgeagent.assembly import actionhelper, actionstart, actionunit
from edgeagent.assembly.actionorders import (
    found,
    judged,
    order_of,
    properties,
    settings_in,
    settings_of,
    trusted_settings,
)
from edgeagent.builtin import actions as builtin_actions
from edgeagent.errors import EdgeError, Refused
from edgeagent.machine import Machine
from edgeagent.patterns import unitrequests as wire
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.patterns.unitrequests import Request
from edgeagent.settings import Settings, parse
from edgeagent.upgradesettings import UpgradeSettings

assert builtin_actions.__path__  # has them registered
assert actionunit.main and actionhelper.main

ID = "01J0000000000000000000000Z"
TEXT = """
[commands]
allow = ["exec", "file.*", "service.*", "reboot", "plugin.*", "logs"]
[exec]
enabled = true
user = "pi"
allow = [["/usr/bin/id"]]
[service]
allow = ["shop"]
[file]
push = ["/srv/my \\\\ \\"shop\\""]
[actions.exec]
memory_max = "200M"
cpu_quota = "50%"
tasks_max = 20
timeout_seconds = 90
[actions."*"]
memory_max = "1G"
[actions."file.*"]
user = "shop"
"""


def settings(text: str = TEXT) -> Settings:
    return parse(text, Path("/etc/edgeagent/agent.toml"))


def order(action: str, text: str = TEXT, **args: Any) -> list[str]:
    return properties(judged(settings(text), Request("start", ID, action, args), actions.find))


def test_a_program_gets_what_agent_toml_gives_it_and_is_not_judged_further() -> None:
    assert order("exec", argv=["id"]) == [
        "User=pi",
        "RuntimeMaxSec=90",
        "TimeoutStopSec=15",
        "KillMode=mixed",
        "UMask=0022",
        "WorkingDirectory=/",
        "MemoryMax=200M",
        "CPUQuota=50%",
        "TasksMax=20",
    ]


def test_our_own_actions_get_little_else() -> None:
    found = order("service.restart", unit="shop")
    assert found[0] == "User=root" and set(CLOSED) < set(found) and "CapabilityBoundingSet=" in found
    assert "RuntimeMaxSec=340" in found and "MemoryMax=1G" in found
    push = {"upload": "c" * 32, "pieces": 1, "bytes": 1, "sha256": "0" * 64, "path": '/srv/my \\ "shop"/x'}
    found = order("file.push", **push)
    assert found[0] == "User=shop" and 'ReadWritePaths="-/srv/my \\\\ \\"shop\\""' in found


def test_who_runs_it() -> None:
    nobody = TEXT.replace('user = "pi"', "")
    assert order("exec", nobody, argv=["id"])[0] == "User=edgeagent"
    table = nobody.replace("[actions.exec]", '[actions.exec]\nuser = "till"')
    assert order("exec", table, argv=["id"])[0] == "User=till"
    assert order("reboot")[0] == order("logs", unit="edgeagent")[0] == "User=root"


def test_its_own_name_counts_before_the_longest_pattern() -> None:
    found = settings()
    assert [limits_of(found, name).memory_max for name in ("exec", "file.push", "reboot")] == ["200M", "", "1G"]
    assert limits_of(settings(""), "exec").memory_max == ""


REFUSED = {
    "id": Request("start", f"{ID[:-3]}/..", "exec", {"argv": ["id"]}),
    "long-id": Request("start", f"{ID}0", "exec", {"argv": ["id"]}),
    "line-end": Request("start", f"{ID}\n", "exec", {"argv": ["id"]}),
    "not-listed": Request("start", ID, "exec", {"argv": ["id", "-u"]}),
    "not-allowed": Request("start", ID, "shutdown"),
    "no-unit": Request("start", ID, "ping"),
    "unknown": Request("start", ID, "no.such"),
    "arguments": Request("start", ID, "reboot", {"now": True}),
    "no-device": Request("start", ID, "exec", {"argv": ["id"]}, "$(reboot)"),
    "a-path-as-device": Request("start", ID, "exec", {"argv": ["id"]}, "../../etc"),
    "a-plugin-that-is-not-there": Request("start", ID, "plugin.backup"),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(request_: Request) -> None:
    with pytest.raises(Refused):
        judged(settings(), request_, actions.find)


def test_a_program_may_take_a_year() -> None:
    assert "RuntimeMaxSec=31536000" in order(
        "exec", TEXT.replace("timeout_seconds = 90", "timeout_seconds = 31536000"), argv=["id"]
    )


def test_what_a_unit_is_told_is_what_was_judged() -> None:
    request = Request("start", ID, "exec", {"argv": ["id"]}, "pi-1")
    order = order_of(judged(settings(), request, actions.find), request, content=False)
    assert order.args == {"argv": ["id"], "timeout_seconds": 600.0} and order.device == "pi-1"
    sent = msgspec.json.decode(msgspec.json.encode(settings_of(settings())))
    given = settings_in(sent)
    assert (given.exec, given.file, given.service) == (settings().exec, settings().file, settings().service)
    assert given.mqtt == Settings().mqtt, "what is of no use there is not told"


def test_the_command_line_has_nothing_of_the_arguments() -> None:
    request = Request("start", ID, "exec", {"argv": ["id"]})
    line = actionstart.command_line(judged(settings(), request, actions.find), ID, Path("/run/x"), content=True)
    assert line[0] == "/usr/bin/systemd-run" and line[-5:-1] == [line[-5], "-I", "-m", "edgeagent.assembly.actionunit"]
    assert f"--unit=edgeagent-action-{ID}.service" in line and "--property=StandardInput=file:/run/x/content" in line
    assert not [word for word in line if "/usr/bin/id" in word]


def test_agent_toml_is_roots_or_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to others")
    tmp_path.chmod(0o755)
    file = tmp_path / "agent.toml"
    assert trusted_settings(file) == Settings(source=file)
    file.write_text(f"{TEXT}[upgrade]\ntrial_seconds = 5\n")
    assert trusted_settings(file).exec.user == "pi"
    assert trusted_settings(file).upgrade == UpgradeSettings(trial_seconds=5), "upgrades trust it as actions do"
    for spoil in (lambda: file.chmod(0o666), lambda: os.chown(file, 1, 0), lambda: tmp_path.chmod(0o775)):
        spoil()
        with pytest.raises(Refused):
            trusted_settings(file)
        file.chmod(0o644), os.chown(file, 0, 0), tmp_path.chmod(0o755)
    file.rename(tmp_path / "mine")
    file.symlink_to(tmp_path / "mine")
    with pytest.raises(EdgeError):
        trusted_settings(file)


def test_a_strangers_action_may_run_as_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(context: Context, args: Any) -> Outcome:
        return Outcome("succeeded")

    monkeypatch.setattr(actions, "_actions", dict(actions._actions))
    actions.register(Action(name="fan.set", description="Set it.", run=run, unit=Transient(properties=("DeviceAllow=/dev/fan",))))
    action = found("fan.set", Machine())
    assert action is not None and action.is_unit
    assert "DeviceAllow=/dev/fan" in order("fan.set", '[commands]\nallow = ["fan.*"]')


def test_messages_are_bounded() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, Request("state", ID))
        assert msgspec.json.decode(wire.receive(theirs, 1)[0], type=Request).id == ID
        ours.close()
        with pytest.raises(ValueError):
            wire.receive(theirs, 1)


def test_only_an_open_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "spool"
    file.touch()
    wire.check_content(os.open(file, os.O_RDONLY))
    for path, flags in ((file, os.O_RDWR), (file, os.O_PATH), (tmp_path, os.O_RDONLY), (Path("/dev/null"), os.O_RDONLY)):
        with pytest.raises(Refused):
            wire.check_content(os.open(path, flags))


def test_without_a_helper_actions_run_here_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = UnitActions(tmp_path, tmp_path / "socket")
    assert not units.usable()
    (tmp_path / "socket").touch()
    assert not units.usable() or os.geteuid() != 0, "root needs none"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert units.usable()
    assert not units.is_there("../x") and not units.is_there(ID)
