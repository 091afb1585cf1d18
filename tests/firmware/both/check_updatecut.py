# MICROPYTHON_ONLY: a real littlefs, whose power goes at every operation on the flash, also in the middle of one
import gc
import os
import random

import loader
import slots
import vfs

update = slots.update_module()
BLOCK, BLOCKS, PAGE = 1024, 64, 256
update.BLOCK_BYTES, update.RESERVE_BYTES = BLOCK, 4096  # as small as this flash
OLD = {"app.py": b"print('old')\n" * 60, "lib.py": b"x = 1\n" * 200, "sensors/adc.py": b"y = 1\n" * 50}
NEW = {"app.py": b"print('new')\n" * 170, "lib.py": b"x = 1\n" * 200, "sensors/adc.py": b"y = 2\n" * 60, "fresh.py": b"z\n" * 40}
flash = bytearray(BLOCK * BLOCKS)


class Nor:
    """Flash in RAM: writing clears bits, erasing sets them. left: operations until its power goes; torn: the last one is half done.

    Without power it answers with an error: an exception would leave littlefs in the middle, and the next call may never end.
    """

    def __init__(self, left=None, torn=False):
        self.left, self.torn, self.done, self.off = left, torn, 0, False

    def _part(self):
        """How much of this operation is done, of 2."""
        if self.off:
            return 0
        self.done += 1
        if self.left is None or self.done <= self.left:
            return 2
        self.off = True
        return 1 if self.torn else 0

    def _answer(self):
        return -5 if self.off else 0

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        buffer[:] = memoryview(flash)[at : at + len(buffer)]
        return 0

    def writeblocks(self, block, buffer, offset=0):
        part, at = self._part(), block * BLOCK + offset
        for index in range(len(buffer) * part // 2):
            flash[at + index] &= buffer[index]
        return self._answer()

    def ioctl(self, request, value):
        if request == 4:
            return BLOCKS
        if request == 5:
            return BLOCK
        if request == 6:
            size = BLOCK * self._part() // 2
            at = value * BLOCK
            for index in range(at, at + size):
                flash[index] = 0xFF
            return self._answer()
        return 0


def mount(device):
    vfs.mount(vfs.VfsLfs2(device, progsize=PAGE, readsize=PAGE, lookahead=32), "/f")
    loader.ROOT = "/f"
    slots.power_on()


def unmount(device):
    """As when the power is gone: whatever is still open writes nothing any more."""
    device.off = True
    update._receiver.__init__()
    vfs.umount("/f")
    gc.collect()


def save(path):
    with open(path, "wb") as file:
        file.write(flash)


def restore(path):
    with open(path, "rb") as file:
        file.readinto(flash)


def install():
    """A board with the old version, as it was flashed."""
    device = Nor()
    vfs.VfsLfs2.mkfs(device, progsize=PAGE, readsize=PAGE, lookahead=32)
    mount(device)
    slots.fill("a", "1", OLD)
    slots.fill("b", "0", {"app.py": b"before the old one", "gone.py": b"g" * 300})
    slots.say(active="a")
    unmount(device)
    save("old.img")


def update_and_confirm():
    loader.running = loader.pick()
    slots.send("2", NEW, size=300)
    loader.running = loader.pick()
    loader.confirm()


def cut(left, torn):
    """The power goes after so many operations, and comes back. The version that starts then; then the update is tried again."""
    restore("old.img")
    device = Nor(left, torn)
    mount(device)
    try:
        update_and_confirm()
    except (OSError, ValueError):
        pass
    unmount(device)
    device = Nor()
    mount(device)
    loader.running = loader.pick()
    found = loader.verify(loader.running) if loader.running else None
    loader.confirm()
    if found == "1":
        slots.send("2", NEW, size=300)
    unmount(device)
    device = Nor()
    mount(device)
    loader.running = loader.pick()
    after = loader.verify(loader.running) if loader.running else None
    unmount(device)
    return found, after


def operations():
    """How many there are in a whole update."""
    restore("old.img")
    device = Nor()
    mount(device)
    update_and_confirm()
    assert loader.state() == {"active": "b"} and loader.verify("b") == "2"
    unmount(device)
    return device.done


def test_whenever_the_power_goes_a_whole_version_starts_and_takes_the_update_later():
    loader.image = ()
    install()
    cut_everywhere(operations(), 40)


def test_so_it_does_where_some_of_both_versions_is_frozen():
    """Of the old one what the new one replaces, of the new one what it brings, and what both have."""
    loader.image = ()
    install()
    slots.freeze({"lib.py": OLD["lib.py"], "sensors/adc.py": OLD["sensors/adc.py"], "fresh.py": NEW["fresh.py"]})
    try:
        device = Nor()
        mount(device)
        os.remove("/f/a/lib.py")
        os.remove("/f/a/sensors/adc.py")
        os.rmdir("/f/a/sensors")
        unmount(device)
        save("old.img")
        cut_everywhere(operations(), 25)
        assert sorted(taken()) == ["app.py", "begun.json", "manifest.json", "sensors"]
    finally:
        loader.image = ()


def taken():
    """What is in the slot of the new version after a whole update."""
    operations()
    device = Nor()
    mount(device)
    names = os.listdir("/f/b")
    unmount(device)
    return names


def cut_everywhere(count, least):
    found = {}
    assert count > least, count
    for torn in (False, True):
        for left in range(count):
            first, after = cut(left, torn)
            assert first in ("1", "2") and after == "2", (torn, left, count, first, after)
            found[first] = found.get(first, 0) + 1
    assert found["1"] > found["2"] > 0


def test_damage_of_the_slot_that_runs_is_found_and_the_other_one_runs():
    install()
    restore("old.img")
    device = Nor()
    mount(device)
    update_and_confirm()
    unmount(device)
    save("new.img")
    random.seed(5)
    starts = []
    at = 0
    while True:
        at = flash.find(b"print('new')", at + 1)
        if at < 0:
            break
        starts.append(at)
    assert len(starts) > 100
    damaged = 0
    while damaged < 5:
        restore("new.img")
        flash[random.choice(starts) + 7] ^= 1 << random.randrange(7)
        device = Nor()
        mount(device)
        if slots.read("/f/b/app.py") == NEW["app.py"]:  # it was in a block that is in use no more: where those are differs
            unmount(device)
            continue
        damaged += 1
        assert loader.pick() == "a" and loader.bad == "2" and loader.verify("a") == "1"
        assert loader.state() == {"active": "a", "bad": "2"}
        unmount(device)
    os.remove("new.img")
