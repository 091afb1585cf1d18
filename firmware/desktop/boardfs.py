"""The board's flash: a folder of the machine, mounted at ``/``. MicroPython only.

VfsPosix with a root has no working ``rename``, and lets ``..`` out of its root; this hands it whole paths instead.
"""

import errno

from vfs import VfsPosix

#: Of a Pico W's file system, 848 KiB.
_BLOCK, _BLOCKS = 4096, 212
_FOLDER, _FILE = 0x4000, 0x8000


class Flash:
    def __init__(self, folder):
        self._folder, self._at, self._machine = folder, "/", VfsPosix()

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        if "w" in mode or "a" in mode:
            self._room()
        return self._machine.open(self._real(path), mode)

    def chdir(self, path):
        parts = self._parts(path)
        if parts and not self.stat(path)[0] & _FOLDER:
            raise OSError(errno.ENOENT)
        self._at = "/" + "/".join(parts)

    def getcwd(self):
        return self._at

    def ilistdir(self, path):
        real = self._real(path)
        for name, kind, _ in self._machine.ilistdir(real):
            yield name, kind, 0, self._machine.stat(real + "/" + name)[6] if kind == _FILE else 0

    def mkdir(self, path):
        self._machine.mkdir(self._real(path))

    def remove(self, path):
        self._machine.remove(self._real(path))

    def rename(self, old, new):
        self._machine.rename(self._real(old), self._real(new))

    def rmdir(self, path):
        self._machine.rmdir(self._real(path))

    def stat(self, path):
        return self._machine.stat(self._real(path))

    def statvfs(self, path):
        free = max(0, _BLOCKS - self._used(self._folder))
        return (_BLOCK, _BLOCK, _BLOCKS, free, free, 0, 0, 0, 0, 255)

    def _used(self, folder):
        blocks = 2
        for name, kind, _ in self._machine.ilistdir(folder):
            path = folder + "/" + name
            blocks += self._used(path) if kind == _FOLDER else -(-self._machine.stat(path)[6] // _BLOCK)
        return blocks

    def _room(self):
        if self._used(self._folder) >= _BLOCKS:
            raise OSError(errno.ENOSPC if hasattr(errno, "ENOSPC") else 28)

    def _parts(self, path):
        parts = []
        for part in (path if path.startswith("/") else self._at + "/" + path).split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return parts

    def _real(self, path):
        return "/".join([self._folder] + self._parts(path))
