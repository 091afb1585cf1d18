"""What the checks of `edgeagent doctor` make of the facts; tests/live/test_doctor.py breaks the things themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.assembly.findings import Finding
from edgeagent.doctor import agent, aside, clock, installed, leaf, leafport, login, page, server
from edgeagent.doctor.check import Case, Check, Patient, size_of
from edgeagent.doctor.clock import Clock
from edgeagent.doctor.examine import CHECKS, examine
from edgeagent.doctor.installed import File, Owned
from edgeagent.doctor.leafport import Answering
from edgeagent.doctor.linkprobe import Probed
from edgeagent.doctor.observed import Observed
from edgeagent.doctor.server import Program
from edgeagent.doctor.systemd import Unit, parse
from edgeagent.errors import Failed, Refused, SettingsProblem, Unreachable
from edgeagent.hub.owner import Owner
from edgeagent.leaf.linkfailures import LinkFailure
from edgeagent.machine import Machine
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings
from edgeagent.status import LeafStatus, LinkStatus, Problem, Status
from edgeagent.times import moment, rfc3339
from tests.support import fakeroot

NOW, DAY = 1_800_000_000.0, 86_400.0
GiB = 1 << 30


def said(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in findings]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


STATUS = Status(
    id="pi-01",
    version="1.0",
    pid=1,
    started=rfc3339(moment(NOW - DAY)),
    written=rfc3339(moment(NOW - 60)),
    leaf=LeafStatus(mode="managed", state="running", port=4222, wished_port=4222),
    link=LinkStatus(up=True, hub="tls://hub:7422", since=rfc3339(moment(NOW - 3600)), acknowledged=rfc3339(moment(NOW - 10))),
)
OBSERVED = Observed(now=NOW, seen=STATUS, is_running=True, version="1.0", log="/x/leaf.log")
UNIT = Unit(name="edgeagent.service", is_loaded=True, active="active", sub="running", user="edgeagent", enabled="enabled")


# ---- the agent and its leaf ---------------------------------------------------------------------------------------------------


def agent_says(**changes: Any) -> list[tuple[str, str]]:
    return said(agent.judge(replace(OBSERVED, **changes)))


def test_the_agent() -> None:
    assert agent_says() == [("good", "pi-01 runs edgeagent 1.0 since 1d")]
    assert agent_says(seen=None, is_running=False) == [("wrong", "it does not run")]
    assert agent_says(is_running=False) == [("wrong", "it does not run; it was last heard 1m ago")]
    assert agent_says(seen=None, is_running=False, unreadable="/run/x")[0][0] == "unknown"
    assert agent_says(version="2.0") == [("warn", "edgeagent 1.0 runs, and 2.0 is installed")]


def test_the_remedy_for_an_agent_that_is_down_is_the_unit_where_there_is_one() -> None:
    (alone,) = agent.judge(replace(OBSERVED, is_running=False))
    (unit,) = agent.judge(replace(OBSERVED, is_running=False, agent=UNIT))
    assert "edgeagent run" in alone.remedy and unit.remedy == "`sudo systemctl start edgeagent`"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("LoadState=loaded\nActiveState=failed\nResult=exit-code\nNRestarts=5\nUnitFileState=enabled", "it ended with an error"),
        (
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=watchdog",
            "it no longer answered the watchdog",
        ),
        ("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=oom-kill", "it was killed for want of memory"),
        ("LoadState=loaded\nActiveState=failed\nResult=something-new", "something-new"),
    ],
)
def test_a_unit_that_does_not_stay_up(shown: str, expected: str) -> None:
    unit = parse("edgeagent.service", shown)
    assert agent_says(agent=unit, is_running=False) == [("wrong", f"it does not stay up: {expected}")]
    (found,) = leaf.judge(replace(OBSERVED, leaf=unit, external=True), Answering(4222, id="pi-01"))
    assert found.text == f"its unit does not stay up: {expected}"


def test_units_that_restarted_or_are_off() -> None:
    assert agent_says(agent=replace(UNIT, restarts=7)) == [("warn", "it runs, and systemd had to start it anew: 7 times")]
    assert agent_says(agent=replace(UNIT, enabled="disabled"))[1] == ("warn", "it does not start when the machine does")
    assert not parse("x", "LoadState=not-found\nActiveState=inactive").is_loaded
    assert not parse("x", "").is_loaded and parse("x", "NRestarts=x").restarts == 0


def test_what_the_agent_complains_of_but_for_what_other_checks_say() -> None:
    problems = [Problem("no link", "r", "link"), Problem("no leaf", "r", "leaf"), Problem("a broker is away", "look there")]
    (found,) = agent.judge(replace(OBSERVED, seen=_status(problems=problems)))
    assert (found.level, found.text, found.remedy) == ("warn", "it says: a broker is away", "look there")


def _status(**changes: Any) -> Status:
    return msgspec.structs.replace(STATUS, **changes)


@pytest.mark.parametrize(("active", "level"), [("active", "good"), ("failed", "wrong"), ("inactive", "wrong")])
def test_the_helper_of_the_actions(active: str, level: str) -> None:
    assert levels(agent.judge_actions(replace(UNIT, active=active))) == [level]
    assert levels(agent.judge_actions(Unit(name="x"))) == []


def test_the_leaf() -> None:
    ours = Answering(4222, "pi-01-abcd", "2.15.1", "pi-01")
    assert said(leaf.judge(OBSERVED, ours)) == [("good", "nats-server 2.15.1 at nats://127.0.0.1:4222")]
    (other,) = leaf.judge(OBSERVED, replace(ours, server_name="pi-012-abcd"))
    assert other.level == "wrong" and "another nats-server (pi-012-abcd) answers" in other.text
    nobody = replace(ours, server_name="")
    (managed,) = leaf.judge(OBSERVED, nobody)
    (external,) = leaf.judge(replace(OBSERVED, external=True), nobody)
    assert "by itself" in managed.remedy and external.remedy.startswith("`sudo systemctl start edgeagent-leaf`")
    restarted = _status(leaf=LeafStatus(mode="managed", state="running", restarts=3))
    assert said(leaf.judge(replace(OBSERVED, seen=restarted), ours)) == [("warn", "it runs, and had to be started anew: 3 times")]


def test_the_link() -> None:
    def link(probed: Probed = Probed(), **changes: Any) -> list[Finding]:  # noqa: B008  # it is frozen
        return list(leaf.judge_link(replace(OBSERVED, **changes), probed))

    assert said(link(Probed(milliseconds=12.3))) == [("good", "the hub acknowledged just now, in 12 ms")]
    assert said(link()) == [("good", "linked since 1h, last acknowledged 10s ago")]
    (silent,) = link(Probed(problem=Unreachable("x", "no answer within 5 s")))
    assert silent.level == "wrong" and silent.text.endswith("does not answer: no answer within 5 s")
    down = _status(link=LinkStatus(up=False, hub="h"), problems=[Problem("the hub does not acknowledge", "check it", "link")])
    (told,) = link(seen=down)
    assert (
        told.text == "not linked since it started, never acknowledged: the hub does not acknowledge" and told.remedy == "check it"
    )
    (logged,) = link(seen=down, link=LinkFailure(why="it does not accept the login"))
    assert logged.text.endswith(": it does not accept the login") and "/x/leaf.log" in logged.remedy
    revoked = _status(link=LinkStatus(up=False, hub="h"), problems=[Problem("it was revoked", "ask", "link")])
    (known,) = link(seen=revoked, link=LinkFailure(why="it does not accept the login"))
    assert known.text.endswith(": it was revoked") and known.remedy == "ask"
    assert link(is_running=False) == [] and link(seen=_status(link=LinkStatus(up=False))) == []


def test_who_listens() -> None:
    row = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0"
    table = "\n".join(
        [
            "  sl",
            *(
                row.format(f"{address}:107E", state)
                for address, state in (("0100007F", "0A"), ("0100007F", "01"), ("0101A8C0", "0A"))
            ),
        ]
    )
    assert list(leafport.listens_at(table, 4222)) == ["4711"]
    assert list(leafport.listens_at(table, 4223)) == []
    everywhere = "  sl\n" + row.format("00000000000000000000000000000000:107E", "0A")
    assert list(leafport.listens_at(everywhere, 4222)) == ["4711"]


def test_who_has_a_port_that_nobody_may_look_at(tmp_path: Path) -> None:
    root = fakeroot.pi_4(tmp_path)
    root.write("/proc/net/tcp", "  sl\n 0: 0100007F:107E 00000000:0000 0A 0:0 00:0 0 0 0 4711 1 0")
    assert leafport.holder(root.machine, 4222) == "`sudo edgeagent doctor` says which"
    root.write("/proc/812/comm", "mosquitto").folder_at("/proc/812/fd")
    root.machine.path("/proc/812/fd/5").symlink_to("socket:[4711]")
    assert leafport.holder(root.machine, 4222) == "mosquitto (pid 812)"
    mqtt = leafport.Taken("MQTT", "mqtt.port", 1883, "mosquitto (pid 812)")
    assert said(leafport.judge([mqtt])) == [("wrong", "1883 for MQTT is another program's: mosquitto (pid 812)")]


# ---- files, clock, credentials, programs ---------------------------------------------------------------------------------------

OWNED = Owned(
    folder=Path("/v"),
    agent=990,
    state=File(Path("/v"), 990, 0o700),
    inside=(File(Path("/v/device.creds"), 990, 0o600),),
    settings=(File(Path("/etc/a.toml"), 0, 0o644), File(Path("/etc"), 0, 0o755)),
    runtime=File(Path("/run/e"), 990, 0o755),
    system=True,
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inside": (File(Path("/v/device.creds"), 0, 0o600),)}, "/v/device.creds belongs to root, and the agent runs as"),
        ({"settings": (File(Path("/etc/a.toml"), 990, 0o644),)}, "/etc/a.toml belongs to"),
        ({"settings": (File(Path("/etc"), 0, 0o775),)}, "others on this machine can change /etc (mode 0775)"),
        ({"runtime": File(Path("/run/e"), 990, 0o777)}, "others on this machine can change /run/e"),
        ({"state": File(Path("/v"), 990, 0o750)}, "others on this machine can enter /v"),
    ],
)
def test_files_of_others(changes: dict[str, Any], words: str) -> None:
    assert levels(installed.judge_files(OWNED)) == ["good"]
    (found,) = installed.judge_files(replace(OWNED, **changes))
    assert found.level == "wrong" and found.text.startswith(words) and found.remedy.startswith("`sudo ch")


def test_a_link_that_a_stranger_in_the_agent_left_gets_no_remedy_that_follows_it(tmp_path: Path) -> None:
    precious = tmp_path / "passwd"
    precious.touch(0o644)
    (tmp_path / "state").mkdir(0o700)
    (tmp_path / "state" / "device.creds").symlink_to(precious)
    settings = Settings(source=tmp_path / "agent.toml", paths=PathSettings(state="state", runtime="run"))
    (found,) = installed.judge_files(installed.read_files(Patient(settings=settings)))
    assert found.text.endswith("device.creds is a link") and "chmod" not in found.remedy and "chown" not in found.remedy


def test_files_of_a_person_s_own_agent_and_of_roots() -> None:
    own = File(Path("/home/a.toml"), 1000, 0o644)
    assert levels(installed.judge_files(replace(OWNED, settings=(own,), system=False))) == ["good"]
    assert levels(installed.judge_files(replace(OWNED, agent=0))) == ["good"], "root may read everything"
    sticky = File(Path("/tmp"), 0, 0o777 | 0o1000)
    assert levels(installed.judge_files(replace(OWNED, settings=(sticky,)))) == ["good"]
    assert levels(installed.judge_files(replace(OWNED, inside=None))) == ["unknown"]
    assert levels(installed.judge_files(replace(OWNED, state=None))) == ["good"], "it never ran"


def held(**changes: Any) -> login.Held:
    return replace(login.Held(path="/v/device.creds", now=NOW, id="pi-01"), **changes)


@pytest.mark.parametrize(
    ("now", "off", "synchronized", "level", "words"),
    [
        (NOW, 0.1, True, "good", "set by the network"),
        (NOW, None, None, "good", "does not say"),
        (NOW, None, False, "warn", "nothing keeps it right"),
        (NOW, 20.0, True, "warn", "20s behind the hub's clock"),
        (NOW, -200.0, True, "wrong", "3m 20s ahead of the hub's clock"),
        (1_500_000_000.0, None, False, "wrong", "before any certificate of a hub was made"),
    ],
)
def test_clocks(now: float, off: float | None, synchronized: bool | None, level: str, words: str) -> None:
    (found,) = clock.judge(Clock(now, synchronized), held(), Probed(ahead_seconds=off))
    assert found.level == level and words in found.text


def test_a_clock_of_before_the_credentials() -> None:
    credentials = Owner.create("hub").device_credentials("pi-01", [], expires_in_seconds=90 * DAY)
    early = credentials.issued_at - DAY
    (found,) = clock.judge(Clock(early, True), held(credentials=credentials), Probed())
    assert found.level == "wrong" and "before this device's credentials were made" in found.text
    (found,) = clock.judge(Clock(credentials.issued_at + 1, True), held(credentials=credentials), Probed())
    assert found.level == "good"


@pytest.mark.parametrize(
    ("age_days", "renews", "level", "words"),
    [
        (1, False, "good", "pi-01, good for 89d"),
        (80, False, "warn", "nothing renews them"),
        (80, True, "warn", "should have been renewed"),
        (55, True, "good", "pi-01, good for 35d"),
        (91, False, "wrong", "expired 1d ago, and nothing renews it"),
        (91, True, "warn", "the agent gets new ones"),
    ],
)
def test_the_life_of_credentials(age_days: int, renews: bool, level: str, words: str) -> None:
    credentials = Owner.create("hub").device_credentials("pi-01", [], expires_in_seconds=90 * DAY)
    now = credentials.issued_at + age_days * DAY + (5 if age_days > 90 else -5)
    (found,) = login.judge(held(credentials=credentials, now=now, renews=renews))
    assert found.level == level and words in found.text


def test_credentials_otherwise() -> None:
    assert levels(login.judge(held(wanted=False))) == []
    assert levels(login.judge(held(problem=Refused("read it", "this user may not")))) == ["unknown"]
    assert levels(login.judge(held(renews=True))) == ["warn"] and levels(login.judge(held())) == ["wrong"]


def test_credentials_that_do_not_count_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Owner.create("hub").device_credentials("pi-01", [], expires_in_seconds=90 * DAY)
    credentials._claims["nbf"] = NOW + 3600
    (found,) = login.judge(held(credentials=credentials))
    assert found.level == "wrong" and "not valid before 1h from now" in found.text


@pytest.mark.parametrize(
    ("number", "bits", "name"), [(0x3E, 2, "x86_64"), (0xB7, 2, "aarch64"), (0x28, 1, "arm"), (0x999, 2, "another")]
)
def test_whose_machine_code_a_program_is(number: int, bits: int, name: str) -> None:
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + (2).to_bytes(2, "little") + number.to_bytes(2, "little")
    assert server.made_for(head).startswith(name)
    assert server.made_for(b"#!/bin/sh\n" + bytes(20)) == "" and server.made_for(head[:10]) == ""


def test_programs() -> None:
    problem = Failed("run it", "Exec format error", "install it")
    leaf_runs = Answering(4222, "pi-01-a", "2.15.1", "pi-01")
    (foreign,) = server.judge(Program(problem=problem, path=Path("/n"), made_for="x86_64", ours="aarch64"), leaf_runs)
    assert foreign.text == "/n is for x86_64, and this machine is aarch64"
    (other,) = server.judge(Program(problem=problem, path=Path("/n"), made_for="arm", ours="aarch64"), leaf_runs)
    assert (other.text, other.remedy) == ("cannot run it: Exec format error", "install it")
    found = Program(found=server.Binary(path=Path("/n"), version="2.16.0"))
    assert said(server.judge(found, leaf_runs)) == [("warn", "2.16.0 at /n, and the leaf still runs 2.15.1")]
    assert levels(server.judge(found, replace(leaf_runs, server_name="hub"))) == ["good"], "that is another's"


# ---- all of it ------------------------------------------------------------------------------------------------------------------


def patient(folder: Path, **more: Any) -> Patient:
    return Patient(settings=Settings(source=folder / "agent.toml"), machine=Machine(folder), **more)


def test_a_machine_without_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    found = examine(patient(tmp_path))
    assert found[0].check == "settings" and "is not installed" in found[0].text and "edgeagent install" in found[0].remedy
    assert {finding.check for finding in found} <= {"settings", "clock", "power"}


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    broken = SettingsProblem("use agent.toml", ["leaf.port: no number"], "mend it")
    first = examine(patient(tmp_path, problem=broken))[0]
    assert (first.level, first.text, first.remedy) == ("wrong", "cannot use agent.toml: leaf.port: no number", "mend it")
    assert examine(patient(tmp_path, problem=Refused("read /etc/a.toml", "permission denied")))[0].level == "unknown"


def one(read: Callable[[Patient], Any], judge: Callable[..., Iterable[Finding]] = lambda facts: []) -> Check:
    return Check("one", "", (read,), judge, (), alone=True)


def test_a_check_that_hangs_or_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.doctor.examine.TELL_SECONDS", 0.02)

    def fails(patient: Patient) -> None:
        raise OSError("the disk is gone")

    hung, waited = threading.Event(), list[list[str]]()
    checks = (one(lambda patient: hung.wait(60)), one(fails), one(lambda patient: 1, lambda facts: [Case("good", "fine")()]))
    found = examine(patient(tmp_path), checks=checks, on_wait=waited.append, limit_seconds=0.2)
    assert [finding.level for finding in found] == ["unknown", "unknown", "good"] and ["one"] in waited
    hung.set()
    assert "not known within 0.2 s" in found[0].text and "the disk is gone" in found[1].text


def test_what_is_bounded_ends() -> None:
    hung = threading.Event()
    with pytest.raises(TimeoutError):
        aside.bounded(hung.wait, 0.01)
    hung.set()
    with pytest.raises(ZeroDivisionError):
        aside.bounded(lambda: 1 / 0, 10)
    assert aside.bounded(lambda: 7, 10) == 7


def test_every_check_is_on_the_page_and_the_page_is_of_this_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    assert text == page.page(), "run `make docs`"
    assert re.findall(r"^## (\S+)$", text, re.MULTILINE) == [check.name for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_what_is_not_well_has_a_remedy(check: Check) -> None:
    assert len(check.name) <= 12 and check.about.endswith(".")
    assert [case.text for case in check.cases if case.level != "good" and not case.remedy] == []
    assert any(case.level == "good" for case in check.cases)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (29 * GiB, "29.0 GiB"), (5 << 50, "5120.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size_of(count) == text
