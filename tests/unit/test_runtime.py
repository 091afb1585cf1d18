from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.errors import Failed
from edgeagent.runtime import Progress, Tasks, feed_watchdog, jittered, notify_systemd, stop_on_signals, unless
from tests.support.servers import until


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def failing(error: Exception) -> None:
    raise error


async def test_waiting_ends_with_stop() -> None:
    tasks, stop = Tasks(), asyncio.Event()
    task = tasks.start("work", forever())
    waiting = asyncio.create_task(tasks.wait(stop))
    await asyncio.sleep(0)
    assert not waiting.done()
    stop.set()
    await waiting
    await tasks.close()
    assert task.cancelled() and task.get_name() == "work"


async def test_the_first_failure_is_raised_and_the_next_one_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    tasks.start("work", forever())
    tasks.start("first", failing(Failed("work", "first")))
    tasks.start("second", failing(Failed("work", "second")))
    with pytest.raises(Failed, match="first"):
        await tasks.wait(asyncio.Event())
    await tasks.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == ["second failed"]


async def test_a_task_that_ends_well_ends_nothing_else() -> None:
    tasks, stop = Tasks(), asyncio.Event()
    await tasks.start("short", asyncio.sleep(0))
    waiting = asyncio.create_task(tasks.wait(stop))
    await asyncio.sleep(0)
    assert not waiting.done()
    stop.set()
    await waiting
    await tasks.close()


async def test_the_owner_can_be_told_of_a_failure_outside_of_tasks() -> None:
    tasks = Tasks()
    waiting = asyncio.create_task(tasks.wait(asyncio.Event()))
    await asyncio.sleep(0)
    tasks.fail(Failed("work", "first"))
    tasks.fail(Failed("work", "second"))
    with pytest.raises(Failed, match="first"):
        await waiting
    await tasks.close()
    await tasks.close()
    closed = Tasks()
    await closed.close()
    closed.fail(Failed("work", "too late"))
    await closed.close()


async def test_work_that_is_done_before_the_stop() -> None:
    stop = asyncio.Event()
    assert await unless(stop, asyncio.sleep(0))
    with pytest.raises(Failed, match="no"):
        await unless(stop, failing(Failed("work", "no")))


async def test_a_stop_cancels_work_and_waits_for_its_end() -> None:
    stop, ended = asyncio.Event(), []

    async def slow() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("slow")

    doing = asyncio.create_task(unless(stop, slow()))
    await asyncio.sleep(0)
    stop.set()
    assert not await doing and ended == ["slow"]
    assert not await unless(stop, forever()), "it was set before"


async def test_who_waits_for_work_may_be_cancelled() -> None:
    work = asyncio.get_running_loop().create_future()

    async def doing() -> None:
        await work

    waiting = asyncio.create_task(unless(asyncio.Event(), doing()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.cancelled()


async def test_closing_waits_for_the_end_of_each() -> None:
    tasks, ended = Tasks(), []

    async def slow() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("slow")

    tasks.start("slow", slow())
    await asyncio.sleep(0)
    await tasks.close()
    assert ended == ["slow"]


def test_a_failure_that_nobody_waited_for_is_not_reported_twice() -> None:
    script = """
import asyncio
from edgeagent.runtime import Tasks
async def failing(): raise OSError("no")
async def main():
    tasks = Tasks()
    tasks.start("work", failing())
    await asyncio.sleep(0)
    await tasks.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, check=True)
    assert "never retrieved" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_and_a_second_one_ends(number: signal.Signals) -> None:
    script = """
import asyncio
from edgeagent.runtime import stop_on_signals
async def main():
    stop = stop_on_signals()
    print("ready", flush=True)
    await stop.wait()
    print("asked", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        assert process.wait(60) == -number
    finally:
        process.kill()
        process.communicate()


STAYS = """
import asyncio, os
from edgeagent.runtime import stop_on_signals
async def main():
    stop = stop_on_signals()
    print("ready", flush=True)
    await stop.wait()
    print("asked", flush=True)
    await asyncio.to_thread(input)
    print("ended", flush=True)
asyncio.run(main())
"""


def test_a_closed_terminal_says_so_twice_and_the_end_is_still_clean() -> None:
    process = subprocess.Popen([sys.executable, "-c", STAYS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate("go on\n", timeout=60)[0] == "ended\n" and process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_nohup_is_respected() -> None:
    process = subprocess.Popen(["nohup", sys.executable, "-c", STAYS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        assert ignored(process.pid) & 1 << signal.SIGHUP - 1
        process.communicate("go on\n", timeout=60)
    finally:
        process.kill()
        process.communicate()


def ignored(pid: int) -> int:
    """The mask of signals that a process ignores; proc(5)."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn")]
    return int(line.split()[1], 16)


async def test_the_event_is_set_in_this_process_too() -> None:
    stop = stop_on_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 60)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@edgeagent-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify_systemd("READY=1\nSTATUS=küche")
        systemd.settimeout(60)
        assert systemd.recv(1000).decode() == "READY=1\nSTATUS=küche"


def test_without_systemd_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify_systemd("READY=1")


async def test_the_watchdog_is_fed_as_long_as_the_loop_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        feeding = asyncio.create_task(feed_watchdog(Progress()))
        loop = asyncio.get_running_loop()
        try:
            for _ in range(3):
                assert await asyncio.wait_for(loop.sock_recv(systemd, 100), 60) == b"WATCHDOG=1"
        finally:
            feeding.cancel()


async def test_the_watchdog_is_not_fed_while_nothing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    progress = Progress(lambda: now[0])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000")
        progress.within(10)
        now[0] = 11.0
        feeding = asyncio.create_task(feed_watchdog(progress))
        try:
            await until(lambda: caplog.text.count("the link's probe is stuck") > 2, "it is said")
            with pytest.raises(BlockingIOError):
                systemd.recv(100)
            progress.within(10)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(systemd, 100), 60) == b"WATCHDOG=1"
            now[0] = 99.0
            progress.none()
            assert not progress.is_late, "an agent that has not begun, or ended, has no probe"
        finally:
            feeding.cancel()


async def test_no_watchdog_needs_no_feeding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await asyncio.wait_for(feed_watchdog(Progress()), 60)


def test_jitter_stays_within_its_part_and_spreads() -> None:
    found = [jittered(100) for _ in range(500)]
    assert all(90 <= seconds <= 110 for seconds in found)
    assert min(found) < 95 and max(found) > 105
    assert all(jittered(100, 0) == 100 for _ in range(10))


@pytest.mark.parametrize(("stream", "has_time"), [(None, True), ("8:1234", False)])
def test_lines_of_the_log(stream: str | None, has_time: bool) -> None:
    script = "import logging; from edgeagent.runtime import set_up_logging as s; s('info'); logging.getLogger('a').info('hello'); logging.getLogger('a').debug('no'); logging.getLogger('nats').error('no')"
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    if stream:
        environment["JOURNAL_STREAM"] = stream
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    (line,) = done.stderr.splitlines()
    assert line.endswith("I a: hello") and line.startswith("I") is not has_time
