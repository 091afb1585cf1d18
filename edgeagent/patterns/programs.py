"""What a program that a command asked for is given, and whether its file may be run at all: user, environment, rights. Little of it
waits; :mod:`edgeagent.patterns.runner` runs it.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent import files
from edgeagent.errors import Failed, Refused

__all__ = ["MAX_TAIL_BYTES", "Program", "Tail", "check_file", "environment", "identity"]

#: How much of what a program writes is kept: its end.
MAX_TAIL_BYTES = 64 << 10
#: Debian's path of root: what a program needs is found there, and nothing that a user put elsewhere.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: As many links as the kernel follows (MAXSYMLINKS, linux/namei.h).
MAX_LINKS = 40
#: In the environment of everything that one run started, however it forked: so it is found again.
MARK = "EDGEAGENT_RUN"


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run.

    argv: its words; the first is what it is told to be called. file: what is run; None: the file that the first word names.
    user: who runs it, empty: whoever we are. environment: besides the clean one (:func:`environment`). stdin: what it can read.
    timeout_seconds: it is ended then. grace_seconds: between SIGTERM and SIGKILL.
    everything_ends: with it ends all that it started, daemons too. answer_bytes: its standard output is an answer, kept apart, of at most so many bytes; None: it is output like its standard error.
    """

    argv: tuple[str, ...]
    file: Path | None = None
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    timeout_seconds: float = 60.0
    grace_seconds: float = 5.0
    everything_ends: bool = False
    answer_bytes: int | None = None

    @property
    def path(self) -> Path:
        return self.file or Path(self.argv[0])


class Tail:
    """The end of a stream of bytes. total: how many there were."""

    def __init__(self, limit: int = MAX_TAIL_BYTES) -> None:
        self._limit, self._kept, self.total = limit, bytearray(), 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:  # not each time: moving it is what costs
            del self._kept[: -self._limit]

    @property
    def data(self) -> bytes:
        return bytes(self._kept[-self._limit :])

    @property
    def text(self) -> str:
        """What is no UTF-8 is replaced; a letter that was cut at the beginning is left out. At most ``limit`` bytes as UTF-8."""
        data = self.data
        start = next((index for index, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0) if self.total > len(data) else 0
        text = data[start:].decode("utf-8", "replace")
        # What replaces a byte takes three.
        return text.encode()[-self._limit :].decode("utf-8", "ignore")


def identity(user: str) -> tuple[pwd.struct_passwd, dict[str, Any]]:
    """Who ``user`` is (empty: who we are), and what subprocess needs to become that. Raises EdgeError."""
    try:
        found = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        who = user or f"uid {os.geteuid()}"
        raise Failed(f"run it as {who}", "there is no such user on this machine", "name another in agent.toml") from None
    if found.pw_uid == os.geteuid():
        return found, {}
    if os.geteuid() != 0:
        raise Refused(f"run it as {user}", "the agent is not root", "leave the user empty in agent.toml")
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return found, {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


def environment(user: pwd.struct_passwd, more: Mapping[str, str]) -> dict[str, str]:
    """All that a program gets: nothing of the agent's own, whose variables hold logins and could change what runs (LD_PRELOAD)."""
    own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    return {"PATH": PATH, "LANG": "C.UTF-8", "SHELL": "/bin/sh", **own, **more}


def check_file(path: Path, owners: Collection[int] | None = None, *, runs: bool = True) -> None:
    """Raise EdgeError unless the file, links followed, is a program that nobody else can have put there or may change.

    Every folder on the way counts, also that of a link. owners: user ids that all of it must belong to; None: anybody, for one that
    agent.toml itself names. runs: False for a file that is read, such as a manifest.
    """
    what = f"run {path}"
    try:
        real, on_the_way = _followed(path.absolute())
        found = real.stat()
        nearest = {parent: parent.stat() for parent in (real.parent, path.parent)}
    except RuntimeError:
        raise Failed(what, "its links lead in a circle") from None
    except OSError as error:
        raise files.failure(what, error) from None
    if not stat.S_ISREG(found.st_mode) or (runs and not found.st_mode & 0o111):
        raise Refused(what, "it is no program", f"`chmod 755 {path}` makes a file one")
    for which, status in ((real, found), *nearest.items()):
        _check_closed(what, which, status, owners)
    for which, status in on_the_way.items():
        if not status.st_mode & stat.S_ISVTX:  # as in /tmp: nobody can put another's folder away
            _check_closed(what, which, status, owners)


def _followed(path: Path) -> tuple[Path, dict[Path, os.stat_result]]:
    """Where an absolute path leads, and the folders that are looked into on the way, those of links included. Raises RuntimeError for
    links in a circle, OSError."""
    here, words, links, folders = Path("/"), list(path.parts[1:]), 0, dict[Path, os.stat_result]()
    while words:
        word = words.pop(0)
        if word == "..":
            here = here.parent
            continue
        folders.setdefault(here, here.stat())
        if stat.S_ISLNK((here / word).lstat().st_mode):
            links += 1
            if links > MAX_LINKS:
                raise RuntimeError("too many links")
            target = (here / word).readlink()
            words = [*(target.parts[1:] if target.is_absolute() else target.parts), *words]
            here = Path("/") if target.is_absolute() else here
        else:
            here /= word
    return here, folders


def _check_closed(what: str, path: Path, found: os.stat_result, owners: Collection[int] | None) -> None:
    if found.st_mode & 0o002:
        raise Refused(what, f"everybody may write to {path}", f"`chmod o-w {path}` closes it")
    if owners is None:
        return
    if found.st_uid not in owners or (found.st_mode & 0o020 and found.st_gid != 0):
        raise Refused(what, f"{path} is not root's alone", f"`chown root:root {path}` and `chmod go-w {path}`")
