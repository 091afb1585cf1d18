"""Which files agent.toml lets commands put and fetch, and what the arguments of such a command may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent import actions
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions._target import found_below
from edgeagent.errors import SettingsProblem, UsageProblem
from tests.support.acting import settings

assert builtin_actions.__path__  # has them registered

ALLOWED = """
[commands]
allow = ["file.*"]
[file]
push = ["/srv/shop/", "/srv/shop/menu"]
pull = ["/var/log/shop"]
max_bytes = 1000
"""
PUSH = {"upload": "a" * 32, "pieces": 1, "bytes": 10, "sha256": "b" * 64, "path": "/srv/shop/menu.json"}


@pytest.mark.parametrize(
    ("path", "folder", "names"),
    [
        ("/srv/shop/a", "/srv/shop/", ("a",)),
        ("/srv/shop/b/a", "/srv/shop/", ("b", "a")),
        ("/srv/shop/menu/a", "/srv/shop/menu", ("a",)),
        ("/srv/shop/menu", "/srv/shop/", ("menu",)),
    ],
)
def test_the_nearest_folder_counts(path: str, folder: str, names: tuple[str, ...]) -> None:
    assert found_below(path, ["/srv/shop/", "/srv/shop/menu"]) == (folder, names)


@pytest.mark.parametrize("path", ["/srv/shop", "/srv/shopping/a", "/srv", "/", "/etc/passwd", "/x/srv/shop/a"])
def test_what_is_outside_is_below_none(path: str) -> None:
    assert found_below(path, ["/srv/shop"]) is None


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("file.push", PUSH, ""),
        ("file.push", {**PUSH, "path": "/etc/passwd"}, "a folder of `/etc/passwd` in `file.push`"),
        ("file.push", {**PUSH, "path": "/var/log/shop/x"}, "a folder of `/var/log/shop/x` in `file.push`"),
        ("file.push", {**PUSH, "bytes": 1001}, "`file.max_bytes = 1001`"),
        ("file.push", {**PUSH, "bytes": 1001, "path": "/x/y"}, "in `file.push` and `file.max_bytes = 1001`"),
        ("file.pull", {"path": "/var/log/shop/till.log"}, ""),
        ("file.pull", {"path": "/srv/shop/menu.json"}, "a folder of `/srv/shop/menu.json` in `file.pull`"),
    ],
)
def test_a_refusal_names_the_setting_that_would_allow_it(tmp_path: Path, name: str, args: dict[str, Any], words: str) -> None:
    found = actions.refusal(settings(ALLOWED, tmp_path), name, args)
    assert found.endswith(words) and bool(found) == bool(words)


@pytest.mark.parametrize(("name", "args"), [("file.push", PUSH), ("file.pull", {"path": "/var/log/shop/x"})])
def test_nothing_is_allowed_out_of_the_box(tmp_path: Path, name: str, args: dict[str, Any]) -> None:
    refusal = actions.refusal(settings("", tmp_path), name, args)
    assert f"`{name}` in `commands.allow`" in refusal and f"in `{name}`" in refusal


@pytest.mark.parametrize(
    "change",
    [
        *[
            {"path": path}
            for path in (
                *(
                    "",
                    "/",
                    "srv/shop/a",
                    "/srv/shop/../../etc/passwd",
                    "/srv/shop/..",
                    "/srv/./shop/a",
                    "/srv//shop/a",
                    "/srv/shop/",
                ),
                *("/srv/shop/a\n", "/srv/shop/a\x00b", "/srv/shop/\x1b[2J", "/" + "a" * 256, "/a" * 600),
            )
        ],
        *[{"upload": upload} for upload in ("", "*", ">", "a" * 31, "A" * 32, "a" * 16 + "." + "a" * 15)],
        *[{"sha256": digest} for digest in ("", "b" * 63, "B" * 64)],
        *[{"mode": mode} for mode in ("4755", "0o600", "888", "rw", "60", "600\n")],
        *[{"bytes": size} for size in (-1, 65537, 1 << 41)],
        *[{"pieces": pieces} for pieces in (0, 2, -1)],
        {"more": 1},
    ],
    ids=lambda change: ascii(change)[:60],
)
def test_arguments_that_cannot_be_meant(change: dict[str, Any]) -> None:
    found = actions.find("file.push")
    assert found is not None and actions.arguments(found, {**PUSH, "mode": "0640"})
    with pytest.raises(UsageProblem):
        actions.arguments(found, {**PUSH, **change})


@pytest.mark.parametrize("folder", ["srv", "/srv/../etc", "/", "", "/srv/./x", "//srv"])
def test_a_listed_folder_is_an_absolute_path(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SettingsProblem, match="the absolute path of a folder"):
        settings(f'[file]\npush = ["{folder}"]', tmp_path)
