"""firmware/README.md tells the truth: its settings are taken, its sensor measures, and no key, command or module is missing there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parents[2] / "firmware"
PAGE = (FIRMWARE / "README.md").read_text(encoding="utf-8")
SETTINGS = [json.loads(each) for each in re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)]
SETTINGS += [json.loads((FIRMWARE / "settings.example.json").read_text())]
(SENSOR,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
ROWS = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))

SCRIPT = """
import json, sys
import actions, commands, config
given = json.load(sys.stdin)
settings = [config.Settings(each) for each in given]
switches = actions.Switches(None, {})
actions.register_measuring(None, None)
actions.register_reset(None)
actions.register_settings(settings[0])
actions.register_dismiss(None, None)
switches.register(None)
tilt = config.Settings({"sensors": [{"kind": "tilt", "pin": 3}]})
print(json.dumps({
    "problems": [each.problems for each in settings] + [tilt.problems],
    "keys": sorted(config._KEYS),
    "commands": sorted(commands._known),
    "tilt": tilt.sensors[0].make().read(),
}))
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the firmware says of itself and of the page, on a desktop."""
    library = tmp_path_factory.mktemp("lib")
    (library / "sensor_tilt.py").write_text(SENSOR)
    paths = [FIRMWARE / "app", FIRMWARE / "desktop", library]
    environment = {"PYTHONPATH": ":".join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(SETTINGS), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_its_settings_are_taken(board: dict[str, list[str]]) -> None:
    assert len(SETTINGS) >= 3 and not any(board["problems"]), board["problems"]


def test_its_sensor_measures(board: dict[str, list[str]]) -> None:
    assert list(board["tilt"]) == ["angle"]


@pytest.mark.parametrize("what", ["keys", "commands"])
def test_nothing_is_missing(what: str, board: dict[str, list[str]]) -> None:
    assert len(board[what]) > 5 and [each for each in board[what] if f"`{each}`" not in ROWS] == []


def test_every_module_has_its_line() -> None:
    names = {path.name for path in (FIRMWARE / "app").glob("*.py")}
    assert len(names) > 20 and sorted(each for each in names if f"{each}`" not in ROWS) == []


def test_its_links_lead_somewhere() -> None:
    for target, heading in re.findall(r"\]\((\.\./[\w/.-]+\.md)(?:#([\w-]+))?\)", PAGE):
        text = (FIRMWARE / target).read_text(encoding="utf-8")
        headings = [
            re.sub(r"[^\w\s-]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
        ]
        assert not heading or heading in headings, f"{target}#{heading}"
