"""Takes a release over the line, file by file, into the slot that does not run. Resumed by offset; a file counts by its sha256 alone.

begin {version, files, bytes, sha256: of the manifest}; for each file: file {name, bytes, sha256}, data {at, d}...; end {sha256}.
"""

import binascii
import hashlib
import json
import os
import sys

import loader
import updateargs
from commands import command
from version import VERSION

MAX_FILES = 64
MAX_FILE_BYTES = 96 << 10
MAX_BYTES = 512 << 10
MAX_PIECE_BYTES = 512
RESERVE_BYTES = 32 << 10  # of the flash, for readings and settings
BLOCK_BYTES = 4096  # flushed so often: a cut costs one block at most, and flash is not worn by every piece
BEGUN = "begun.json"  # in the slot: which release the files in it are of


class Receiver:
    """One update at a time, in RAM only what the flash does not say. Every refusal is a ValueError that says why."""

    def __init__(self):
        self.folder = None
        self._forget_file()

    def _forget_file(self):
        self.file, self.name, self.at, self.size, self.sha256 = None, "", 0, 0, ""

    def begin(self, args):
        version, sha256 = updateargs.version(args), updateargs.sha256(args)
        count, size = updateargs.number(args, "files", 1, MAX_FILES), updateargs.number(args, "bytes", 1, MAX_BYTES)
        if loader.running is None:
            raise ValueError("this firmware was not started by its loader: flash it with `edgeagent firmware flash`")
        if loader.on_trial():
            raise ValueError(
                "version %s is on trial: try again when it has proved itself, in a minute unless its confirm_seconds is longer"
                % VERSION
            )
        self._close()
        self.folder = None
        slot = "b" if loader.running == "a" else "a"
        self._prepare(slot, [version, sha256, count, size])
        self.slot, self.version, self.manifest = slot, version, sha256
        self.count, self.bytes, self.named = count, size, {}
        self.folder = loader.ROOT + "/" + slot
        return {}

    def _prepare(self, slot, begun):
        found = loader.state()
        if found.get("pending"):
            loader.write({key: found[key] for key in found if key not in ("pending", "tries")})
        folder = loader.ROOT + "/" + slot
        _remove(folder + "/manifest.json")
        if _json(folder + "/" + BEGUN) == begun:
            return
        _wipe(folder)
        need, free = begun[3] + begun[2] * BLOCK_BYTES + RESERVE_BYTES, free_bytes()
        if need > free:
            raise ValueError("the flash has no room: %d bytes are free, and %d are needed" % (free, need))
        _make_folder(folder)
        _write(folder + "/" + BEGUN, json.dumps(begun))

    def begin_file(self, args):
        self._is_begun()
        name, size, sha256 = updateargs.name(args), updateargs.number(args, "bytes", 0, MAX_FILE_BYTES), updateargs.sha256(args)
        self._close()
        named = dict(self.named)
        named[name] = (size, sha256)
        if len(named) > self.count or sum([each[0] for each in named.values()]) > self.bytes:
            raise ValueError("%s is more than what was begun: %d files, %d bytes" % (name, self.count, self.bytes))
        self.named = named
        path = self.folder + "/" + name
        if _in_image(path, name, sha256) or _is_there(path, size, sha256) or self._copied(name, size, sha256):
            return {"have": True}
        return self._open(path, name, size, sha256)

    def _copied(self, name, size, sha256):
        """Whether the slot that runs has the same file, and it was copied."""
        source = loader.ROOT + "/" + loader.running + "/" + name
        if not _is_there(source, size, sha256):
            return False
        path = self.folder + "/" + name
        _make_folder_of(path)
        buffer = bytearray(512)
        with open(source, "rb") as old, open(path, "wb") as new:
            while True:
                count = old.readinto(buffer)
                if not count:
                    break
                new.write(memoryview(buffer)[:count])
                loader.feed()
        return _is_there(path, size, sha256)

    def _open(self, path, name, size, sha256):
        at = _size(path)
        if at >= size:  # it is another file, or an empty one
            _remove(path)
            at = 0
        _make_folder_of(path)
        self.file, self.name, self.at, self.size, self.sha256 = open(path, "ab"), name, at, size, sha256
        if not size:
            self._finish()
            return {"have": True}
        return {"at": at}

    def data(self, args):
        self._is_begun()
        if self.file is None:
            raise ValueError("no file is being received: update.file comes before update.data")
        at, piece = updateargs.number(args, "at", 0, MAX_FILE_BYTES), updateargs.piece(args, MAX_PIECE_BYTES)
        if at < self.at:  # it came twice
            return {"at": self.at}
        if at > self.at or at + len(piece) > self.size:
            raise ValueError("%s has %d of %d bytes: %d more at %d do not fit" % (self.name, self.at, self.size, len(piece), at))
        self.file.write(piece)
        self.at = then = at + len(piece)
        if then == self.size:
            self._finish()
        elif then // BLOCK_BYTES != at // BLOCK_BYTES:
            self.file.flush()
        return {"at": then}

    def _finish(self):
        path, name, size, sha256 = self.folder + "/" + self.name, self.name, self.size, self.sha256
        self._close()
        if not _is_there(path, size, sha256):
            _remove(path)
            raise ValueError("%s does not have the sha256 that was named: send it again" % name)

    def end(self, args):
        self._is_begun()
        sha256 = updateargs.sha256(args)
        if self.file is not None:
            raise ValueError("%s has %d of %d bytes" % (self.name, self.at, self.size))
        text = manifest(self.version, {name: self.named[name][1] for name in self.named})
        if not sha256 == self.manifest == _hex(text.encode()):
            raise ValueError("the files that were named are not those of the release: their manifest has another sha256")
        _wipe(self.folder, self.named)
        _write(self.folder + "/manifest.json", text)
        if loader.verify(self.slot) != self.version:
            _remove(self.folder + "/manifest.json")
            raise ValueError("what is in flash is not a whole release with an app: send it again")
        loader.write({"active": loader.running, "pending": self.slot, "tries": 0})
        self.folder = None
        restart()
        return {"pending": self.slot}

    def _is_begun(self):
        if self.folder is None:
            raise ValueError("no update is under way: update.begin comes first, also after a reset")

    def _close(self):
        file = self.file
        self._forget_file()
        if file is not None:
            file.close()


def manifest(version, files):
    """Its text, the same wherever it is made: {"version":"...","files":{...}}, files by name, no blanks."""
    names = ",".join(['"%s":"%s"' % (name, files[name]) for name in sorted(files)])
    return '{"version":"%s","files":{%s}}' % (version, names)


def status(args):
    found = loader.state()
    said = {key: found[key] for key in ("active", "pending", "tries", "bad") if key in found}
    said["version"], said["slot"], said["free"] = VERSION, loader.running, free_bytes()
    mpy = getattr(sys.implementation, "_mpy", 0)
    said["mpy"] = "%d.%d" % (mpy & 0xFF, mpy >> 8 & 3) if mpy else ""
    try:
        said["manifest"] = loader.sha256_of("%s/%s/manifest.json" % (loader.ROOT, loader.running))
    except OSError:
        pass  # a board that somebody put together by hand
    return said


def before_restart():
    """The app puts its own in place of this: what is in RAM alone would be lost."""


def restart(seconds=1):
    """Resets the board after that time: the answer has to be on its way first."""
    import asyncio

    async def soon():
        await asyncio.sleep(seconds)
        try:
            before_restart()
        finally:
            loader.reset()

    global _restarting
    _restarting = asyncio.create_task(soon())


def free_bytes():
    found = os.statvfs(loader.ROOT or "/")
    return found[1] * found[4]


# ---- flash ----


def _hex(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _is_there(path, size, sha256):
    try:
        return os.stat(path)[6] == size and loader.sha256_of(path) == sha256
    except OSError:
        return False


def _in_image(path, name, sha256):
    """Whether MicroPython's image has it. What was in its place is removed, for it would go before. An older loader knows no images."""
    ask = getattr(loader, "in_image", None)
    if not ask or not ask(name, sha256):
        return False
    _remove(path)
    return True


def _json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _write(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def _make_folder(path):
    try:
        os.mkdir(path)
    except OSError:
        pass  # it is there, or opening a file in it says what is wrong


def _make_folder_of(path):
    _make_folder(path.rsplit("/", 1)[0])


def _wipe(folder, keep=(), below=""):
    """Removes all but the files `keep`, and the note of what was begun if some are kept."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for each in names:
        path, name = folder + "/" + each, below + each
        if os.stat(path)[0] & 0x4000:
            _wipe(path, keep, name + "/")
            _remove_folder(path)
        elif name not in keep and not (keep and name == BEGUN):
            os.remove(path)
            loader.feed()


def _remove_folder(path):
    try:
        os.rmdir(path)
    except OSError:
        pass  # something in it is kept


_receiver = Receiver()


def _told(do):
    """What flash refuses is an answer too, and the update goes on later from where it was."""

    def answer(args):
        try:
            return do(args)
        except OSError as error:
            _receiver.folder = None
            raise ValueError("the flash cannot be written: %s" % error) from None

    return answer


command("update.begin", listed=False)(_told(_receiver.begin))
command("update.file", listed=False)(_told(_receiver.begin_file))
command("update.data", listed=False)(_told(_receiver.data))
command("update.end", listed=False)(_told(_receiver.end))
# Listed alone: it says that updates are taken.
command("update.status")(_told(status))
