"""The files of an enrolment: broken off at every single change of the disk, and begun again."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent import enrolled, settings
from edgeagent.assembly.enrolfiles import EnrolmentFiles, become
from edgeagent.enrolled import Enrolment
from edgeagent.enrolment import Admission
from edgeagent.errors import Refused
from edgeagent.settings import Settings
from edgeagent.trust import certificates, creds, jwt
from edgeagent.trust.nkeys import KeyPair
from tests.support.tlshub import LATER

ROLE = KeyPair.generate("account")
AUTHORITY = certificates.make_authority("ca", LATER).certificate.decode()
DIED = 77


def own(folder: Path) -> Settings:
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return settings.parse(f'[paths]\nstate = "{folder}"', folder / "agent.toml")


def token(key: KeyPair, device_id: str) -> str:
    return jwt.scoped_user(ROLE, subject=key.public, name=device_id, account=ROLE.public, issued_at=1)


def enrol(folder: Path, device_id: str, hub: str, *, force: bool = False) -> Enrolment:
    """What `edgeagent enroll` does with the disk, with a hub that lets every key in and gives the same key the same answer."""
    place = EnrolmentFiles(own(folder))
    found = place.completed(hub)
    if found:
        return found
    if not force:
        place.check_new()
    key = place.key()
    admission = Admission(id=device_id, jwt=token(key, device_id), renewal=token(key, device_id), hub=hub, signers={"A": "admin"})
    made = Enrolment(id=device_id, hub=hub, urls=[f"tls://{hub}:7422"])
    place.complete(key, admission, AUTHORITY if hub == "berlin" else "", made)
    return made


def check(folder: Path, device_id: str, hub: str) -> None:
    """Everything is there, of one enrolment, and nothing else."""
    found = enrolled.read(folder)
    assert found and (found.id, found.hub) == (device_id, hub)
    login, renewal = creds.load(folder / "device.creds"), creds.load(folder / "renewal.creds")
    assert login.name == renewal.name == device_id and login.seed == renewal.seed
    expected = ["authorities.pem"] if hub == "berlin" else []
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*expected, "device.creds", "enrolment.json", "renewal.creds", "trust.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def dies_at(change: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is gone, as by SIGKILL, right before its so many-th change of the disk; whether it was."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def counted(method: Any) -> Any:
            def wrapper(*arguments: Any, **named: Any) -> Any:
                nonlocal count
                count += 1
                if count == change:
                    os._exit(DIED)
                return method(*arguments, **named)

            return wrapper

        Path.replace = counted(Path.replace)  # type: ignore[method-assign]  # a process of its own
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]  # as above
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DIED)
    return code == DIED


def test_an_enrolment(tmp_path: Path) -> None:
    enrol(tmp_path / "state", "pi-1", "berlin")
    check(tmp_path / "state", "pi-1", "berlin")


def test_killed_before_any_change_of_the_disk(tmp_path: Path) -> None:
    change = 1
    while True:
        folder = tmp_path / f"{change}"
        if not dies_at(change, lambda: enrol(folder, "pi-1", "berlin")):  # noqa: B023  # called at once
            break
        key = folder / "enrolment.nk"
        seed = key.read_text().strip() if key.exists() else None
        assert (enrolled.read(folder) is not None) <= (folder / "renewal.creds").exists(), "the enrolment is written last"
        assert enrol(folder, "pi-1", "berlin").id == "pi-1"
        check(folder, "pi-1", "berlin")
        assert seed is None or creds.load(folder / "device.creds").seed == seed, "it asked with the same key"
        change += 1
    assert change > 8


def test_killed_while_another_hub_takes_over(tmp_path: Path) -> None:
    change = 1
    while True:
        folder = tmp_path / f"{change}"
        enrol(folder, "pi-1", "berlin")
        if not dies_at(change, lambda: enrol(folder, "pi-7", "munich", force=True)):  # noqa: B023  # called at once
            break
        found = enrolled.read(folder)
        whole = found is None or creds.load(folder / "device.creds").name == found.id
        assert whole, "an enrolment never stands beside the credentials of another"
        enrol(folder, "pi-7", "munich", force=True)
        check(folder, "pi-7", "munich")
        change += 1
    assert change > 12


def test_a_key_that_was_not_used_yet_is_used_again(tmp_path: Path) -> None:
    place = EnrolmentFiles(own(tmp_path / "state"))
    key = place.key()
    assert place.key() == key
    (place.folder / "enrolment.nk").write_text("SUDAMAGED")
    assert place.key() != key


def test_damaged_authorities_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    place = EnrolmentFiles(own(tmp_path / "state"))
    key = place.key()
    admission = Admission(id="pi-1", jwt=token(key, "pi-1"), renewal=token(key, "pi-1"), hub="h")
    with pytest.raises(Refused, match="authorities are damaged"):
        place.complete(key, admission, "rubbish", Enrolment(id="pi-1", hub="h", urls=["tls://h:1"]))
    assert [path.name for path in place.folder.iterdir()] == ["enrolment.nk"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_goes_on_as_whom_the_agent_runs_as(tmp_path: Path) -> None:
    """`nobody` stands for the user edgeagent here."""
    somebody = pwd.getpwnam("nobody")
    base = Path("/tmp") / f"become-{os.getpid()}"  # pytest's own folders are closed to others
    base.mkdir(0o755)
    folder = base / "state"
    folder.mkdir(0o700)
    (folder / "instance").write_text("made by root")
    victim = base / "victim"
    victim.write_text("root's")
    (folder / "hard").hardlink_to(victim)
    (folder / "soft").symlink_to(victim)

    def work() -> None:
        assert become("nobody", folder) and os.geteuid() == somebody.pw_uid
        enrol(folder, "pi-1", "berlin")
        with pytest.raises(PermissionError):
            os.setuid(0)

    try:
        assert not dies_at(0, work)
        assert victim.stat().st_uid == 0
        victim.unlink()
        (folder / "hard").unlink()
        (folder / "soft").unlink()
        assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {somebody.pw_uid}
        (folder / "instance").unlink()
        check(folder, "pi-1", "berlin")
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        base.rmdir()


def test_nobody_to_become(tmp_path: Path) -> None:
    assert not become("no-such-user-here", tmp_path)
