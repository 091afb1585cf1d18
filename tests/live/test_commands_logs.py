"""``edgeagent logs -f`` from the keys to a program on a device that goes on writing, and Ctrl-C, which ends it there."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeagent import files
from edgeagent.enrolled import TRUST_FILE
from edgeagent.fleet import Fleet
from edgeagent.trust import jwt
from edgeagent.trust.pins import Pins
from tests.support.fleet import PATIENCE_SECONDS, Device, LiveFleet, cli, start_cli
from tests.support.servers import is_alive, kill_leftovers, until

ID = "pi-77"
#: It writes its words and its number, then what comes into the file ``more``, for ever.
JOURNALCTL = """#!/bin/sh
echo "$@"
echo $$ > {folder}/pid
case "$*" in *--follow*) exec tail -n +1 -f {folder}/more;; esac
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path / "hub", 0) as fleet, fleet.borrowed():
        yield fleet
    kill_leftovers(tmp_path)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The folder of a journalctl that is ours. Its ``more`` has what it writes, ``pid`` its process."""
    folder = tmp_path / "journal"
    folder.mkdir(0o755)
    (folder / "more").touch()
    program = folder / "journalctl"
    program.write_text(JOURNALCTL.format(folder=folder))
    program.chmod(0o755)
    return folder


async def test_a_journal_is_followed_until_ctrl_c(hub: LiveFleet, journal: Path, tmp_path: Path) -> None:
    settings = f'[logs]\nallow = ["nginx"]\njournalctl = "{journal / "journalctl"}"\n'
    device = Device(hub, tmp_path / ID, ID, settings)
    await device.register("real")
    async with Fleet() as fleet:
        pins = Pins(signers={str(jwt.claims(fleet.login.jwt)["iss"]): "admin"})
        files.write_atomic(device.folder / TRUST_FILE, msgspec.json.encode(pins), 0o600)
        with device.running():
            once = await asyncio.to_thread(cli, "logs", ID, "-u", "nginx", "-n", "5", "--timeout", str(PATIENCE_SECONDS))
            words = "--no-pager --quiet --output=short-iso --lines=5 --unit=nginx.service"
            assert (once.code, once.out) == (0, f"{words}\n"), once
            following = start_cli("logs", ID, "-u", "nginx", "-f")
            try:
                assert following.stdout and following.stderr
                command = (await asyncio.to_thread(following.stderr.readline)).split(":")[0]
                assert (await asyncio.to_thread(following.stdout.readline)).endswith("--follow\n")
                for line in ("GET /", "GET /favicon.ico"):
                    with (journal / "more").open("a") as more:
                        more.write(f"{line}\n")
                    assert await asyncio.to_thread(following.stdout.readline) == f"{line}\n"
                pid = int((journal / "pid").read_text())
                assert is_alive(pid)
                following.send_signal(signal.SIGINT)
                _, err = await asyncio.to_thread(following.communicate, timeout=PATIENCE_SECONDS)
            finally:
                following.kill()
                following.wait()
            assert following.returncode == 130 and "Traceback" not in err, err
            await until(lambda: not is_alive(pid), "it ended on the device")
            row = (await (await fleet.commands.get(command)).wait(PATIENCE_SECONDS))[ID]
            assert (row.state, row.reason) == ("cancelled", f"{fleet.login.name} cancelled it while it ran")
            assert row.result.output.endswith("GET /\nGET /favicon.ico\n")
            for way in (signal.SIGTERM, signal.SIGHUP, None):
                await left(device, fleet, journal, way)
            refused = await asyncio.to_thread(cli, "logs", ID, "-u", "sshd", "--json", "--timeout", str(PATIENCE_SECONDS))
            found = json.loads(refused.out)["devices"][ID]
            assert (refused.code, found["state"]) == (3, "refused") and "logs.allow" in found["reason"]


async def left(device: Device, fleet: Fleet, journal: Path, way: signal.Signals | None) -> None:
    """Nobody watches it any more, and it ends on the device. way: the signal that says so; None: the reader of a pipe left."""
    (journal / "pid").unlink()
    following = start_cli("logs", ID, "-u", "nginx", "-f")
    try:
        assert following.stdout and following.stderr
        command = (await asyncio.to_thread(following.stderr.readline)).split(":")[0]
        assert (await asyncio.to_thread(following.stdout.readline)).endswith("--follow\n")
        if way is None:
            following.stdout.close()
        else:
            following.send_signal(way)
        err = await asyncio.to_thread(following.stderr.read)
        code = await asyncio.to_thread(following.wait, PATIENCE_SECONDS)
    finally:
        following.kill()
        following.wait()
    assert code == (0 if way is None else 128 + way) and "Traceback" not in err and f"{command} is cancelled" in err, err
    row = (await (await fleet.commands.get(command)).wait(PATIENCE_SECONDS))[ID]
    assert row.state == "cancelled"
    pid = int((journal / "pid").read_text())
    await until(lambda: not is_alive(pid), "it ended on the device")
