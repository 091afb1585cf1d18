"""What an enrolment leaves on the device's disk, in an order in which it may be broken off anywhere and begun again.

``enrolment.nk`` (the new key) comes first and stays until everything else is there, so that asking again is asking with the same key.
``enrolment.json`` comes last: where it is, the device is enrolled. The files of an earlier enrolment go aside as ``*.old``, that file
first, when the hub has let the device in, and are removed at the very end.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeagent import enrolled, files
from edgeagent.enrolled import AUTHORITIES_FILE, ENROLMENT_FILE, RENEWAL_FILE, TRUST_FILE, Enrolment
from edgeagent.enrolment import Admission
from edgeagent.errors import EdgeError, Refused
from edgeagent.settings import Settings
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins

__all__ = ["WHAT", "EnrolmentFiles", "become"]

WHAT = "enrol this device"
#: Who runs the agent where systemd does.
AGENT_USER = "edgeagent"


class EnrolmentFiles:
    """The files of one device, whose folder must be there."""

    def __init__(self, own: Settings) -> None:
        self.folder, self._credentials = own.state_folder, own.credentials_file
        self._key = self.folder / "enrolment.nk"

    def completed(self, hub: str) -> Enrolment | None:
        """The enrolment with ``hub`` that was broken off when all of it was there: tidied up now, with nothing left to ask."""
        found = enrolled.read(self.folder)
        if found is None or found.hub != hub or not self._is_ours(self._credentials):
            return None
        self._tidy()
        return found

    def check_new(self) -> None:
        """Raise Refused when the device is some hub's already."""
        found = enrolled.read(self.folder)
        if found is not None:
            self._refuse(f"it is enrolled as {found.id} with hub {found.hub}")
        if self._credentials.exists() and not self._is_ours(self._credentials):
            self._refuse(f"it has credentials of {creds.peek(self._credentials).name} at {self._credentials}")

    def _refuse(self, why: str) -> None:
        raise Refused(WHAT, why, "`--force` gives it up for the new one")

    def key(self) -> KeyPair:
        """The device's new key, made unless an enrolment that was broken off left one."""
        if enrolled.read(self.folder) is not None and self._is_ours(self._credentials):
            self._tidy()  # it is that of an enrolment which was completed
        data = files.read_if_there(self._key)
        if data is not None:
            with contextlib.suppress(EdgeError, UnicodeDecodeError):
                return KeyPair.from_seed(data.decode("ascii").strip())
        key = KeyPair.generate("user")
        files.write_atomic(self._key, f"{key.seed}\n".encode(), 0o600)
        return key

    def _is_ours(self, path: Path) -> bool:
        """Whether the credentials are of the key that was made for this enrolment."""
        data = files.read_if_there(self._key)
        return data is not None and path.exists() and creds.unchecked(path).seed.encode() == data.strip()

    def complete(self, key: KeyPair, admission: Admission, authorities: str, enrolment: Enrolment) -> None:
        """Write everything. authorities: PEM; empty: those of the system. Raises EdgeError; it can be called again then."""
        check_authorities(authorities)
        if not self._is_ours(self._credentials):
            self._put_aside()
        if authorities:
            self._write(self.folder / AUTHORITIES_FILE, authorities.encode())
        self._write(self.folder / TRUST_FILE, msgspec.json.encode(Pins(signers=admission.signers)) + b"\n")
        self._write(self._credentials, Credentials(admission.jwt, key.seed).format().encode())
        self._write(self.folder / RENEWAL_FILE, Credentials(admission.renewal, key.seed).format().encode())
        enrolled.write(self.folder, enrolment)
        self._tidy()

    def _tidy(self) -> None:
        names = [self._key, *self._all()]
        halves = [half for path in names for half in path.parent.glob(f".{path.name}.*")]  # of writes that were broken off
        for path in (*halves, *map(_old, self._all()), self._key):
            path.unlink(missing_ok=True)

    def _put_aside(self) -> None:
        for path in self._all():
            with contextlib.suppress(FileNotFoundError):
                path.replace(_old(path))

    def _all(self) -> Iterator[Path]:
        yield from (self.folder / name for name in (ENROLMENT_FILE, AUTHORITIES_FILE, TRUST_FILE))
        yield self._credentials
        yield self.folder / RENEWAL_FILE

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        files.write_atomic(path, data, 0o600)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def check_authorities(text: str) -> None:
    """Raise Refused when it is not empty and no certificates in PEM form: a leaf with such a file would not start."""
    try:
        if text:
            ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise Refused(WHAT, "the hub's certificate authorities are damaged", "ask whoever runs the hub") from None


def become(user: str, folder: Path) -> bool:
    """Give ``folder`` and the files in it to ``user``, and go on as that user for good, if we are root and there is one; whether we did.

    So whatever is written belongs, from the first byte, to whom the agent will run as.
    """
    if os.geteuid() != 0:
        return False
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return False
    files.make_folder(folder, 0o700)
    try:
        _give(folder, found.pw_uid, found.pw_gid)
        os.initgroups(user, found.pw_gid)
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
    except OSError as error:
        raise files.failure(f"go on as the user {user}", error) from None
    return True


def _give(folder: Path, user: int, group: int) -> None:
    """The folder and the plain files in it. Raises OSError.

    By descriptor, and nothing that has a second name: the folder may be that user's already, and a link would give away another's file.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(opened) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        for name in names:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
            try:
                found = os.fstat(file)
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    os.fchown(file, user, group)
            finally:
                os.close(file)
        os.fchown(opened, user, group)
    finally:
        os.close(opened)
