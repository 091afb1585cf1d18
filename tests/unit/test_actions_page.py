"""docs/actions.md tells the truth: a row for every action, and examples that are accepted."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from edgeagent import actions, settings
from edgeagent.actions import Action, Context, Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions import _manifest, app, plugin
from edgeagent.builtin.actions._outcome import answered
from edgeagent.commandsettings import CommandSettings
from edgeagent.schema import SECTIONS
from edgeagent.times import duration
from tests.support.acting import Board


def ours() -> list[actions.Action]:
    """The built-in ones, without those of other tests."""
    return [each for each in actions.every() if not each.name.startswith("test.")]


PAGE = (Path(__file__).parents[2] / "docs" / "actions.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def short(seconds: float) -> str:
    return re.sub(r" 0[smh]$", "", duration(seconds))


def row(each: Action) -> str:
    """How the action stands in the page's table."""
    names = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(each.arguments))
    section = each.name.partition(".")[0]
    by = "`commands.allow`" + (" (default)" if each.name in CommandSettings().allow else "")
    by += f", `[{section}]`" if section in SECTIONS and each.refuse is not Action.refuse else ""
    danger = " Dangerous." if each.dangerous else ""
    begins = f"{short(each.default_expiry_seconds)}, at most {short(each.max_expiry_seconds)}"
    arguments = f" {names} " if names else " "
    return f"| `{each.name}` |{arguments}| {each.description}{danger} | {by} | {begins} | {short(each.timeout_seconds)} |"


@pytest.mark.parametrize("each", ours(), ids=lambda each: each.name)
def test_every_action_is_on_the_page(each: Action) -> None:
    assert builtin_actions.__path__
    assert row(each) in PAGE.splitlines()


def test_nothing_else_is_on_the_page() -> None:
    named = re.findall(r"^\| `([a-z.]+)` \|", PAGE, re.MULTILINE)
    assert named == [each.name for each in ours()]


@pytest.mark.parametrize("name", ["plugin.backup", "app.doors.open", "mcu.oven.led"])
def test_the_families_are_as_the_page_says(name: str) -> None:
    found = actions.find(name)
    assert found is not None and found.dangerous == name.startswith(plugin.PREFIX)
    assert plugin.FOLDER in PAGE and f"`{app.PREFIX}<program>.<action>`" in PAGE
    assert (
        found.name != "mcu.oven.led"
        or f"| {short(found.default_expiry_seconds)}, at most 1h | {short(found.timeout_seconds)} |" in PAGE
    )


def test_what_does_not_wait_for_others() -> None:
    assert [each.name for each in ours() if each.concurrent] == [
        "gpio.read",
        "identify",
        "logs",
        "mcu.logs",
        "ping",
        "service.status",
    ]


def test_the_settings_on_the_page(tmp_path: Path) -> None:
    text = next(block for block in blocks("toml") if "[exec]" in block)
    found = settings.parse(text, Path("/etc/edgeagent/agent.toml"))
    assert found.exec.enabled and found.exec.user == "pi"
    assert Board(tmp_path, text).refusal("exec", argv=["ping", "-c", "3", "pi-2"]) == ""


def test_the_pins_on_the_page(tmp_path: Path) -> None:
    board = Board(tmp_path, next(block for block in blocks("toml") if "[gpio.pins." in block))
    assert list(board.settings.gpio.pins) == ["lamp", "opener", "door"]
    assert board.refusal("gpio.pulse", pin="opener", seconds=1) == ""


def test_the_watched_pins_on_the_page(tmp_path: Path) -> None:
    board = Board(tmp_path, next(block for block in blocks("toml") if "[gpio.pins.gate]" in block))
    pins = board.settings.gpio.pins
    assert (pins["gate"].event, pins["water"].count, pins["water"].metric) == ("both", True, False)


def test_the_manifest_on_the_page() -> None:
    text = next(block for block in blocks("toml") if "[arguments." in block)
    manifest = _manifest.read(text)
    made = _manifest.arguments_of(manifest)
    assert msgspec.to_builtins(msgspec.convert({}, made)) == {"tables": "all", "keep_days": 30}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tables": "other"}, made)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"keep_days": 0}, made)


def test_the_answer_on_the_page() -> None:
    text = next(block for block in blocks("json") if '"reason"' in block)
    assert answered("backup", text.encode()) == Outcome("failed", "the office does not answer", None, {"copied": 3})


async def test_the_action_in_python_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_actions", dict(actions._actions))
    (text,) = blocks("python")
    (tmp_path / "fan_on_the_page.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("fan_on_the_page")
    board = Board(tmp_path)
    assert await board.run("fan.set", rpm=900) == Outcome("succeeded", value={"rpm": 900})
    assert isinstance(board.context, Context) and board.written == b"setting it\n"
