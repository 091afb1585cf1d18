import json
import os
import sys

import loader
import slots

APP = b"""
import loader
from helper import VERSION
async def main(wdt):
    loader.machine.did.append((VERSION, wdt is loader.watchdog, wdt is not None))
"""


def app(version, then="return"):
    return {"helper.py": b"VERSION = '%s'\n" % version.encode(), "app.py": APP + b"    " + then.encode() + b"\n"}


def started():
    """Switch it on; what the machine did until it was reset, or was left for the REPL."""
    machine = slots.power_on()
    try:
        loader.main()
        machine.did.append("repl")
    except slots.Reset:
        pass
    return machine.did


def ran(did):
    return [each[0] for each in did if isinstance(each, tuple) and each[0] not in ("watchdog", "timer")]


def test_it_runs_what_is_active_behind_a_watchdog():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2"))
    slots.say(active="b")
    assert started() == [("watchdog", 8388), ("2", True, True), "fed", "fed", "fed", "reset"]
    assert sys.path[0] == loader.ROOT + "/b" and loader.running == "b" and not loader.on_trial()


def test_an_app_that_fails_is_shown_and_the_board_is_reset():
    slots.fresh()
    slots.fill("a", "1", app("1", "raise RuntimeError('the oven is open')"))
    slots.say(active="a")
    shown = []
    show, loader._show = loader._show, shown.append
    assert started()[-2:] == ["fed", "reset"]
    slots.put(loader.ROOT + "/a/app.py", b"this is no Python\n")
    slots.fill("a", "1", {"app.py": b"this is no Python\n"})
    assert started()[-1] == "reset"
    loader._show = show
    assert [type(each).__name__ for each in shown] == ["RuntimeError"] * 2 + ["SyntaxError"] * 2, (
        "also for a host that comes late"
    )


def test_what_ended_a_start_is_told_after_the_next_one_once():
    slots.fresh()
    assert loader.crashed() == ""
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2", "raise RuntimeError('the oven is open, ' + 'x' * 5000)"))
    slots.say(active="a", pending="b")
    assert ran(started()) == ["2"]
    told = loader.crashed()
    assert told.startswith("version 2 ended with\n") and told.rstrip().endswith("xxx") and len(told) < 1100
    assert loader.crashed() == ""
    slots.say(active="b")
    make, loader.ROOT = loader.ROOT, "/nowhere"
    loader._keep(ValueError("there is no room"))
    loader.ROOT = make
    assert loader.crashed() == ""


def test_settings_can_leave_the_watchdog_off_and_a_damaged_file_does_not():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    for text, is_armed in ((b'{"watchdog": false}', False), (b'{"watchdog": fal', True), (b"[]", True), (b"\xff\xfe", True)):
        slots.put(loader.ROOT + "/settings.json", text)
        assert (("watchdog", 8388) in started()) is is_armed, text


def test_files_that_are_too_much_for_the_memory_keep_nothing_from_starting():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.say(active="a")
    slots.put(loader.ROOT + "/settings.json", b"{}")
    real = json.load

    class Json:
        dumps = json.dumps

        @staticmethod
        def load(file):
            found = real(file)
            if "files" not in found:
                raise MemoryError("memory allocation failed")
            return found

    loader.json = Json
    try:
        found = started()
        assert found[:2] == [("watchdog", 8388), ("1", True, True)] and set(found[2:-1]) == {"fed"} and found[-1] == "reset", (
            found
        )
    finally:
        loader.json = json


def test_whatever_fails_the_board_is_reset_and_does_not_stay_at_the_prompt():
    slots.fresh()
    shown, (show, pick) = [], (loader._show, loader.pick)

    def fails():
        raise MemoryError("memory allocation failed")

    loader._show, loader.pick = shown.append, fails
    try:
        assert started() == ["reset"] and isinstance(shown[0], MemoryError)
    finally:
        loader._show, loader.pick = show, pick


def test_ctrl_c_leaves_a_repl_that_nothing_resets():
    slots.fresh()
    slots.fill("a", "1", app("1", "raise KeyboardInterrupt"))
    slots.say(active="b", pending="a", tries=0)
    did = started()
    assert did[-2:] == ["timer off", "repl"] and "reset" not in did
    assert loader.machine.mem32 == {0x4005B000: 1 << 30}


def test_a_version_on_trial_is_tried_three_times_and_given_up():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2", "import slots; raise slots.Reset"))
    slots.say(active="a", pending="b", tries=0)
    assert [ran(started()) for _ in range(5)] == [["2"], ["2"], ["2"], ["1"], ["1"]], "as a watchdog ends one that hangs"
    assert loader.state() == {"active": "a", "bad": "2"} and loader.bad == "2"


def test_it_counts_a_try_before_it_runs():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2"))
    slots.say(active="a", pending="b", tries=0)
    assert loader.pick() == "b" and loader.state() == {"active": "a", "pending": "b", "tries": 1}


def test_what_confirms_stays():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2", "loader.confirm()"))
    slots.say(active="a", pending="b", tries=2)
    did = started()
    assert ("timer", 300000) in did and "timer off" in did and loader.state() == {"active": "b", "crashes": 1}, "then it ended"
    assert [ran(started()) for _ in range(4)] == [["2"]] * 4 and loader.bad == ""


def test_one_that_runs_and_never_confirms_is_reset_by_a_timer_that_it_knows_nothing_of():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2", "loader.machine.over(None)"))
    slots.say(active="a", pending="b", tries=0)
    assert [ran(started()) for _ in range(4)] == [["2"]] * 3 + [["1"]]


def test_a_version_that_was_confirmed_and_crashes_at_every_start_gives_way_to_the_other_once():
    slots.fresh()
    slots.fill("a", "1", app("1", "raise RuntimeError('no oven')"))
    slots.fill("b", "2", app("2", "raise RuntimeError('no kiln')"))
    slots.say(active="b")
    assert [ran(started()) for _ in range(7)] == [["2"]] * 5 + [["1"]] * 2
    assert loader.state() == {"active": "a", "bad": "2"} and loader.bad == "2"
    assert [ran(started()) for _ in range(12)] == [["1"]] * 12, "never to and fro, and no more is written"
    assert loader.state() == {"active": "a", "bad": "2"}


def test_crashes_count_in_a_row_only_and_not_on_trial():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2", "raise RuntimeError"))
    slots.say(active="b", crashes="x")
    for _ in range(4):
        started()
    assert loader.state() == {"active": "b", "crashes": 4}
    slots.fill("b", "2", app("2", "loader.confirm()"))
    assert ran(started()) == ["2"] and loader.state() == {"active": "b", "crashes": 1}, "up, and then it ended"
    slots.fill("b", "2", app("2", "raise KeyboardInterrupt"))
    assert ran(started()) == ["2"] and loader.state() == {"active": "b", "crashes": 1}, "Ctrl-C is none"
    slots.fill("b", "2", app("2", "raise RuntimeError"))
    slots.say(active="a", pending="b", tries=0)
    started()
    assert loader.state() == {"active": "a", "pending": "b", "tries": 1}


def test_crashes_without_another_version_or_without_room_to_count_them_end_in_a_reset():
    slots.fresh()
    slots.fill("b", "2", app("2", "raise RuntimeError"))
    slots.say(active="b")
    assert [started()[-1] for _ in range(6)] == ["reset"] * 6 and loader.state() == {"active": "b"}
    slots.fill("a", "1", app("1"))
    os.mkdir(loader.ROOT + "/slot.new")
    assert [started()[-1] for _ in range(6)] == ["reset"] * 6 and loader.state() == {"active": "b"}
    verify, loader.verify = loader.verify, lambda slot: [][1] if loader.running else verify(slot)
    try:
        assert started()[-1] == "reset"
    finally:
        loader.verify = verify


def test_a_damaged_slot_is_left_for_the_other():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2"))
    slots.say(active="b")
    slots.put(loader.ROOT + "/b/helper.py", b"VERSION = '3'\n")
    assert ran(started()) == ["1"] and loader.state() == {"active": "a", "bad": "2"}
    slots.fill("b", "2", app("2"))
    os.remove(loader.ROOT + "/a/helper.py")
    assert ran(started()) == ["2"] and loader.state() == {"active": "b", "bad": "1"}


def test_what_is_not_in_the_slot_may_be_frozen_in_the_image():
    slots.fresh()
    files = app("1")
    slots.fill("a", "1", files)
    slots.say(active="a")
    os.remove(loader.ROOT + "/a/helper.py")
    assert loader.verify("a") is None
    slots.freeze({"helper.py": files["helper.py"]})
    assert loader.verify("a") == "1" and loader.pick() == "a"
    slots.freeze({"helper.py": b"VERSION = 'another'\n"})
    assert loader.verify("a") is None
    slots.freeze({"app.py": files["helper.py"], "help.py": files["helper.py"]})
    assert loader.verify("a") is None, "the same content, by another name"


def test_a_file_in_the_slot_goes_before_the_image_so_it_has_to_be_right():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.freeze(app("1"))
    slots.put(loader.ROOT + "/a/helper.py", b"VERSION = 'stale'\n")
    assert loader.verify("a") is None
    os.remove(loader.ROOT + "/a/helper.py")
    os.mkdir(loader.ROOT + "/a/helper.py")
    assert loader.verify("a") is None
    os.rmdir(loader.ROOT + "/a/helper.py")
    assert loader.verify("a") == "1"


def test_what_is_frozen_is_looked_for_right_behind_the_slot():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.say(active="a")
    started()
    assert sys.path[0] == loader.ROOT + "/a" and sys.path[1] != ".frozen", "as always where nothing is frozen"
    slots.freeze({"other.py": b""})
    assert ran(started()) == ["1"] and sys.path[:2] == [loader.ROOT + "/a", ".frozen"]


def test_no_file_in_flash_speaks_for_the_image():
    slots.fresh()
    slots.put(loader.ROOT + "/frozen_app.py", b"FILES = ('app.py 1',)\n")
    sys.path.insert(0, loader.ROOT)
    before = sys.path[:]
    assert loader._image() == () and sys.path == before and "frozen_app" not in sys.modules


def test_what_is_pending_and_not_whole_is_never_run():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2"))
    slots.put(loader.ROOT + "/b/app.py", APP)
    slots.say(active="a", pending="b", tries=0)
    assert ran(started()) == ["1"] and loader.state() == {"active": "a", "bad": "2"}


def test_a_try_that_cannot_be_counted_is_not_made():
    slots.fresh()
    slots.fill("a", "1", app("1"))
    slots.fill("b", "2", app("2"))
    slots.say(active="a", pending="b", tries=0)
    os.mkdir(loader.ROOT + "/slot.new")
    assert ran(started()) == ["1"]


def test_whatever_is_in_slot_json_a_whole_slot_runs():
    damaged = (b"", b"{", b"[1]", b"\xff\x00", b'{"active": 5}', b'{"active": "../b"}', b'{"active": "b", "pending": {}}')
    damaged += (b'{"active": "a", "pending": "a", "tries": "x"}', b'{"pending": "c", "tries": null}', b"null", b'{"active": []}')
    for text in damaged:
        slots.fresh()
        slots.fill("a", "1", app("1"))
        slots.put(loader.ROOT + "/slot.json", text)
        assert ran(started()) == ["1"], text


def test_manifests_that_say_nothing_are_no_slot():
    slots.fresh()
    for text in (b"", b"[]", b'{"version": "1"}', b'{"version": 1, "files": {}}', b'{"version": "1", "files": {}}', b"\xff"):
        slots.put(loader.ROOT + "/a/manifest.json", text)
        assert loader.verify("a") is None, text
    slots.put(loader.ROOT + "/a/manifest.json", b'{"version": "1", "files": {"app.py": 5, "../b/app.py": "x"}}')
    assert loader.verify("a") is None and loader.pick() is None


def test_without_a_whole_slot_it_says_so_until_there_is_one_or_ctrl_c():
    slots.fresh()
    slots.power_on()
    waits = []

    def wait():
        waits.append(1)
        if len(waits) == 2:
            slots.fill("b", "2", app("2", "raise KeyboardInterrupt"))

    loader.time.on_sleep = wait
    loader.main()
    assert len(waits) == 2 and loader.machine.did[1:] == [("2", True, True)]

    slots.fresh()

    def stop():
        raise KeyboardInterrupt

    loader.time.on_sleep = stop
    loader.main()
    assert loader.machine.did == []
