"""The registry of actions: what may be declared, what arguments may be, what agent.toml allows, what stands in the system's journal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from edgeagent import actions, commandlock
from edgeagent.actionlines import MAX_LINE, described
from edgeagent.actions import Action, Arguments, Context, Outcome, action, arguments
from edgeagent.builtin import actions as builtin_actions
from edgeagent.commandlock import Locked
from edgeagent.errors import UsageProblem
from tests.support.acting import ME, Board


def ours() -> list[actions.Action]:
    """The built-in ones, without those of other tests."""
    return [each for each in actions.every() if not each.name.startswith("test.")]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builtin_actions.__path__
    monkeypatch.setattr(actions, "_actions", dict(actions._actions))


async def nothing(context: Context, args: Any) -> Outcome:
    return Outcome("succeeded")


class Fan(Arguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    speed: Annotated[int, Meta(ge=0, le=100)]
    name: Annotated[str, Meta(pattern=r"^[a-z]+\Z", extra={"form": "small letters"})] = "case"


FAN = Action(name="fan.set", description="Set a fan.", run=nothing, arguments=Fan)


def test_the_built_in_actions() -> None:
    assert [each.name for each in ours()] == [
        "agent.restart",
        "agent.upgrade",
        "exec",
        "file.pull",
        "file.push",
        "gpio.pulse",
        "gpio.read",
        "gpio.write",
        "identify",
        "logs",
        "mcu.add",
        "mcu.logs",
        "mcu.rm",
        "mcu.update",
        "ping",
        "reboot",
        "service.restart",
        "service.start",
        "service.status",
        "service.stop",
        "shutdown",
    ]


@pytest.mark.parametrize("each", ours(), ids=lambda each: each.name)
def test_a_built_in_action_says_what_it_does(each: Action) -> None:
    assert each.description.endswith(".") and each.default_expiry_seconds <= each.max_expiry_seconds


def test_what_people_are_asked_about() -> None:
    assert {each.name for each in ours() if each.dangerous} == {
        "agent.upgrade",
        "exec",
        "file.push",
        "mcu.update",
        "reboot",
        "shutdown",
    }
    assert {each.name for each in ours() if each.supersedes} == {"agent.restart", "reboot", "service.restart"}
    assert not any(each.idempotent for each in ours() if each.name in ("exec", "reboot", "shutdown", "service.restart"))


@pytest.mark.parametrize(
    "name",
    ["", "cancel", "Fan", "fan set", "fan..set", ".fan", "fan.", "-fan", "fan\n", "fän", "*", "a" * 129],
    ids=["empty", "cancel", "capital", "space", "dots", "dot-first", "dot-last", "dash", "newline", "unicode", "glob", "long"],
)
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an action"):
        action(name, description="Something.")(nothing)
    assert actions.find(name) is None


def test_declarations_that_nobody_could_use() -> None:
    with pytest.raises(ValueError, match="no description"):
        action("mine", description=" ")(nothing)
    with pytest.raises(ValueError, match="impossible expiry"):
        action("mine", description="Mine.", default_expiry_seconds=2, max_expiry_seconds=1)(nothing)
    with pytest.raises(ValueError, match="two actions are called 'ping'"):
        action("ping", description="Another.")(nothing)


def test_the_same_module_may_register_again() -> None:
    for description in ("One.", "Two."):
        action("mine", description=description)(nothing)
    found = actions.find("mine")
    assert found is not None and found.description == "Two."


def test_arguments_are_typed() -> None:
    assert arguments(FAN, {"speed": 50}) == Fan(speed=50)


def test_everything_wrong_with_arguments_is_said_at_once() -> None:
    with pytest.raises(UsageProblem) as caught:
        arguments(FAN, {"speed": 101, "name": "A;b", "spede": 1})
    assert "it takes no 'spede', only speed, name" in caught.value.why
    assert "speed" in caught.value.why and "at most 100" in caught.value.why
    assert "it must be small letters" in caught.value.why
    with pytest.raises(UsageProblem, match="it needs 'speed'"):
        arguments(FAN, {})


@pytest.mark.parametrize(
    "args",
    [{"speed": "50"}, {"speed": True}, {"speed": 1.5}, {"speed": None}, {"speed": [1]}, {"speed": 1, "name": "a\n"}],
    ids=["text", "bool", "float", "null", "list", "newline"],
)
def test_arguments_of_another_type_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(UsageProblem):
        arguments(FAN, args)


def test_a_problem_shows_no_control_characters() -> None:
    with pytest.raises(UsageProblem) as caught:
        arguments(FAN, {"\x1b[2J": 1, "speed": 1})
    assert "\x1b" not in str(caught.value)


def test_what_runs_without_a_word_in_agent_toml(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.refusal("ping") == board.refusal("identify") == ""
    assert board.refusal("logs", unit="edgeagent") == board.refusal("service.status", unit="nginx") == ""


@pytest.mark.parametrize(
    ("name", "args", "wanted"),
    [
        ("reboot", {}, "`reboot` in `commands.allow`"),
        ("shutdown", {}, "`shutdown` in `commands.allow`"),
        ("agent.restart", {}, "`agent.restart` in `commands.allow`"),
        ("service.stop", {"unit": "nginx"}, "`service.stop` in `commands.allow` and `nginx` in `service.allow`"),
        ("logs", {"unit": "ssh"}, "`ssh` in `logs.allow`"),
        ("plugin.backup", {}, "`plugin.backup` in `commands.allow`"),
        ("app.doors.open", {"door": 1}, "`app.doors.open` in `commands.allow`"),
    ],
    ids=["reboot", "shutdown", "restart", "service", "logs", "plugin", "app"],
)
def test_a_refusal_names_the_setting_that_would_allow_it(tmp_path: Path, name: str, args: dict[str, Any], wanted: str) -> None:
    assert Board(tmp_path).refusal(name, **args) == f"not allowed here: agent.toml would need {wanted}"


def test_exec_needs_all_of_its_settings(tmp_path: Path) -> None:
    said = Board(tmp_path).refusal("exec", argv=["/usr/bin/uptime"])
    for wanted in ("`exec` in `commands.allow`", "`exec.enabled = true`", "`exec.allow`"):
        assert wanted in said
    everything = f'[commands]\nallow = ["exec"]\n[exec]\nenabled = true\nallow = [["/usr/bin/uptime"]]\nuser = "{ME}"\n'
    assert Board(tmp_path, everything).refusal("exec", argv=["/usr/bin/uptime"]) == ""
    assert "`exec.allow`" in Board(tmp_path, everything).refusal("exec", argv=["/usr/bin/uptime", "-p"])


def test_a_glob_of_actions_does_not_open_what_has_its_own_switch(tmp_path: Path) -> None:
    board = Board(tmp_path, '[commands]\nallow = ["*"]')
    assert board.refusal("reboot") == ""
    assert "`exec.enabled = true`" in board.refusal("exec", argv=["/bin/sh"])
    assert "`service.allow`" in board.refusal("service.stop", unit="ssh")


@pytest.mark.parametrize(
    "name", ["nope", "cancel", "app.doors", "app.Doors.open", "app.a.b.c", "plugin.", "plugin.a.b", "plugin.../x"]
)
def test_no_such_action(tmp_path: Path, name: str) -> None:
    assert actions.find(name) is None
    said = Board(tmp_path, '[commands]\nallow = ["*"]').refusal(name)
    assert said == f"there is no action {name!r} on this device"


def test_arguments_that_cannot_be_meant_are_refused_with_the_reason(tmp_path: Path) -> None:
    assert "it needs 'unit'" in Board(tmp_path).refusal("logs")


def test_typed_arguments_will_do(tmp_path: Path) -> None:
    found = actions.find("logs")
    assert found is not None
    typed = arguments(found, {"unit": "ssh"})
    assert "`ssh` in `logs.allow`" in actions.refusal(Board(tmp_path).settings, "logs", typed)


def test_a_locked_device_takes_no_command(tmp_path: Path) -> None:
    board = Board(tmp_path, '[commands]\nallow = ["*"]')
    commandlock.lock(board.settings.state_folder, Locked(by="ada", since="2026-01-01T08:00:00.000Z", note="roof\x1b[2J"))
    assert board.refusal("ping") == board.refusal("reboot")
    assert board.refusal("reboot").startswith("locked by ada since 2026-01-01T08:00:00.000Z: roof\\x1b[2J")
    commandlock.unlock(board.settings.state_folder)
    assert board.refusal("reboot") == ""


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({}, "run"),
        ({"unit": "nginx", "lines": 5}, "run unit=nginx lines=5"),
        ({"password": "hunter2", "api_key": "x", "Token": "y"}, "run password=*** api_key=*** Token=***"),
        ({"argv": ["/bin/x", "--password", "hunter2", "--token=abc", "ok"]}, "run argv=[/bin/x --password *** --token=*** ok]"),
        ({"a": {"secret": "x", "b": 1}}, "run a={secret=*** b=1}"),
        ({"a": "x\ny\x1b[31m\u202e\0"}, "run a=x\\ny\\x1b[31m\\u202e\\x00"),
        (
            {"a": "-x my-password: hunter2 a.token.b=c y=api_key=d e=f"},
            "run a=-x my-password: *** a.token.b=*** y=api_key=*** e=f",
        ),
    ],
    ids=["none", "plain", "secret-names", "secret-words", "nested", "control", "within-a-value"],
)
def test_the_line_for_the_journal(args: dict[str, Any], line: str) -> None:
    assert described("run", args) == line


def test_the_line_is_bounded_and_takes_typed_arguments() -> None:
    assert described(FAN.name, Fan(speed=3)) == "fan.set speed=3 name=case"
    assert len(described("run", {"a": "\x1b" * 100_000})) <= MAX_LINE


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "value", ["pass" * 20_000, "x" * 80_000, "pass=" * 20_000, ["pass" * 500] * 50], ids=["secret", "word", "assigned", "list"]
)
def test_however_long_an_argument_is_the_line_for_the_journal_takes_no_time(value: Any) -> None:
    """It is written on the event loop. With a pattern that looks from every letter to the end this would take days."""
    assert len(described("run", {"a": value, "b": {"c": value}})) <= MAX_LINE


def test_the_operators_side_loads_little() -> None:
    script = "import sys, edgeagent.builtin.actions; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "cryptography",
        "typer",
        "rich",
        "aiohttp",
        "nats",
        "psutil",
        "edgeagent.hub",
        "edgeagent.fleet",
        "ctypes",
    }


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with two plugins: one works, the other breaks while it is imported."""
    (tmp_path / "fan_actions_plugin.py").write_text(
        "from edgeagent.actions import Outcome, action\n"
        '@action("fan.stop", description="Stop the fan.")\n'
        "async def stop(context, args):\n    return Outcome('succeeded', value=context.device_id)\n"
    )
    (tmp_path / "broken_actions_plugin.py").write_text("raise OSError('no fan')\n")
    info = tmp_path / "fan_actions-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fan-actions\nVersion: 1.0\n")
    points = "fan = fan_actions_plugin\nbroken = broken_actions_plugin\n"
    (info / "entry_points.txt").write_text(f"[{builtin_actions.ENTRY_POINT_GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    builtin_actions.load_plugins.cache_clear()


async def test_installed_plugins_come_through_the_same_door(plugins: None, tmp_path: Path) -> None:
    assert builtin_actions.load_plugins() == {"broken": "OSError: no fan"}
    assert await Board(tmp_path).run("fan.stop") == Outcome("succeeded", value="pi-1")
    builtin_actions.load_plugins.cache_clear()
