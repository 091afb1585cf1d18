"""Finding other people's modules, without reading what is written about every package. What they do is met in test_facts_registry.py."""

from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeagent import plugins

GROUP = "edgeagent.facts"
log = logging.getLogger("test")


def install(folder: Path, kind: str, entries: str) -> None:
    package = folder / f"fan-1.0.{kind}-info"
    package.mkdir()
    about = "METADATA" if kind == "dist" else "PKG-INFO"
    (package / about).write_text("Metadata-Version: 2.1\nName: fan\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(entries)


@pytest.mark.parametrize("kind", ["dist", "egg"])
def test_a_plugin_is_found_and_what_is_wrong_with_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    install(tmp_path, kind, "[x]\na = b\n\n[edgeagent.facts]\nfan = fan_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.load(GROUP, "facts", log) == {"fan": "ModuleNotFoundError: No module named 'fan_not_there'"}
    assert caplog.messages == [
        "left out the facts plugin fan (fan_not_there): ModuleNotFoundError: No module named 'fan_not_there'"
    ]
    assert plugins.load("edgeagent.other", "facts", log) == {}


def test_a_plugin_in_a_zip_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "fan.zip", "w") as made:
        made.writestr("fan-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fan\nVersion: 1.0\n")
        made.writestr("fan-1.0.dist-info/entry_points.txt", "[edgeagent.facts]\nfan = fan_in_zip\n")
        made.writestr("fan_in_zip.py", "raise RuntimeError('found')")
    monkeypatch.syspath_prepend(tmp_path / "fan.zip")
    assert plugins.load(GROUP, "facts", log) == {"fan": "RuntimeError: found"}


def test_without_plugins_nothing_is_read_of_packages() -> None:
    script = (
        "import sys\nfrom edgeagent.builtin import actions, collectors, facts\n"
        "print([each.load_plugins() for each in (actions, collectors, facts)], 'importlib.metadata' in sys.modules)"
    )
    begin = "from edgeagent.assembly import lean\nlean.load_libraries()\n"
    done = subprocess.run([sys.executable, "-c", begin + script], capture_output=True, text=True)
    assert done.stdout == "[{}, {}, {}] False\n", done.stderr
