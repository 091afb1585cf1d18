from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent import status
from edgeagent.cli.local import describe
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.status import (
    CollectorStatus,
    CommandsStatus,
    ForwardStatus,
    LeafStatus,
    LinkStatus,
    Problem,
    RaisedAlert,
    SamplingStatus,
    Status,
)
from edgeagent.wire import LinkRepairs

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


def made(**more: object) -> Status:
    values: dict[str, object] = {
        "id": "pi-01",
        "version": "0.1.0",
        "pid": os.getpid(),
        "started": "2026-11-21T10:00:00.000Z",
        "written": "2026-11-21T12:00:00.000Z",
        "leaf": LeafStatus(mode="managed", state="running", port=4222, wished_port=4222, version="2.15.1"),
        "link": LinkStatus(
            up=True, hub="nats-leaf://hub:7422", since="2026-11-21T11:00:00Z", acknowledged="2026-11-21T11:59:30Z"
        ),
        **more,
    }
    return Status(**values)  # type: ignore[arg-type]  # passed on as they are


def test_written_and_read_by_anybody(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    written = made(
        groups=["berlin"], queries_answered=7, waiting={"samples": 3}, problems=[Problem("it smokes", "pull the plug")]
    )
    status.write(path, written)
    assert status.read(path) == written
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_folder_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    status.write(tmp_path / "gone" / "status.json", made())
    assert not (tmp_path / "gone").exists()


def test_none_yet(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"the agent has not run here\. Start it: `edgeagent run`"):
        status.read(tmp_path / "status.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"id":"\xff"}', b"\0" * 100])
def test_a_damaged_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(Failed, match="is damaged"):
        status.read(path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="cannot read the agent's status: it is a folder"):
        status.read(tmp_path)


def test_a_newer_agents_status_is_read(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    status.write(path, made())
    path.write_text(path.read_text().replace('"v": 1', '"v": 2, "colour": "red"').replace("{", '{"new": [1], ', 1))
    assert status.read(path).id == "pi-01"


def test_whether_it_runs() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not status.is_running(made(pid=ended.pid))
    other = subprocess.Popen(["sleep", "600"])
    ours = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()", "edgeagent"], stdin=-1, stdout=-1
    )
    try:
        assert ours.stdout is not None and ours.stdout.readline()
        assert not status.is_running(made(pid=other.pid)), "another process with its number"
        assert status.is_running(made(pid=ours.pid))
    finally:
        for process in (other, ours):
            process.kill()
            process.communicate()


def test_described_for_people() -> None:
    assert describe(made(groups=["berlin", "kitchen"]), True, NOW) == [
        f"pi-01  edgeagent 0.1.0 runs since 2h (pid {os.getpid()})",
        "  hub      linked since 1h, last acknowledged 30s ago  (nats-leaf://hub:7422)",
        "  leaf     running, nats://127.0.0.1:4222  (nats-server 2.15.1)",
        "  groups   berlin, kitchen",
        "  waiting  nothing",
    ]


@pytest.mark.parametrize(
    ("repairs", "line"),
    [
        (LinkRepairs(dialled=2, last="dialled", time="2026-11-21T11:55:00.000Z"), "dialled anew 2 times; the last 5m ago"),
        (
            LinkRepairs(dialled=1, reloaded=1, restarted=3, last="restarted", time="2026-11-21T10:00:00Z"),
            "dialled anew, remote made anew, leaf restarted 3 times; the last 2h ago",
        ),
    ],
)
def test_what_was_done_for_the_link(repairs: LinkRepairs, line: str) -> None:
    said = describe(made(link=LinkStatus(up=True, since="2026-11-21T11:00:00Z", repairs=repairs)), True, NOW)
    assert said[2] == f"           repaired: {line}"


@pytest.mark.parametrize(
    ("commands", "line"),
    [
        (CommandsStatus(running=2), "  commands 2 running"),
        (CommandsStatus(last="ping", last_state="refused"), "  commands the last, ping, refused"),
        (
            CommandsStatus(waiting=5, running=1, last="exec", last_state="timed_out", last_ended="2026-11-21T11:58:00.000Z"),
            "  commands 1 running; the last, exec, timed out 2m ago",
        ),
    ],
    ids=["running", "refused", "both"],
)
def test_commands_are_described(commands: CommandsStatus, line: str) -> None:
    assert describe(made(commands=commands), True, NOW)[-1] == line


@pytest.mark.parametrize(
    ("sampling", "lines"),
    [
        (SamplingStatus(collectors=[CollectorStatus(name="cpu", runs=3)]), ["  sampling 1 collectors"]),
        (
            SamplingStatus(
                collectors=[CollectorStatus(name="a"), CollectorStatus(name="oven", error="it smokes\x1b")], waiting=9, dropped=2
            ),
            [
                "  sampling 2 collectors, 1 failing, 9 samples not stored yet, 2 dropped",
                "           oven: it smokes\N{REPLACEMENT CHARACTER}",
            ],
        ),
        (SamplingStatus(alerts=["full", "hot"]), ["  sampling 0 collectors", "  alerts   full, hot"]),
        (
            SamplingStatus(
                alerts=["hot"],
                raised=[
                    RaisedAlert(alert='hot{id="a"}', severity="error", value=81.5, condition="> 80", since=NOW.timestamp() - 90)
                ],
            ),
            ["  sampling 0 collectors", "  alerts   hot", '           hot{id="a"}: 81.5 (> 80), error, since 1m 30s'],
        ),
    ],
    ids=["good", "failing", "alerts", "which alerts"],
)
def test_what_is_measured_is_described(sampling: SamplingStatus, lines: list[str]) -> None:
    assert describe(made(sampling=sampling), True, NOW)[-len(lines) :] == lines


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ForwardStatus(waiting=1), "  metric   the hub was not asked yet; 1 waits"),
        (ForwardStatus(known=True, forwarded=12345), "  metric   12,345 forwarded; 0 wait"),
        (
            ForwardStatus(
                known=True, forwarded=5, waiting=2, dropped={"too_large": 1, "retention": 7}, acknowledged=NOW.timestamp() - 3
            ),
            "  metric   5 forwarded, the last 3s ago; 2 wait; dropped: retention 7, too large 1",
        ),
    ],
    ids=["unknown", "plain", "lossy"],
)
def test_forwarding_is_described(found: ForwardStatus, line: str) -> None:
    assert describe(made(forward={"metric": found, "data": ForwardStatus(known=True)}), True, NOW)[-1] == line


def test_of_an_agent_that_is_gone_nothing_is_said_as_if_it_were_so_now() -> None:
    assert describe(made(written="2026-11-21T11:59:31.000Z"), False, NOW)[:3] == [
        "pi-01  edgeagent 0.1.0 is not running; this is what it knew 29s ago",
        "  hub      was linked, last acknowledged 30s ago  (nats-leaf://hub:7422)",
        "  leaf     was running, nats://127.0.0.1:4222  (nats-server 2.15.1)",
    ]


def test_what_is_wrong_comes_with_what_to_do() -> None:
    bad = made(
        leaf=LeafStatus(mode="managed", state="backing_off", port=40001, wished_port=4222),
        link=LinkStatus(up=False),
        waiting={"samples": 3, "messages": 1},
        problems=[Problem("the hub does not acknowledge", "check the network"), Problem("it smokes")],
    )
    assert describe(bad, False, NOW)[1:] == [
        "  hub      was not linked, never acknowledged",
        "  leaf     was backing off, nats://127.0.0.1:40001, because port 4222 was taken  (nats-server ?)",
        "  groups   none",
        "  waiting  3 samples, 1 messages",
        "  wrong    the agent is not running: start it with `sudo systemctl start edgeagent` or `edgeagent run`",
        "  wrong    the hub does not acknowledge",
        "           check the network",
        "  wrong    it smokes",
    ]
