"""nats-server's own release, for machines that PyPI has none for (32-bit Raspberry Pi OS): checked, unpacked, and made the leaf's."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeagent import files
from edgeagent.assembly.installplace import ENVIRONMENT, Place
from edgeagent.assembly.installsteps import File, Step
from edgeagent.errors import Refused, UsageProblem
from edgeagent.places import SYSTEM_SETTINGS, SYSTEM_STATE
from edgeagent.settings import parse

__all__ = ["NatsRelease", "check_settings", "read"]

#: Where it is: outside the environment, so that an upgrade of edgeagent leaves it alone.
TARGET = "/usr/local/lib/edgeagent/nats-server"
DROP_IN = "/etc/systemd/system/edgeagent-leaf.service.d/nats-server.conf"
#: The release for arm7 has 18 MB.
MAX_BYTES = 200 << 20
_WHAT = "use this nats-server"
_SUM = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class NatsRelease:
    """data: the program itself. target: where it goes."""

    data: bytes
    target: str = TARGET

    def steps(self, place: Place) -> Iterator[Step]:
        """The program, and the leaf's unit told of it. Raises EdgeError."""
        yield File(place.path(self.target), self.data, 0o755)
        text = f"# `edgeagent install --nats-server` wrote this.\n[Service]\nExecStart=\nExecStart={self.target} -c {SYSTEM_STATE}/leaf.conf\n"
        yield File(place.path(DROP_IN), text.encode())


def read(path: Path, sha256: str) -> NatsRelease:
    """The program in ``path``: nats-server's ``.tar.gz``, or the program alone.

    sha256: of that file, as the release's page has it (SHA256SUMS). Raises Refused when it is another file, UsageProblem when it is none.
    """
    wanted = sha256.strip().lower()
    if not _SUM.match(wanted):
        why = "it is not said which file it must be" if not wanted else f"{sha256!r} is no SHA-256 sum"
        raise UsageProblem(_WHAT, why, "give --sha256 SUM, as SHA256SUMS on the release's page has it for this file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageProblem(_WHAT, f"{path} has more than {MAX_BYTES >> 20} MiB, so it is none")
    except OSError as error:
        raise files.failure(f"read {path}", error) from None
    data = files.read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise Refused(
            _WHAT, f"the SHA-256 sum of {path} is {found}", "fetch it again: it is damaged, or not the file that you mean"
        )
    program = data if data.startswith(b"\x7fELF") else _unpacked(data, path)
    if not program.startswith(b"\x7fELF"):
        raise UsageProblem(_WHAT, f"{path} is no program for Linux", "name nats-server-v...-linux-....tar.gz, or what is in it")
    return NatsRelease(program)


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                inside = archive.extractfile(member) if member.isfile() and Path(member.name).name == "nats-server" else None
                if inside is not None and member.size <= MAX_BYTES:
                    return inside.read()
    except (tarfile.TarError, OSError, EOFError):
        pass
    raise UsageProblem(_WHAT, f"there is no nats-server in {path}", "name nats-server-v...-linux-....tar.gz, or what is in it")


def check_settings(place: Place, release: NatsRelease | None) -> None:
    """Raise UsageProblem unless the leaf will have a program: with the settings that are there, or those that would be made."""
    path = place.path(str(SYSTEM_SETTINGS))
    text = files.read_if_there(path)
    named = parse(text.decode("utf-8", "replace"), path).leaf.server if text is not None else ""
    if release and text is not None and named != release.target:
        raise UsageProblem(
            _WHAT, f"{path} is there already and does not name it", f'write `server = "{release.target}"` into its [leaf]'
        )
    there = named or any(
        place.path(each).exists() for each in (TARGET, f"{ENVIRONMENT}/bin/nats-server", "/opt/edgeagent/bin/nats-server")
    )
    if not (release or there):
        raise UsageProblem(
            "install edgeagent",
            "PyPI has no nats-server for this machine, so there is none",
            "download github.com/nats-io/nats-server/releases and name the file: `edgeagent install --nats-server FILE --sha256 SUM`",
        )
