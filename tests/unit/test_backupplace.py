"""Where backups go: whole or not at all, the newest of them, and read from nobody who could have changed them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent.assembly import backupplace
from edgeagent.assembly.backupplace import STDIO, abandoned, file_in, keeps_room, opened, outdated, written
from edgeagent.errors import Failed, Refused, Unreachable
from edgeagent.leaf.storelimit import Disk


def test_it_is_there_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "hub.tar"
    with written(target) as out:
        out.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole" and stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="there is such a file already"), written(target):
        pass


def test_what_broke_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot reach it: gone"), written(tmp_path / "hub.tar") as out:
        out.write(b"half")
        raise Unreachable("reach it", "gone")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    times = [datetime(2026, 11, day, tzinfo=timezone.utc) for day in (3, 1, 2)]
    made = [file_in(tmp_path, "berlin", time) for time in times]
    others = [file_in(tmp_path, "berlin-2", times[1]), tmp_path / "edgeagent-hub-berlin-mine.tar", tmp_path / "notes"]
    for path in (*made, *others):
        path.touch()
    assert outdated(tmp_path, "berlin", 2) == [made[1]] and outdated(tmp_path, "berlin", 3) == []


def test_what_a_killed_backup_left_is_found_and_what_another_writes_is_not(tmp_path: Path) -> None:
    target = file_in(tmp_path, "berlin", datetime(2026, 11, 1, tzinfo=timezone.utc))
    left = tmp_path / f".{target.name}.abcd1234"
    for path in (
        left,
        tmp_path / ".notes",
        tmp_path / f".{file_in(tmp_path, 'berlin-2', datetime.now(timezone.utc)).name}.abcd1234",
    ):
        path.touch(0o600)
    with written(target):
        assert len(list(tmp_path.glob(f".{target.name}.*"))) == 2 and abandoned(tmp_path, "berlin") == [left]


def test_what_is_ended_by_sigterm_leaves_nothing(tmp_path: Path) -> None:
    """systemd ends a backup so that takes too long."""
    script = """if True:
        import asyncio, sys
        from pathlib import Path
        from edgeagent.assembly.backupplace import written
        from edgeagent.cli import running
        async def work(out):
            print("begun", flush=True)
            await asyncio.sleep(60)
        with written(Path(sys.argv[1])) as out:
            running.undone_if_ended(work(out))
    """
    command = [sys.executable, "-c", script, str(tmp_path / "hub.tar")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline() == b"begun\n" and len(list(tmp_path.iterdir())) == 1
        child.terminate()
    assert child.returncode == 143 and list(tmp_path.iterdir()) == []


def test_it_does_not_take_the_room_of_the_hubs_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices may fill their streams, and seven copies of those would fill the disk."""
    here = keeps_room(tmp_path / "hub.tar", tmp_path)
    others = [
        keeps_room(*paths)
        for paths in ((Path("/proc/hub.tar"), tmp_path), (STDIO, tmp_path), (tmp_path / "x", tmp_path / "none"))
    ]
    monkeypatch.setattr(backupplace, "disk_of", lambda folder: Disk(100 << 30, 2 << 30))
    here()
    monkeypatch.setattr(backupplace, "disk_of", lambda folder: Disk(100 << 30, 1 << 29))
    with pytest.raises(Failed, match="has only 512 MiB left"):
        here()
    for elsewhere in others:
        elsewhere()


def test_a_pipe_in_the_place_of_a_backup_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hub.tar", 0o600)
    with pytest.raises(Failed, match="it is no file"), opened(tmp_path / "hub.tar"):
        pass


def test_a_file_that_others_could_read_or_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.tar"
    path.write_bytes(b"x")
    path.chmod(0o644)
    with pytest.raises(Refused, match="others on this machine can read it"), opened(path):
        pass
    path.chmod(0o600)
    with opened(path) as source:
        assert source.read() == b"x"
    with pytest.raises(Failed), opened(tmp_path / "none"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.tar"
    path.touch(0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(Refused, match="it belongs to another user"), opened(path):
        pass
