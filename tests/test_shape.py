"""The shape of the code: who may import whom, what is loaded where, what must be written down and what must be tested.

That every command has help with an example is looked at in tests/unit/test_cli.py.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from edgeagent import settingsdoc

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgeagent"
DOCS = ROOT / "docs"

#: A module imports from its own floor and from lower ones. The longest name that fits counts.
FLOORS = {
    0: "hubentries errors servers subjects localsubjects wire command sample mcumessages bridge.frames alertrules chunk chunkdictionary services administration enrolment tokens transfer times backoff ratelimit interpreter bridge.mapping bridge.discovery",
    1: "machine plugins files places schema sections plainvalues commandsettings gpiosettings leafsettings metricsettings upgradesettings alertsettings profiles collectors commandlock actionlines actions actionunits journal journalfile journalrows journalhub enrolled settings config lastgood identity registry runtime context status mqttsettings mcus serialsettings brokersettings",
    2: "link serverpool patience fenced direct publish documents trust cel natsserver",
    3: "leaf patterns upgrade bridge firmware demo.cable",
    4: "builtin hub",
    5: "fleet",
    6: "assembly demo doctor settingsdoc",
    7: "cli __main__",
}
#: Neighbours that must not know each other: what runs on a device, and what runs on the hub.
STRANGERS = {"builtin", "hub"}
#: ``edgeagent/__init__.py`` has the version, for everybody, and hands out ``Fleet`` when it is asked for.
ROOT_MODULE = "edgeagent"

#: Modules that no test imports by name, and what proves them instead. ``.*``: every module of the package.
PROVED_OTHERWISE = {
    "edgeagent.__main__": "tests/support/fleet.py runs `python -m edgeagent`",
    "edgeagent.assembly.agent": "tests/live/test_device.py runs it as a program",
    "edgeagent.assembly.deviceloop": "tests/live/test_device.py runs it as a program, through edgeagent.assembly.agent",
    "edgeagent.assembly.devicelink": "tests/live/test_device.py and test_renewal.py, as the link of a real agent",
    "edgeagent.assembly.linkproblems": "tests/unit/test_devicestatus.py reads its words in the status file",
    "edgeagent.assembly.hubprivate": "tests/live/test_hub_backup.py fills one server's store by it and those of three",
    "edgeagent.hub.adoption": "tests/live/test_hub_went_back.py, with a device that the restored hub does not know",
    "edgeagent.assembly.appsdoor": "tests/live/test_trust.py adds a program while the agent runs",
    "edgeagent.assembly.mcuactions": "tests/live/test_mcu_fleet.py adds and removes one from afar",
    "edgeagent.assembly.doctorclients": "tests/live/test_hubdoctor_red.py, through every check that asks the hub",
    "edgeagent.assembly.hubservices": "tests/live/test_hub.py and test_hub_serve.py, as what `edgeagent hub` runs",
    "edgeagent.hub.hubtoml": "tests/unit/test_hub_folder.py reads what HubFolder.create writes",
    "edgeagent.assembly.hubwatch": "tests/live/test_hubdoctor_red.py asks /healthz of a hub that runs",
    "edgeagent.assembly.demo": "tests/live/test_tour.py runs `edgeagent demo`",
    "edgeagent.patterns.askprogram": "tests/live/test_commands_agent.py asks a program through a real agent",
    "edgeagent.builtin._*": "tests/unit/test_facts_*.py and test_collectors.py read what they read",
    "edgeagent.builtin.collectors.*": "tests/unit/test_collectors.py runs them as agents do, through the registry",
    "edgeagent.builtin.actions.*": "tests/live/test_actions.py runs them as agents do, through the registry",
    "edgeagent.builtin.facts.*": "tests/unit/test_facts_*.py read them as agents do, through the registry",
    "edgeagent.cel.evaluator": "tests/unit/test_cel_evaluator.py takes it from edgeagent.cel",
    "edgeagent.cli.*": "tests/unit/test_cli.py walks every command of edgeagent.cli.app",
    "edgeagent.fleet.client": "tests/live take Fleet from edgeagent.fleet",
    "edgeagent.fleet.metrics": "tests/live/test_metrics_operator.py reads by it as Fleet.metrics",
    "edgeagent.fleet.sync": "tests/live/test_fleet.py uses it as Fleet.sync()",
    "edgeagent.fleet.watch": "tests/live/test_fleet.py watches",
    "edgeagent.leaf.*": "tests/live/test_leaf.py, through edgeagent.leaf.leaf",
    "edgeagent.natsserver.logtail": "tests/live/test_process.py reads what it quotes",
}

#: Newer than Python 3.10, which Raspberry Pi OS still has in the field.
TOO_NEW = {
    "asyncio.TaskGroup",
    "asyncio.timeout",
    "asyncio.Runner",
    "asyncio.Barrier",
    "datetime.UTC",
    "enum.StrEnum",
    "typing.Self",
    "typing.assert_never",
    "typing.override",
    "contextlib.chdir",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    """``(line, module of ours)`` for every import, also inside functions and for type checkers."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == ROOT_MODULE:
                yield node.lineno, name if name in NAMES else name.rpartition(".")[0] or name


def unit(name: str) -> tuple[int, str]:
    """The floor of a module, and the word in :data:`FLOORS` that says so."""
    inner = name.removeprefix(f"{ROOT_MODULE}.")
    fitting = [(word, floor) for floor, words in FLOORS.items() for word in words.split() if f"{inner}.".startswith(f"{word}.")]
    assert fitting, f"{name} stands on no floor: give it one in FLOORS"
    word, floor = max(fitting, key=lambda found: len(found[0]))
    return floor, word


def breaches(name: str, module: ast.Module) -> list[str]:
    floor, word = unit(name)
    found = []
    for line, other in imported(module):
        if other == ROOT_MODULE:
            continue
        other_floor, other_word = unit(other)
        if other_floor > floor or {word, other_word} == STRANGERS:
            found.append(f"{name}:{line} (floor {floor}, {word}) imports {other} (floor {other_floor}, {other_word})")
    return found


def test_modules_import_only_from_their_own_floor_and_lower_ones() -> None:
    assert [breach for name, path in NAMES.items() if name != ROOT_MODULE for breach in breaches(name, tree(path))] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("edgeagent.wire", "from edgeagent.files import read_text"),
        ("edgeagent.settings", "def f():\n    from edgeagent import link"),
        ("edgeagent.demo.cable", "import edgeagent.hub.folder"),
        ("edgeagent.hub.folder", "from edgeagent.builtin.facts import cpu"),
        ("edgeagent.builtin.facts.cpu", "from edgeagent import hub"),
        ("edgeagent.fleet.ask", "if x:\n    from edgeagent.cli.table import Form"),
    ],
)
def test_a_breach_would_be_seen(name: str, source: str) -> None:
    assert len(breaches(name, ast.parse(source))) == 1


def test_every_floor_is_of_modules_that_exist() -> None:
    words = [word for words in FLOORS.values() for word in words.split()]
    assert [word for word in words if f"{ROOT_MODULE}.{word}" not in NAMES] == []
    assert len(words) == len(set(words))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text:
        assert ast.get_docstring(tree(path)) or path.name == "__main__.py", "a module begins with what it is for"
    assert len(text.splitlines()) <= 300, "split it by reason to change"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_newer_than_python_3_10(path: Path) -> None:
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        assert not isinstance(node, getattr(ast, "TryStar", ())), "except* is of 3.11"
    assert not found & TOO_NEW


def test_every_module_is_met_by_a_test() -> None:
    tests = [path for path in (ROOT / "tests").rglob("*.py") if "bench" not in path.relative_to(ROOT).parts]
    met = {other for path in tests for _, other in imported(tree(path))}
    unmet = {name for name, path in NAMES.items() if name not in met and path.stat().st_size}
    excused = {rule: {name for name in unmet if fnmatchcase(name, rule)} for rule in PROVED_OTHERWISE}
    assert unmet - set().union(*excused.values()) == set(), "test it, or say in PROVED_OTHERWISE what proves it"
    assert [rule for rule, names in excused.items() if not names] == [], "these are met by a test now, or gone"


def test_every_subject_is_on_the_page_about_the_wire() -> None:
    page = DOCS / "wire.md"
    names = {
        node.name for node in tree(PACKAGE / "subjects.py").body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
    }
    # These judge words or take subjects apart; the others make subjects.
    subjects = names - {"is_id", "is_token", "check_id", "check_group", "device_of"}
    text = page.read_text(encoding="utf-8")
    assert len(subjects) > 10 and sorted(name for name in subjects if f"`{name}`" not in text) == []


def test_every_setting_is_on_the_page_about_settings() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settingsdoc.page(), "run `make docs`"


def loaded(*argv: str) -> set[str]:
    """The modules that are in memory when ``python ARGV`` ends, but for those of Python itself."""
    script = """
import atexit, json, os, runpy, sys
ours = os.dup(1)
atexit.register(lambda: os.write(ours, json.dumps(sorted(name for name, module in sys.modules.items() if module)).encode()))
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
kind, sys.argv = sys.argv[1], sys.argv[2:]
exec(sys.argv[0]) if kind == "-c" else runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def heavy(modules: set[str], forbidden: str) -> list[str]:
    return sorted(name for name in modules for word in forbidden.split() if f"{name}.".startswith(f"{word}."))


#: What only people and hubs need.
OPERATORS_ONLY = "typer rich click cryptography cel aiohttp edgeagent.fleet edgeagent.hub edgeagent.cli edgeagent.demo"
#: What a device's agent does without (edgeagent.assembly.lean), or loads when it is wanted.
NOT_ON_A_DEVICE = "edgeagent.bridge.usb edgeagent.bridge.serialmcus edgeagent.bridge.serialport serial paho nats.js.api nats.js.client typing_extensions importlib.metadata email zipfile csv platformdirs difflib"


def test_a_device_pays_for_nothing_that_it_does_not_use() -> None:
    start = "import sys; sys.argv[1:] = ['/no/such/agent.toml']\nfrom edgeagent.assembly import agent\ntry: agent.main()\nexcept SystemExit: pass"
    modules = loaded("-c", start)
    assert "edgeagent.assembly.device" in modules and "nats" in modules
    assert heavy(modules, f"{OPERATORS_ONLY} {NOT_ON_A_DEVICE}") == []


def test_help_is_quick_because_it_loads_little() -> None:
    modules = loaded("-m", "edgeagent", "--help")
    assert "edgeagent.cli.fleet" in modules
    assert heavy(modules, "nats psutil cryptography cel rich asyncio edgeagent.fleet edgeagent.hub edgeagent.assembly") == []


def test_the_python_api_is_one_import() -> None:
    modules = loaded("-c", "import edgeagent")
    assert heavy(modules, "nats msgspec typer edgeagent.fleet") == []
    assert "edgeagent.fleet" in loaded("-c", "from edgeagent import Fleet")
