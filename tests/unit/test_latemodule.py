"""A module that is put off is loaded once, by whoever wants more of it than is known first."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edgeagent.assembly.latemodule import LateModule, put_off


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "put_off_here"]:
        del sys.modules[name]


def module(folder: Path, text: str) -> ModuleType:
    (folder / "put_off_here.py").write_text(text)
    importlib.invalidate_caches()
    put_off("put_off_here", known="known")
    return importlib.import_module("put_off_here")


def test_what_is_known_loads_nothing(folder: Path) -> None:
    late = module(folder, "raise AssertionError('it was loaded')")
    assert isinstance(late, LateModule) and late.known == "known" and not hasattr(late, "__wrapped__")
    assert inspect.getmodule(test_what_is_known_loads_nothing) is sys.modules[__name__]  # which looks at every module there is


def test_what_is_not_known_loads_it_and_it_is_as_any_other(folder: Path) -> None:
    late = module(folder, "known, wanted = 'its own', 'all of it'\ndef __getattr__(name): return name.upper()")
    assert (late.wanted, late.known, late.other) == ("all of it", "its own", "OTHER")
    assert type(late) is ModuleType and sys.modules["put_off_here"] is late


def test_a_known_name_that_it_has_not_is_gone(folder: Path) -> None:
    late = module(folder, "wanted = 1")
    assert late.wanted == 1 and not hasattr(late, "known")


def test_it_may_ask_for_itself_while_it_loads(folder: Path) -> None:
    late = module(folder, "import put_off_here\nfound = hasattr(put_off_here, 'wanted')\nwanted = 1")
    assert (late.found, late.wanted) == (False, 1)


def test_what_cannot_be_loaded_is_tried_again(folder: Path) -> None:
    late = module(folder, "half = 1\nimport put_off_here.nothing")
    with pytest.raises(ImportError):
        _ = late.wanted
    assert late.known == "known"
    (folder / "put_off_here.py").write_text("wanted, known = 'mended', 'its own'")
    importlib.invalidate_caches()
    assert (late.wanted, late.known) == ("mended", "its own")


def test_what_is_there_or_nowhere_is_left_alone() -> None:
    put_off("json", loads=None)
    put_off("there_is_no_such_module")
    assert sys.modules["json"].loads("1") == 1 and "there_is_no_such_module" not in sys.modules


def test_a_package_is_not_loaded_for_a_module_of_its(folder: Path) -> None:
    (folder / "put_off_here").mkdir()
    (folder / "put_off_here" / "__init__.py").write_text("from . import part")
    (folder / "put_off_here" / "part.py").write_text("from put_off_here import part as itself\nwanted = 1")
    importlib.invalidate_caches()
    put_off("put_off_here.part")
    assert "put_off_here" not in sys.modules
    package = importlib.import_module("put_off_here")
    assert type(package.part) is LateModule and package.part.wanted == 1 and package.part.itself is package.part


def test_two_threads_load_it_once(folder: Path) -> None:
    text = """
import threading
begun, go_on = threading.Event(), threading.Event()
loads = globals().get("loads", 0) + 1
begun.set()
go_on.wait(20)
known, wanted = "its own", "all of it"
"""
    late = module(folder, text)
    found: list[object] = []
    first = threading.Thread(target=lambda: found.append(late.wanted))
    first.start()
    while "begun" not in vars(late):
        first.join(0.001)
    vars(late)["begun"].wait(20)
    others = [threading.Thread(target=lambda name=name: found.append(getattr(late, name))) for name in ("known", "wanted")]
    for other in others:
        other.start()
    others[0].join(0.05)
    assert found == []  # neither the known one, which is its own now, nor an AttributeError
    vars(late)["go_on"].set()
    for each in (first, *others):
        each.join(20)
    assert sorted(map(str, found)) == ["all of it", "all of it", "its own"] and late.loads == 1
