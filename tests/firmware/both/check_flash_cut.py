# MICROPYTHON_ONLY: littlefs. Power is cut at every operation of the flash, also in the middle of one.
import gc
import json

import kept
import vfs
from flash import Flash
from store import AWAY_MS, PAUSE_MS, Store

kept.RESERVE = 0
KEPT = 128


def mounted(flash):
    fs = vfs.VfsLfs2(flash, progsize=256)
    vfs.mount(fs, "/f")


def store():
    return Store(0, "/f/kept", kept_readings=KEPT, ring_bytes=4 << 10)


def measured(first):
    """A boot that measures 70 readings while nobody is there, in two files, and saves what is left."""
    made, now = store(), AWAY_MS + 1
    for number in range(first, first + 70):
        made.put({"n": number}, 0)
    while made.spill(now):
        now += PAUSE_MS
    made.save()
    return made


def delivered(made, most=999):
    """(values, lost) of all that it has, in order, delivered and acknowledged."""
    found, lost = [], 0
    while made.newest and len(found) < most:
        some = made.after(made.oldest - 1, 16, 0)
        found += [values["n"] for _, values, _ in some]
        before = made.lost
        if some:
            made.ack(made.boot, some[-1][0])
        if made.is_untold:
            lost += before
            made.told()
        elif not some:
            break
    return found, lost


def fresh():
    """Flash in which an earlier boot left 1 to 70."""
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash, progsize=256)
    mounted(flash)
    assert not measured(1).problem
    vfs.umount("/f")
    return flash


def scenario(flash, left):
    """A boot that delivers some of what there is, measures 101 to 170 and drops the oldest for it. Returns what was delivered before the cut."""
    mounted(flash)
    flash.ops, flash.left = 0, left
    found = []
    try:
        made = store()
        found = delivered(made, 16)[0]
        measured_after(made)
    except OSError:
        pass
    flash.left = None
    try:
        vfs.umount("/f")
    except OSError:
        pass
    return found


def measured_after(made):
    for number in range(101, 171):
        made.put({"n": number}, 0)
    made.save()


def check(cut, before, found, lost):
    """Files are there as a whole or not at all, in order; what was there before is there, or was dropped and counted."""
    assert found == sorted(set(found)), (cut, found)
    old, new = [each for each in found if each < 100], [each for each in found if each > 100]
    assert new in ([], list(range(101, 165)), list(range(101, 171))), (cut, new)
    missing = set(range(1, 71)) - set(old) - set(before)
    assert len(missing) <= lost <= len(missing) + 70 - len(new), (cut, sorted(missing), lost)  # a torn file is counted


def test_power_may_go_at_every_operation_of_the_flash():
    flash = fresh()
    base = bytes(flash.data)
    before = scenario(flash, None)
    total = flash.ops
    mounted(flash)
    found, lost = delivered(store())
    vfs.umount("/f")
    assert before == list(range(1, 17)) and (found, lost) == (list(range(65, 71)) + list(range(101, 171)), 48), (found, lost)
    results = set()
    for cut in range(total):
        for half in (False, True):
            gc.collect()
            flash.data[:] = base
            flash.half = half
            before = scenario(flash, cut)
            mounted(flash)
            found, lost = delivered(store())
            vfs.umount("/f")
            check((cut, half), before, found, lost)
            results.add((len(found), lost))
    assert len(results) >= 3, results
    print(json.dumps({"test": "cuts", "count": 2 * total, "error": None}))


def test_a_reading_costs_little_of_the_flash():
    flash = fresh()
    mounted(flash)
    flash.ops = 0
    made, now = store(), 0
    for number in range(640):
        now += 10000
        made.put({"temperature": 21.5, "humidity": 0.4331, "pressure": 101325.25, "n": number}, now)
        made.spill(now)
    vfs.umount("/f")
    assert 0 < flash.ops < 640 * 0.9, flash.ops
