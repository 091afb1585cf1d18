"""A Debian with a real systemd, booted within a second: to install on, to look at units under it, and to break.

The root is made once (``tests/system/make-debian``). Each machine is an overlay over it, so it is new, and what is done to it is gone afterwards.
It shares our network: a hub of a test at 127.0.0.1 is its hub. What limits memory or CPU is accepted in it, and not enforced where we run
in a container ourselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["ROOT_VARIABLE", "Debian", "booted", "missing", "python", "root", "wheels"]

ROOT_VARIABLE = "EDGEAGENT_DEBIAN_ROOT"
#: How long it may take to boot, and any command in it, in seconds; it takes one.
BOOT_SECONDS, COMMAND_SECONDS = 60.0, 100.0
#: What it calls itself.
NAME = "pi-1"
#: Where it sees the folders that it is given.
SHARED = "/srv"

_NSPAWN = [
    "systemd-nspawn",
    "--quiet",
    "--boot",
    "--register=no",
    "--keep-unit",
    "--notify-ready=yes",
    "--console=pipe",
    "--resolv-conf=off",
]
#: pip in it finds the wheels that are shared with it, and needs no network; it compiles nothing, which would take half of its time.
_PIP = f"[global]\nno-index = true\nfind-links = {SHARED}/wheels\n  {SHARED}/edgeagent\ndisable-pip-version-check = true\n[install]\ncompile = false\n"
#: Its exit code when the machine shall boot again.
_REBOOT = 133


def cache() -> Path:
    """What tests keep from one run to the next. Not below $HOME, which is another for each run."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "edgeagent-tests"


def root() -> Path:
    """The Debian that machines are made of."""
    return Path(os.environ.get(ROOT_VARIABLE) or cache() / "bookworm")


def missing() -> str:
    """Why no machine can be booted here; empty: one can."""
    if os.geteuid() != 0:
        return "only root can boot a Debian"
    if shutil.which("systemd-nspawn") is None:
        return "there is no systemd-nspawn here (`apt install systemd-container`)"
    if not (root() / "usr/lib/systemd/systemd").exists():
        return f"there is no Debian at {root()}: tests/system/make-debian makes one"
    return ""


class Debian:
    """One machine. root: its ``/`` as seen from here, but for what is in its /run, /tmp, /dev and /proc. Made by :func:`booted`."""

    def __init__(self, folder: Path, shared: Mapping[str, Path]) -> None:
        self.root, self._console = folder / "root", folder / "console"
        self._argv = [*_NSPAWN, f"--directory={self.root}", f"--machine=debian-{os.getpid()}-{folder.name}"[:64]]
        self._argv += [f"--bind-ro={path}:{SHARED}/{name}" for name, path in shared.items()]
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it, and return when everything that belongs to its boot was started."""
        # A socket's path may have no more than 107 characters, and pytest's folders are deep.
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(f"{short}/notify")
            notified.settimeout(BOOT_SECONDS)
            with self._console.open("ab") as console:
                environment = {**os.environ, "NOTIFY_SOCKET": f"{short}/notify"}
                null = subprocess.DEVNULL
                self._process = subprocess.Popen(self._argv, env=environment, stdin=null, stdout=console, stderr=console)
            self._until_ready(notified)

    def _until_ready(self, notified: socket.socket) -> None:
        ready = False
        while not ready:
            try:
                words = dict(line.partition("=")[::2] for line in notified.recv(4096).decode().splitlines())
            except TimeoutError:
                raise AssertionError(f"it has not booted: {self._console.read_text(errors='replace')[-2000:]}") from None
            self._leader = int(words.get("X_NSPAWN_LEADER_PID", self._leader))
            ready = words.get("READY") == "1"

    def until_down(self) -> bool:
        """Wait until it went down by itself; whether that was to boot again (:meth:`boot`)."""
        assert self._process is not None
        return self._process.wait(BOOT_SECONDS) == _REBOOT

    def pull_the_plug(self) -> None:
        """End all that runs in it at once; what was not written to disk is still in our kernel's cache."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._leader, signal.SIGKILL)
            self._process.wait()

    def run(self, command: str, *, user: str = "root", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in it as somebody who logs in. check: fail, with what it wrote, unless its exit code is 0."""
        argv, null = self._entered(command, user), subprocess.DEVNULL
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=null)
        assert not check or done.returncode == 0, f"{user}$ {command}\n{done.stdout}{done.stderr}exit code {done.returncode}"
        return done

    def start(self, command: str, *, user: str = "root") -> subprocess.Popen[str]:
        """Like :meth:`run`, without waiting for its end."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._entered(command, user), stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def install_wheel(self) -> None:
        """Install edgeagent as its page says, from the wheels at /srv: it needs the folders of :func:`wheels`."""
        self.run("python3 -m venv /opt/edgeagent && /opt/edgeagent/bin/pip install edgeagent")

    def _entered(self, command: str, user: str) -> list[str]:
        inside = ["nsenter", f"--target={self._leader}", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--"]
        return [*inside, "env", "--ignore-environment", "TERM=dumb", "/sbin/runuser", "--login", user, "--command", command]

    def journal(self, unit: str) -> str:
        """What a unit wrote since the boot."""
        return self.run(f"journalctl --boot --no-pager --output=cat --unit={shlex.quote(unit)}").stdout


@contextlib.contextmanager
def booted(folder: Path, shared: Mapping[str, Path] | None = None) -> Iterator[Debian]:
    """A new machine that has booted, with its files in ``folder``; it is gone after the block.

    shared: folders of ours that it may read, by their names below /srv.
    """
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    layers = f"lowerdir={root()},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, folder / "root"], check=True)
    machine = Debian(folder, shared or {})
    (machine.root / "etc/pip.conf").write_text(_PIP)
    (machine.root / "etc/dpkg/dpkg.cfg.d/unsafe").write_text("force-unsafe-io\n")  # it flushes every file else
    (machine.root / "etc/hostname").write_text(f"{NAME}\n")
    (machine.root / "etc/hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
    try:
        _add_user(machine.root)
        machine.boot()
        yield machine
    finally:
        machine.pull_the_plug()
        subprocess.run(["umount", folder / "root"], check=True)


def _add_user(path: Path) -> None:
    """The user pi, who is in sudo, where the root has none."""
    if not (path / "home/pi").exists():
        subprocess.run(["chroot", path, "useradd", "-m", "-s", "/bin/bash", "-G", "sudo,dialout", "pi"], check=True)
        (path / "etc/sudoers.d/010_pi-nopasswd").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")


def wheels(folder: Path) -> dict[str, Path]:
    """Folders for :func:`booted`: edgeagent's wheel, made anew in ``folder``, and those of all that it needs, which are fetched once."""
    from deploy import wheels as making

    own = making.build(folder)
    project = (making.TREE / "pyproject.toml").read_bytes()
    kept = cache() / f"wheels-{python()}-{hashlib.sha256(project).hexdigest()[:12]}"
    with _locked(kept.with_name(f"{kept.name}.lock")):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=kept.parent) as name:
                making.fetch(Path(name, "wheels"), platform.machine(), python(), ["flash"])
                Path(name, "wheels", own.name).unlink()
                Path(name, "wheels").rename(kept)
    return {"wheels": kept, "edgeagent": folder}


def python() -> str:
    """The version of the machines' Python, ``3.11``."""
    return (root() / "usr/bin/python3").readlink().name.removeprefix("python")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
