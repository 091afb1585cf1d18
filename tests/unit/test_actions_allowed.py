"""What the lists of agent.toml let through: programs argument by argument, and units. Mostly what they must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.builtin.actions._units import full, is_listed
from edgeagent.builtin.actions.exec import fits, matched
from edgeagent.errors import SettingsProblem
from tests.support.acting import Board

ALLOWED = [
    ["/usr/bin/uptime", "-p"],
    ["/usr/bin/apt-get", "install", "*"],
    ["/usr/bin/tail", "/var/log/shop/*.log"],
    ["/usr/bin/curl", "--max-time=*"],
]


@pytest.mark.parametrize(
    ("argv", "run"),
    [
        (["/usr/bin/uptime", "-p"], ("/usr/bin/uptime", "-p")),
        (["uptime", "-p"], ("/usr/bin/uptime", "-p")),
        (["apt-get", "install", "nginx"], ("/usr/bin/apt-get", "install", "nginx")),
        (["apt-get", "install", "two words; $(x)"], ("/usr/bin/apt-get", "install", "two words; $(x)")),
        (["tail", "/var/log/shop/a.log"], ("/usr/bin/tail", "/var/log/shop/a.log")),
        (["curl", "--max-time=5"], ("/usr/bin/curl", "--max-time=5")),
    ],
    ids=["whole", "bare-name", "wildcard", "no-shell-reads-it", "inside-a-path", "inside-an-option"],
)
def test_what_is_listed_runs(argv: list[str], run: tuple[str, ...]) -> None:
    assert matched(argv, ALLOWED) == run


REFUSED = {
    "fewer": ["/usr/bin/uptime"],
    "more": ["/usr/bin/uptime", "-p", "-s"],
    "another": ["/usr/bin/uptime", "-s"],
    "prefix": ["/usr/bin/uptime", "-pp"],
    "relative": ["./uptime", "-p"],
    "up": ["../usr/bin/uptime", "-p"],
    "other-folder": ["/tmp/uptime", "-p"],
    "dotted-program": ["/usr/bin/../bin/uptime", "-p"],
    "double-slash": ["//usr/bin/uptime", "-p"],
    "no-program": ["", "-p"],
    "option": ["apt-get", "install", "-y"],
    "long-option": ["apt-get", "install", "--help"],
    "option-with-value": ["apt-get", "install", "-oDPkg::Pre-Invoke::=sh"],
    "newline": ["apt-get", "install", "a\nb"],
    "newline-at-the-end": ["apt-get", "install", "a\n"],
    "nul": ["apt-get", "install", "a\0b"],
    "tab": ["apt-get", "install", "a\tb"],
    "escape": ["apt-get", "install", "\x1b[2J"],
    "line-separator": ["apt-get", "install", "a\u2028b"],
    "right-to-left": ["apt-get", "install", "a\u202eb"],
    "surrogate": ["apt-get", "install", "a\udcffb"],
    "empty": ["apt-get", "install", ""],
    "a-path": ["apt-get", "install", "/tmp/evil.deb"],
    "up-alone": ["apt-get", "install", ".."],
    "up-in-a-path": ["tail", "/var/log/shop/../../../etc/shadow.log"],
    "deeper": ["tail", "/var/log/shop/x/a.log"],
    "hidden-option-in-a-path": ["tail", "/var/log/shop/-f.log"],
    "literal-star-of-the-program": ["*", "-p"],
    "value-that-is-an-option": ["curl", "--max-time=-K"],
    "too-long": ["apt-get", "install", "a" * 2000],
}


@pytest.mark.parametrize("argv", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_listed_does_not_run(argv: list[str]) -> None:
    assert matched(argv, ALLOWED) is None


@pytest.mark.parametrize("pattern", ["a.c", "[ab]", "a?c", "(a)", "a|b", "^a$"])
def test_only_the_star_means_more_than_itself(pattern: str) -> None:
    assert fits(pattern, pattern)
    assert not any(fits(pattern, word) for word in ("abc", "a", "b", "axc"))


def test_a_pattern_without_a_star_may_say_anything() -> None:
    assert fits("-rf", "-rf") and fits("../x", "../x") and fits("", "")
    assert not fits("a", "a\n")


@pytest.mark.parametrize(
    "program", ["uptime", "./uptime", "/usr/bin/*", "/usr/../bin/sh", "/usr/./bin/sh", ""], ids=lambda each: each or "empty"
)
def test_a_program_in_the_list_is_an_absolute_path(tmp_path: Path, program: str) -> None:
    with pytest.raises(SettingsProblem, match=r"exec\.allow\[1\]"):
        Board(tmp_path, f'[exec]\nallow = [["/bin/true"], ["{program}"]]')


@pytest.mark.parametrize(
    "line",
    [
        "allow = [[]]",
        'allow = ["/bin/true"]',
        'allow = [["/bin/true", "a\\nb"]]',
        'user = "-x"',
        'user = "a b"',
        'allow = [["/bin/x", "*a*b*"]]',
    ],
    ids=["empty", "no-list", "newline", "option", "space", "stars"],
)
def test_lists_that_cannot_be_meant(line: str) -> None:
    with pytest.raises(SettingsProblem, match=r"exec\."):
        settings.parse(f"[exec]\n{line}\n", Path("/x/agent.toml"))


@pytest.mark.parametrize(
    ("unit", "patterns"),
    [
        ("nginx", ["nginx"]),
        ("nginx.service", ["nginx"]),
        ("nginx", ["nginx.service"]),
        ("shop-till", ["shop-*"]),
        ("backup.timer", ["backup.timer"]),
        ("getty@tty1", ["getty@*"]),
        ("anything", ["*"]),
    ],
)
def test_units_that_are_listed(unit: str, patterns: list[str]) -> None:
    assert is_listed(unit, patterns)


@pytest.mark.parametrize(
    ("unit", "patterns"),
    [
        ("nginx.timer", ["nginx", "*"]),
        ("reboot.target", ["*"]),
        ("Nginx", ["nginx"]),
        ("nginx2", ["nginx"]),
        ("xnginx", ["nginx"]),
        ("nginx.service.service", ["nginx"]),
        ("nginx", []),
    ],
)
def test_units_that_are_not(unit: str, patterns: list[str]) -> None:
    assert not is_listed(unit, patterns)


UNITS = {
    "option": "--now",
    "short-option": "-x",
    "option-of-journalctl": "--file=/etc/shadow",
    "path": "/etc/systemd/system/x.service",
    "up": "../x",
    "glob": "*",
    "question-mark": "ssh?",
    "range": "[s]sh",
    "space": "ssh nginx",
    "newline": "ssh\n",
    "nul": "ssh\0",
    "semicolon": "ssh;reboot",
    "unicode": "ßsh",
    "fullwidth": "\uff53\uff53\uff48",
    "empty": "",
    "long": "a" * 256,
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
@pytest.mark.parametrize("name", ["service.restart", "service.status", "logs"])
def test_what_is_no_units_name(tmp_path: Path, name: str, unit: str) -> None:
    everything = '[commands]\nallow = ["*"]\n[service]\nallow = ["*", "-*"]\n[logs]\nallow = ["*", "-*"]'
    assert "it must be the name of a unit" in Board(tmp_path, everything).refusal(name, unit=unit)


def test_the_ending_of_a_unit() -> None:
    assert [full(name) for name in ("a", "a.service", "a.b", "a.timer", "service")] == [
        "a.service",
        "a.service",
        "a.b.service",
        "a.timer",
        "service.service",
    ]
