"""Where edgeagent is installed: on the machine that runs, or in a folder that is to become the image of one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeagent import __version__, files
from edgeagent.cel.semver import precedence_key
from edgeagent.errors import Refused, UsageProblem

__all__ = ["BASE", "ENVIRONMENT", "Place"]

#: The environment, root's, and the link to the one that counts: itself, or a newer one in ``releases/`` beside it.
BASE = "/opt/edgeagent"
ENVIRONMENT = f"{BASE}/current"
_WHAT = "install edgeagent"


@dataclass(frozen=True)
class Place:
    """root: the folder that stands for ``/``."""

    root: Path = Path("/")

    @property
    def is_image(self) -> bool:
        return self.root != Path("/")

    @property
    def is_live(self) -> bool:
        """Whether its systemd runs (sd_booted(3)): not in an image, nor in a chroot or a container without."""
        return not self.is_image and Path("/run/systemd/system").is_dir()

    @property
    def is_packaged(self) -> bool:
        """Whether the .deb is installed there: then its files are dpkg's. One that was removed leaves a list without programs."""
        listed = files.read_if_there(self.path("/var/lib/dpkg/info/edgeagent.list"))
        return listed is not None and f"{BASE}/bin/edgeagent".encode() in listed.split(b"\n")

    def path(self, absolute: str) -> Path:
        """Where ``absolute`` (beginning with ``/``) is. Raises Refused when a link of the image leads out of it."""
        found = self.root / absolute.lstrip("/")
        if self.is_image and not found.parent.resolve().is_relative_to(self.root.resolve()):
            raise Refused(_WHAT, f"{found.parent} leads out of {self.root}: it is a link to {found.parent.resolve()}", "mend it")
        return found

    @property
    def version(self) -> str:
        """Of the edgeagent at :data:`BASE`, whether it runs or not; empty: there is none."""
        found = self.path(f"{BASE}/lib").glob("python3*/site-packages/edgeagent-*.dist-info")
        return max((path.name.removeprefix("edgeagent-").removesuffix(".dist-info") for path in found), default="")

    def check(self) -> None:
        """Raise UsageProblem unless edgeagent is where the units look for it, and is this one; Refused where it is not root's."""
        if not self.path(f"{BASE}/bin/edgeagent").exists():
            sudo = "" if self.is_image else "sudo "
            how = f"`{sudo}python3 -m venv {BASE} && {sudo}{BASE}/bin/pip install edgeagent`"
            here = f"{how} in it, or install the .deb into it" if self.is_image else how
            raise UsageProblem(_WHAT, f"there is none at {self.path(BASE)}, where its units look for it", here)
        self._check_roots()
        if self.is_image:
            if self.version != __version__:
                why = f"it has edgeagent {self.version or 'of no version'}, and this is {__version__}"
                raise UsageProblem(_WHAT, why, "use the same version for both")
        elif not Path(sys.prefix).resolve().is_relative_to(Path(BASE).resolve()):
            raise UsageProblem(
                _WHAT,
                f"this edgeagent is at {sys.prefix}, and its units start the one at {BASE}",
                f"`sudo {BASE}/bin/edgeagent install`",
            )
        elif _is_newer(self.version):  # its units are not ours
            why = f"this is {__version__}, an upgrade from afar, and {BASE} itself has {self.version} since"
            raise UsageProblem(_WHAT, why, f"`sudo {BASE}/bin/edgeagent install`")

    def _check_roots(self) -> None:
        """Raise Refused where others than root may change what root will run."""
        if os.geteuid() != 0:
            return
        for each in (BASE, f"{BASE}/bin", f"{BASE}/lib"):
            found = self.path(each).stat()
            if found.st_uid != 0 or found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0):
                why = f"others than root may change {self.path(each)}, and root runs what is there"
                remedy = f"`sudo chown -R root: {self.path(BASE)} && sudo chmod -R go-w {self.path(BASE)}`"
                raise Refused(_WHAT, why, remedy)


def _is_newer(version: str) -> bool:
    """Than we are."""
    try:
        return precedence_key(version) > precedence_key(__version__)
    except ValueError:
        return False
