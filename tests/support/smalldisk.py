"""A real file system that can be filled: a tmpfs of some megabytes, wherever the tests run.

As root it is mounted; without that right sudo mounts it, or a process in name spaces of its own, whose view of it is reached by way of
/proc. Where none of that is allowed, as in a container without rights, /dev/shm of the container is a small tmpfs already.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SmallDisk", "small_disk"]

#: A larger /dev/shm is the machine's, and filling it would hurt others.
_SHM_BYTES = 128 << 20


class SmallDisk:
    """path: a folder on it."""

    def __init__(self, path: Path) -> None:
        self.path, self._ballast = path, path / "ballast"

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Another program takes all that is left, to the last byte."""
        with self._ballast.open("ab", buffering=0) as out, contextlib.suppress(OSError):
            while out.write(bytes(1 << 16)):
                pass
        with self._ballast.open("ab", buffering=0) as out, contextlib.suppress(OSError):
            while out.write(b"\0"):
                pass
        assert self.free == 0

    def drain(self) -> None:
        """It gives all of it back."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk of that size, at ``folder`` if it can be. Fails the test with what was tried where there is none to be had."""
    tried = []
    for way in (_mounted, _mounted_by_sudo, _in_name_spaces, _shared_memory):
        with contextlib.ExitStack() as stack:
            try:
                path = way(stack, folder, megabytes)
            except (OSError, subprocess.SubprocessError) as error:
                tried.append(f"{way.__name__}: {error}")
                continue
            yield SmallDisk(path)
            return
    raise AssertionError(f"no small disk can be made here: {'; '.join(tried)}")


def _mounted(stack: contextlib.ExitStack, folder: Path, megabytes: int, *sudo: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    how = f"size={megabytes}m,mode=700,uid={os.getuid()},gid={os.getgid()}"
    _run(*sudo, "mount", "-t", "tmpfs", "-o", how, "edgeagent-test", str(folder))
    stack.callback(_run, *sudo, "umount", "--lazy", str(folder))
    return folder


def _mounted_by_sudo(stack: contextlib.ExitStack, folder: Path, megabytes: int) -> Path:
    return _mounted(stack, folder, megabytes, "sudo", "-n")


def _in_name_spaces(stack: contextlib.ExitStack, folder: Path, megabytes: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o size={megabytes}m,mode=700 edgeagent-test "$0" && echo mounted && exec sleep infinity'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stack.callback(holder.wait)
    stack.callback(holder.kill)
    assert holder.stdout
    stack.callback(holder.stdout.close)
    if holder.stdout.readline() != "mounted\n":
        raise OSError("user name spaces are not allowed")
    return Path(f"/proc/{holder.pid}/root{folder}")


def _shared_memory(stack: contextlib.ExitStack, folder: Path, megabytes: int) -> Path:
    shared = Path("/dev/shm")
    found = os.statvfs(shared)
    size = found.f_blocks * found.f_frsize
    if not megabytes << 20 <= size <= _SHM_BYTES:
        raise OSError(f"/dev/shm has {size >> 20} MiB")
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=shared)))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)
