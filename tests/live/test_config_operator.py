"""Operators configure a fleet: documents written, compared, rolled back; two at once; who may not."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent import context
from edgeagent.context import Context
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.allowed import unless_forbidden
from edgeagent.fleet.config import Written
from edgeagent.subjects import FLEET_ALL, Scope
from tests.support.configcli import applied, fixtures, good, here, login_file
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, LiveFleet

BERLIN, PI_01 = Scope.group("berlin"), Scope.device("pi-01")


running, hub, fleet = fixtures("config", 2)


# ---- one document ----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_document_on_the_command_line(hub: LiveFleet, tmp_path: Path) -> None:
    scope = ("-d", "pi-02")
    assert "# device.pi-02 has no configuration" in good("get", *scope)
    assert json.loads(good("get", *scope, "--json"))["revision"] == 0
    assert "has no configuration" in good("diff", *scope) and "never had" in good("history", *scope)

    said = good("set", *scope, "app.doors.open=07:00", "app.doors.floors=[1, 2]", "agent.log_level=debug", "-m", "summer")
    assert 'agent.log_level   (not set) -> "debug"' in said and "app.doors.floors  (not set) -> [1, 2]" in said
    assert "1 device follows it; it is online now" in said
    got = json.loads(good("get", *scope, "--json"))
    first = got["revision"]
    assert got["values"] == {"app": {"doors": {"open": "07:00", "floors": [1, 2]}}, "agent": {"log_level": "debug"}}
    assert (got["scope"], got["by"], got["note"]) == ("device.pi-02", CONTEXT_USER, "summer") and got["generation"] > 1.7e12
    assert "nothing changes: device.pi-02 stays at revision" in good("set", *scope, "agent.log_level=debug")

    changed = json.loads(good("set", *scope, "app.doors.open=08:00", "--json", "--revision", str(first)))
    assert changed["changed"] == {"app.doors.open": ["07:00", "08:00"]} and changed["revision"] > first
    stale = here("set", *scope, "app.doors.open=09:00", "--revision", str(first))
    assert stale.code == 1 and f"the newest is revision {changed['revision']} by {CONTEXT_USER}" in stale.err

    assert good("get", *scope, "app.doors.open") == "08:00\n"
    assert good("get", *scope, "app.doors", "--json") == '{"open": "08:00", "floors": [1, 2]}\n'
    missing = here("get", *scope, "app.dors.open")
    assert missing.code == 2 and "did you mean 'app.doors.open'" in missing.err.lower()
    assert "agent.log_level" in good("unset", *scope, "agent.log_level")
    unknown = here("unset", *scope, "agent.log_level")
    assert unknown.code == 2 and "not set there" in unknown.err

    assert 'agent.log_level  "debug" -> (not set)' in good("diff", *scope)
    compared = json.loads(good("diff", *scope, str(first), str(changed["revision"]), "--json"))
    assert compared["changed"] == {"app.doors.open": ["07:00", "08:00"]}
    assert here("diff", *scope, "999999").code == 2

    rolled = good("rollback", *scope, str(first))
    assert 'app.doors.open   "08:00" -> "07:00"' in rolled
    history = json.loads(good("history", *scope, "--json"))
    assert [item["note"] for item in history] == [f"rollback to revision {first}", "", "", "summer"]
    assert all(item["by"] == CONTEXT_USER for item in history)
    assert [item["generation"] for item in history] == sorted((item["generation"] for item in history), reverse=True)
    assert json.loads(good("get", *scope, "--json"))["values"] == got["values"], "exactly the older one"
    listed = good("history", *scope).splitlines()
    assert listed[0].startswith("revision ") and f"rollback to revision {first}" in listed[0]

    file = tmp_path / "pi-02.toml"
    file.write_text('[app.doors]\nopen = "10:00"\n')
    assert "would change" in good("apply", *scope, str(file), "--dry-run")
    assert json.loads(good("get", *scope, "--json"))["values"] == got["values"]
    assert json.loads(good("apply", *scope, str(file), "--json"))["changed"]["agent.log_level"] == ["debug", None]
    good("apply", *scope, "-", input='{"app": {"doors": {"open": "11:00"}}}')
    assert good("get", *scope, "app.doors.open") == "11:00\n"
    again = good("get", *scope)
    assert "nothing changes" in good("apply", *scope, "-", input=again), "what get prints, apply takes"


def test_a_document_is_edited_and_no_text_is_ever_lost(hub: LiveFleet, tmp_path: Path) -> None:
    scope, drafts = ("-g", "kitchen"), Path(str(hub._home)) / "state" / "edgeagent" / "drafts"
    good("set", *scope, "app.lamp.on=true")
    edited = good("edit", *scope, "-m", "off", env={"EDITOR": "sed -i s/true/false/"})
    assert "app.lamp.on  true -> false" in edited and good("get", *scope, "app.lamp.on") == "false\n"
    assert "nothing was changed" in good("edit", *scope, env={"EDITOR": "true"}) and not list(drafts.iterdir())

    wrong = here("edit", *scope, env={"EDITOR": "sed -i s/app.lamp/agent/"}, input="")
    assert wrong.code == 2 and "agent.on: there is no such setting" in wrong.err
    (kept,) = drafts.iterdir()
    assert str(kept) in wrong.out and "[agent]" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    kept.unlink()

    # While the editor is open somebody else changes the document.
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\nsed -i s/false/7/ "$1"\n{ours()} config set -g kitchen app.lamp.colour=red\n')
    script.chmod(0o700)
    late = here("edit", *scope, env={"EDITOR": str(script)})
    assert late.code == 1 and f"{CONTEXT_USER} changed app.lamp.colour meanwhile" in late.err
    (kept,) = drafts.iterdir()
    assert "on = 7" in kept.read_text() and str(kept) in late.out
    assert good("get", *scope, "app.lamp", "--json") == '{"on": false, "colour": "red"}\n'
    kept.unlink()


def test_who_mistypes_edits_again(hub: LiveFleet, tmp_path: Path) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\ngrep -q wrong "$1" && sed -i "s/wrong.*/[app.again]\\nx = 1/" "$1" || echo "wrong =" >> "$1"\n')
    script.chmod(0o700)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, b"y\n")
        words = [*ours().split(), "config", "edit", "-g", "office"]
        done = subprocess.run(
            words,
            stdin=terminal,
            capture_output=True,
            text=True,
            env={**os.environ, "EDITOR": str(script)},
            timeout=PATIENCE_SECONDS,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.returncode == 0 and "it is not valid TOML" in done.stderr and "app.again.x  (not set) -> 1" in done.stdout, done


def ours() -> str:
    return f"{sys.executable} -m edgeagent"


def test_who_may_not_write_is_told_before_the_editor_opens(hub: LiveFleet, tmp_path: Path) -> None:
    for name, role, groups in (("vic", "viewer", ()), ("gia", "operator", ("munich",))):
        login = login_file(hub, tmp_path, name, role, *groups)
        context.save(Context(name=name, url=hub.url, credentials=str(login)), make_current=False)
        refused = here("edit", "-g", "berlin", "--context", name, env={"EDITOR": f"touch {tmp_path}/opened"})
        assert refused.code and ("may not write" in refused.err or "limited to the groups munich" in refused.err)
    assert not (tmp_path / "opened").exists()


#: Commands that only look, at what is not there.
LOOKS = [
    [*command, *scope]
    for command in (["get"], ["diff"], ["history"], ["rollback"])
    for scope in (["-g", "berln"], ["-d", "pi-1"])
]
LOOKED = ["no device is in such a group. Did you mean 'berlin'?", "the hub knows no such device. Did you mean 'pi-0"] * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "-d", "pi-09", "app.a.b=1"], "the hub knows no such device. Did you mean"),
        (["set", "-g", "berln", "app.a.b=1"], "Did you mean 'berlin'"),
        (["set", "app.a.b=1"], "no scope is named"),
        (["get", "--fleet", "-g", "berlin"], "more than one scope"),
        (["set", "--fleet", "-l", "site=berlin", "app.a.b=1"], "a label is what devices say about themselves"),
        (["set", "--fleet", "agent.logg=1", "agent.heartbeat_seconds=0", "hub.proxy=x"], "did you mean agent.log_level?"),
        (
            ["set", "--fleet", "agent.logg=1", "agent.heartbeat_seconds=0", "hub.proxy=x"],
            "agent.heartbeat_seconds = 0: it must be at least 1",
        ),
        (["set", "--fleet", "app.big.x=" + "x" * 61_000], "61,440 fit"),
        (["set", "--fleet", "app.a.b=[2026-11-21]"], "write a date as text"),
        (["rollback", "--fleet", "999999"], "no such revision"),
        (["effective", "pi-9"], "the hub knows no such device"),
        (["status", "-g", "berln"], "no device is in such a group"),
        *((command, said) for command, said in zip(LOOKS, LOOKED, strict=True)),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_said_before_anything_is_written(hub: LiveFleet, words: list[str], said: str) -> None:
    done = here(*words)
    assert done.code == 2 and said in done.err, done


async def test_a_group_can_be_configured_in_advance(fleet: Fleet) -> None:
    paris = Scope.group("paris")
    with pytest.raises(UsageProblem, match="no device is in such a group"):
        await fleet.config.set(paris, {"app.a.b": 1})
    made = await fleet.config.set(paris, {"app.a.b": 1}, force=True)
    assert (made.written, made.devices, made.online) == (True, 0, 0)


def test_without_await(hub: LiveFleet) -> None:
    scope = Scope.group("office")
    with Fleet.sync() as fleet:
        fleet.config.replace(scope, {})
        made = fleet.config.set(scope, {"app.a.b": 1, "app.a.c": 2}, note="sync")
        assert isinstance(made, Written) and fleet.config.read(scope).values == {"app": {"a": {"b": 1, "c": 2}}}
        fleet.config.unset(scope, ["app.a.c"])
        fleet.config.replace(scope, {"app": {"z": {"y": "x"}}})
        fleet.config.rollback(scope, made.revision)
        past = fleet.config.history(scope)
    assert [version.values for version in past[-4::3]] == [{"app": {"a": {"b": 1, "c": 2}}}] * 2


# ---- two at once, and who may not ------------------------------------------------------------------------------------------


async def test_two_operators_never_overwrite_each_other_unseen(hub: LiveFleet, fleet: Fleet, tmp_path: Path) -> None:
    scope = Scope.group("kitchen")
    start = await fleet.config.set(scope, {"app.race.a": 0, "app.race.b": 0})
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "paul", "operator")) as paul:
        seen = await fleet.config.read(scope)
        await paul.config.set(scope, {"app.race.a": 1})
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile \(20.*nothing was written|Nothing was written"):
            await fleet.config.set(scope, {"app.race.a": 2}, base=seen)
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile"):
            await fleet.config.set(scope, {"app.race": {}}, base=seen)
        with pytest.raises(Refused, match=r"paul changed app\.race\.a meanwhile"):
            await fleet.config.replace(scope, {}, base=seen)
        with pytest.raises(Refused, match=r"the newest is revision \d+ by paul"):
            await fleet.config.set(scope, {"app.race.c": 2}, revision=start.revision)
        assert (await fleet.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 0}

        # Another key is not in the way, and the other's change stays.
        made = await fleet.config.set(scope, {"app.race.b": 5}, base=seen)
        assert made.changes == {"app.race.b": (0, 5)}
        assert (await paul.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 5}

        # However many write at once, nothing gets lost.
        await asyncio.gather(
            fleet.config.set(scope, {"app.race.c": 1}),
            paul.config.set(scope, {"app.race.d": 2}),
            fleet.config.set(scope, {"app.race.e": 3}),
        )
        assert (await fleet.config.read(scope)).values["app"]["race"] == {"a": 1, "b": 5, "c": 1, "d": 2, "e": 3}


async def test_who_is_limited_to_groups_configures_only_these(hub: LiveFleet, tmp_path: Path) -> None:
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "gus", "operator", "berlin", "paris")) as gus:
        made = await gus.config.set(BERLIN, {"app.gus.x": 1})
        assert made.written and (await gus.config.read(BERLIN)).by == "gus"
        assert (await gus.config.set(Scope.group("paris"), {"app.gus.x": 1})).written, "its own group needs no device yet"
        for scope in (FLEET_ALL, Scope.group("munich"), PI_01):
            with pytest.raises(UsageProblem, match="this login is limited to the groups berlin, paris"):
                await gus.config.set(scope, {"app.gus.x": 1})
        await applied(gus, BERLIN, made.generation)


@pytest.mark.parametrize("groups", [(), ("berlin",)], ids=["viewer", "group-viewer"])
async def test_a_viewer_reads_and_writes_nothing(hub: LiveFleet, fleet: Fleet, tmp_path: Path, groups: tuple[str, ...]) -> None:
    before = (await fleet.config.set(BERLIN, {"app.seen.x": 1})).revision
    async with Fleet(url=hub.url, credentials=login_file(hub, tmp_path, "vera", "viewer", *groups)) as vera:
        assert (await vera.config.read(BERLIN)).values["app"]["seen"] == {"x": 1} and await vera.config.history(BERLIN)
        with pytest.raises(Refused, match="the role of vera may not write configuration"):
            await vera.config.set(BERLIN, {"app.seen.x": 2})
        with pytest.raises(Refused, match="the role of vera may not write configuration"):
            await vera.config.ground(BERLIN)
    assert (await fleet.config.read(BERLIN)).revision == before


async def test_what_is_allowed_is_not_refused(fleet: Fleet) -> None:
    async def work() -> int:
        return 7

    assert await unless_forbidden(fleet.client, "x", work(), Refused("x", "y")) == 7


def test_an_editor_that_removes_the_file_is_no_surprise(hub: LiveFleet) -> None:
    good("set", "-g", "kitchen", "app.lamp.on=true")
    gone = here("edit", "-g", "kitchen", env={"EDITOR": "rm"})
    assert gone.code == 1 and "cannot read" in gone.err and "Your text is in" not in gone.out


async def test_there_must_be_something_to_go_back_to(fleet: Fleet) -> None:
    scope = Scope.group("once")
    with pytest.raises(UsageProblem, match="no device is in such a group"):
        await fleet.config.rollback(scope)
    await fleet.config.set(scope, {"app.a.b": 1}, force=True)
    with pytest.raises(UsageProblem, match="there is no older one"):
        await fleet.config.rollback(scope)


async def test_a_group_that_only_has_a_document_is_known(fleet: Fleet) -> None:
    """Nobody is in it any more, or not yet."""
    scope = Scope.group("lonely")
    with pytest.raises(UsageProblem, match="no device is in such a group"):
        await fleet.config.check_known(scope)
    await fleet.config.set(scope, {"app.a.b": 1}, force=True)
    await fleet.config.check_known(scope)
    with pytest.raises(UsageProblem, match="Did you mean 'lonely'"):
        await fleet.config.check_known(Scope.group("lonly"))


def test_what_has_a_document_is_listed(hub: LiveFleet) -> None:
    for scope in ("--fleet", "-g=office", "-d=pi-02"):
        good("set", *scope.split("="), "app.listed.x=1", "app.listed.y=2", "-m", "list it")
    rows = {row["scope"]: row for row in json.loads(good("ls", "--json"))}
    kinds = [scope.partition(".")[0] for scope in rows]
    assert (
        kinds == sorted(kinds, key=["fleet", "group", "device"].index)
        and {"fleet.all", "group.office", "device.pi-02"} <= rows.keys()
    )
    row, got = rows["group.office"], json.loads(good("get", "-g", "office", "--json"))
    assert {"app.listed.x", "app.listed.y"} <= set(row.pop("keys")) and row == {
        name: got[name] for name in got if name != "values"
    }
    table = good("ls").splitlines()
    assert table[0].split() == ["SCOPE", "REVISION", "BY", "TIME", "KEYS"]
    assert [line.split()[:3] for line in table if line.startswith("group.office")] == [
        ["group.office", str(got["revision"]), CONTEXT_USER]
    ]


def test_what_get_prints_as_json_is_applied(hub: LiveFleet) -> None:
    good("set", "-g", "kitchen", "app.copied.x=1", "app.copied.y=[1]")
    shown = good("get", "-g", "kitchen", "--json")
    assert "nothing changes" in good("apply", "-g", "kitchen", "-", input=shown)
    good("apply", "-g", "office", "-", input=shown)
    assert json.loads(good("get", "-g", "office", "--json"))["values"] == json.loads(shown)["values"]
    for scope, how in (("office", "--force"), ("kitchen", "--dry-run")):
        emptied = json.loads(good("apply", "-g", scope, "-", how, "--json", input=""))
        assert emptied["changed"]["app.copied.x"] == [1, None]
    assert json.loads(good("get", "-g", "office", "--json"))["values"] == {}
