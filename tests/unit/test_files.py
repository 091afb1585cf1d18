import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, Refused


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write_atomic(path, b"a long first text")
    files.write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_mode_holds_whatever_the_umask_and_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o666)
    before = os.umask(0o000)
    try:
        files.write_atomic(path, b"new", 0o600)
        assert mode(path) == 0o600
        os.umask(0o777)
        files.write_atomic(path, b"new", 0o644)
        assert mode(path) == 0o644
    finally:
        os.umask(before)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    files.write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match=r"cannot write .*state: no space left on the disk\. Free some space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.EROFS, Failed, "cannot write x: read-only file system. Make it writable"),
        (errno.EACCES, Refused, "cannot write x: permission denied. Run it as the user who owns it"),
        (errno.ENOSPC, Failed, "cannot write x: no space left on the disk. Free some space"),
    ],
)
def test_errors_of_the_disk_have_a_remedy(number: int, kind: type[EdgeError], sentence: str) -> None:
    error = files.failure("write x", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error).startswith(sentence)


def test_an_unusual_error_keeps_the_words_of_the_system() -> None:
    assert str(files.failure("write x", OSError(errno.EMFILE, "Too many open files"))) == "cannot write x: Too many open files"


def test_read_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"cannot read .*absent: there is no such file"):
        files.read_text(tmp_path / "absent")
    with pytest.raises(Failed, match="it is a folder"):
        files.read_text(tmp_path)
    (tmp_path / "latin").write_bytes(b"abc\xff")
    with pytest.raises(Failed, match=r"not UTF-8 text \(byte 3\)"):
        files.read_text(tmp_path / "latin")


def test_read_if_there_tells_absent_from_unreadable(tmp_path: Path) -> None:
    assert files.read_if_there(tmp_path / "absent") is None
    with pytest.raises(Failed):
        files.read_if_there(tmp_path)


def test_make_folder_makes_parents_and_leaves_what_is_there_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert files.make_folder(folder, 0o700) == folder
    assert mode(folder) == 0o700
    folder.chmod(0o755)
    files.make_folder(folder, 0o700)
    assert mode(folder) == 0o755


def test_a_folder_of_everybody_is_refused_and_not_touched(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(Refused, match="everybody on this machine may write"):
        files.make_folder(shared, 0o755)
    assert mode(shared) == 0o1777


def test_make_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(Failed, match="a file of that name is in the way"):
        files.make_folder(tmp_path / "x")


HOLD = """
import sys
from pathlib import Path
from edgeagent.files import Lock
Lock(Path(sys.argv[1]), "start the agent").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_lock_names_the_owner_and_is_never_stale(tmp_path: Path) -> None:
    path = tmp_path / "agent.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"held\n"
        with pytest.raises(Refused, match=f"cannot start the agent: already running as pid {owner.pid}"):
            files.Lock(path, "start the agent").acquire()
        owner.kill()
    with files.Lock(path, "start the agent"):
        assert path.read_text() == f"{os.getpid()}\n"
    with files.Lock(path, "start the agent"):
        pass  # released by the block above


@pytest.mark.parametrize("link", ["symbolic", "hard", "fifo", "dangling"])
def test_a_lock_writes_into_no_other_file(tmp_path: Path, link: str) -> None:
    """The folder's owner put it there, and we may be root."""
    victim, path = tmp_path / "victim", tmp_path / "agent.lock"
    victim.write_text("precious")
    if link == "hard":
        path.hardlink_to(victim)
    elif link == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(victim if link == "symbolic" else tmp_path / "new")
    with pytest.raises(EdgeError, match="it is a link, or no file"):
        files.Lock(path, "start the agent").acquire()
    assert victim.read_text() == "precious" and not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_whom_it_says(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65533)
    assert files.folders_owner(tmp_path) == (65534, 65533)
    files.write_atomic(tmp_path / "theirs", b"x", 0o600, files.folders_owner(tmp_path))
    files.write_atomic(tmp_path / "groups", b"x", 0o640, (-1, 65533))
    with files.Lock(tmp_path / "lock", "start the agent"):
        pass
    found = {path.name: (path.stat().st_uid, path.stat().st_gid, mode(path)) for path in tmp_path.iterdir()}
    assert found == {"theirs": (65534, 65533, 0o600), "groups": (0, 65533, 0o640), "lock": (65534, 65533, 0o644)}


def test_the_mode_of_a_new_folder_is_not_given_to_what_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, folder, make = tmp_path / "victim", tmp_path / "state", Path.mkdir
    victim.mkdir(0o700)

    def swapped(path: Path, *, parents: bool, exist_ok: bool) -> None:
        make(path, parents=parents, exist_ok=exist_ok)
        path.rmdir()
        path.symlink_to(victim)

    monkeypatch.setattr(Path, "mkdir", swapped)
    with pytest.raises(EdgeError):
        files.make_folder(folder, 0o755)
    assert mode(victim) == 0o700
