import binascii
import json
import os

import loader
import slots

update = slots.update_module()
OLD = {
    "app.py": b"print('old')\n" * 40,
    "lib.py": b"x = 1\n" * 900,
    "sensors/__init__.py": b"",
    "sensors/adc.py": b"y = 1\n" * 50,
}
NEW = dict(OLD)
NEW.update({"app.py": b"print('new')\n" * 1000, "more/new.py": b"z = 1\n" * 300})


def board(**state):
    """One that runs version 1 from slot a."""
    slots.fresh()
    slots.fill("a", "1", OLD)
    slots.say(active="a", **state)
    return restarted()


def restarted():
    """A reset: what was in RAM is gone, and a file that was open has what was flushed."""
    if update._receiver.file is not None:
        update._receiver.file.close()
    update._receiver.__init__()
    slots.power_on()
    loader.running = loader.pick()
    return loader.running


def refused(answer, why):
    assert isinstance(answer, str) and why in answer, answer


def flash():
    """Every file but those of the slot that does not run, and what is in it."""
    found = {}
    for name in OLD:
        found[name] = slots.read("%s/a/%s" % (loader.ROOT, name))
    for name in ("slot.json", "a/manifest.json"):
        found[name] = slots.read(loader.ROOT + "/" + name)
    return found


def test_a_release_comes_and_only_what_has_changed_is_sent():
    board(bad="0.9")
    before = flash()
    sent = slots.send("2", NEW)
    assert sent == len(NEW["app.py"]) + len(NEW["more/new.py"]) and loader.verify("b") == "2"
    assert loader.state() == {"active": "a", "pending": "b", "tries": 0}
    after = flash()
    before.pop("slot.json")
    after.pop("slot.json")
    assert before == after, "the slot that runs is as it was"
    assert restarted() == "b" and loader.on_trial()
    loader.confirm()
    assert restarted() == "b" and slots.told("status")["version"] and slots.told("status")["slot"] == "b"
    assert slots.send("3", dict(OLD, **{"app.py": b"3"})) == 1 and loader.verify("a") == "3", "and now into the other one"
    assert sorted(os.listdir(loader.ROOT + "/a")) == ["app.py", "begun.json", "lib.py", "manifest.json", "sensors"]


def test_what_the_image_has_is_neither_sent_nor_written():
    board()
    frozen = slots.freeze({"lib.py": OLD["lib.py"], "app.py": NEW["app.py"]})
    os.remove(loader.ROOT + "/a/lib.py")
    assert restarted() == "a"
    assert slots.send("2", NEW) == len(NEW["more/new.py"]) and loader.verify("b") == "2"
    assert not set(frozen) & set(os.listdir(loader.ROOT + "/b"))
    assert restarted() == "b"
    loader.confirm()
    assert slots.send("1", OLD) == len(OLD["app.py"]) and restarted() == "a", "and back: what it has no more is sent"
    loader.confirm()
    slots.freeze({})
    assert loader.verify("b") is None and slots.send("2", NEW) == sum([len(NEW[name]) for name in ("app.py", "lib.py")])


def test_a_piece_of_a_file_that_the_image_has_now_does_not_stay_before_it():
    board()
    slots.begin("2", NEW)
    data = NEW["app.py"]
    slots.told("file", name="app.py", bytes=len(data), sha256=slots.sha256(data))
    slots.told("data", at=0, d="eHh4")
    slots.freeze(NEW)
    restarted()
    assert slots.send("2", NEW) == 0 and restarted() == "b", "MicroPython was exchanged in between"


def test_an_attacker_names_what_is_in_the_image():
    board()
    slots.freeze(NEW)
    slots.begin("2", NEW)
    refused(slots.told("file", name="../a/app.py", bytes=3, sha256=slots.sha256(NEW["app.py"])), "name has to be")
    data = b"evil"
    digest = slots.sha256(NEW["lib.py"])
    assert slots.told("file", name="app.py", bytes=len(data), sha256=digest) == {"at": 0}, "of that name it has another"
    refused(slots.told("data", at=0, d=binascii.b2a_base64(data).decode()), "does not have the sha256")
    assert loader.state() == {"active": "a"} and loader.verify("b") is None


def test_an_older_loader_knows_no_images_and_gets_every_file():
    board()
    slots.freeze(NEW)
    ask, verify = loader.in_image, loader._has
    del loader.in_image
    loader._has = lambda path, name, sha256: loader.sha256_of(path) == sha256
    try:
        assert slots.send("2", NEW) == len(NEW["app.py"]) + len(NEW["more/new.py"]) and restarted() == "b"
    finally:
        loader.in_image, loader._has = ask, verify


def test_it_goes_on_where_it_was_after_a_reset():
    board()
    data = NEW["app.py"]
    digest = slots.sha256(data)
    slots.begin("2", NEW)
    assert slots.told("file", name="app.py", bytes=len(data), sha256=digest) == {"at": 0}
    for at in range(0, 6144, 512):
        slots.told("data", at=at, d=binascii.b2a_base64(data[at : at + 512]).decode())
    restarted()
    refused(slots.told("data", at=6144, d="eA=="), "update.begin comes first")
    slots.begin("2", NEW)
    at = slots.told("file", name="app.py", bytes=len(data), sha256=digest)["at"]
    assert 4096 <= at <= 6144, "at most what was not flushed is lost"
    assert slots.send("2", NEW) == len(data) - at + len(NEW["more/new.py"]) and loader.verify("b") == "2"


def test_another_release_begins_anew():
    board()
    slots.begin("2", NEW)
    slots.told("file", name="more/new.py", bytes=len(NEW["more/new.py"]), sha256=slots.sha256(NEW["more/new.py"]))
    slots.told("data", at=0, d="eHh4")
    other = dict(OLD, **{"app.py": b"other"})
    assert slots.send("2.1", other) == 5 and sorted(os.listdir(loader.ROOT + "/b")) == [
        "app.py",
        "begun.json",
        "lib.py",
        "manifest.json",
        "sensors",
    ]


def test_what_came_twice_is_there_once():
    board()
    slots.begin("2", NEW)
    slots.told("file", name="more/new.py", bytes=1800, sha256=slots.sha256(NEW["more/new.py"]))
    piece = binascii.b2a_base64(NEW["more/new.py"][:512]).decode()
    assert [slots.told("data", at=0, d=piece) for _ in range(3)] == [{"at": 512}] * 3
    assert slots.send("2", NEW) > 0 and loader.verify("b") == "2"


def test_a_file_that_is_not_what_was_named_is_not_kept():
    board()
    slots.begin("2", NEW)
    slots.told("file", name="more/new.py", bytes=3, sha256=slots.sha256(b"abc"))
    refused(slots.told("data", at=0, d=binascii.b2a_base64(b"abX").decode()), "does not have the sha256")
    assert os.listdir(loader.ROOT + "/b/more") == []
    refused(slots.told("data", at=0, d="eHh4"), "update.file comes before")


def test_the_order_is_kept():
    board()
    refused(slots.told("file", name="app.py", bytes=3, sha256="a" * 64), "update.begin comes first")
    refused(slots.told("data", at=0, d="eHh4"), "update.begin comes first")
    refused(slots.told("end", sha256="a" * 64), "update.begin comes first")
    slots.begin("2", NEW)
    refused(slots.told("data", at=0, d="eHh4"), "update.file comes before")
    slots.told("file", name="more/new.py", bytes=1800, sha256=slots.sha256(NEW["more/new.py"]))
    refused(slots.told("data", at=512, d="eHh4"), "more/new.py has 0 of 1800 bytes")
    slots.told("data", at=0, d="eHh4")
    refused(slots.told("end", sha256=slots.sha256(slots.manifest("2", NEW))), "more/new.py has 3 of 1800 bytes")
    slots.told("file", name="app.py", bytes=3, sha256="a" * 64)
    slots.begin("2", NEW)
    refused(slots.told("end", sha256=slots.sha256(slots.manifest("2", NEW))), "another sha256")
    assert loader.state() == {"active": "a"} and loader.verify("b") is None


def test_one_on_trial_takes_no_update():
    board(pending="b", tries=0)
    slots.fill("b", "2", {"app.py": b"2"})
    slots.say(active="a", pending="b", tries=0)
    assert restarted() == "b"
    refused(slots.begin("3", NEW), "is on trial")
    assert loader.verify("a") == "1", "what it would go back to is still there"


def test_what_waits_for_its_reset_can_be_replaced():
    board()
    slots.send("2", NEW)
    slots.begin("3", NEW)
    assert loader.state() == {"active": "a"} and restarted() == "a"
    assert slots.send("3", NEW) > 0 and restarted() == "b"


def test_an_attacker_names_files():
    board()
    before = flash()
    slots.begin("2", NEW)
    names = ["../a/app.py", "/a/app.py", "..", "a/../../x.py", "sensors/x/y.py", "x.py/", "/x.py", "", ".py", "x.sh", "x.py.py"]
    names += [
        "manifest.json",
        "begun.json",
        "../loader.py",
        "X.py",
        "x y.py",
        "x\0.py",
        "\xe4.py",
        "x" * 33 + ".py",
        "sensors//x.py",
    ]
    names += ["./x.py", "x.", "x", "sensors", "con.py\n", None, 5, ["app.py"], {"a": 1}, True]
    for name in names:
        refused(slots.told("file", name=name, bytes=3, sha256="a" * 64), "name has to be")
    refused(slots.told("file", bytes=3, sha256="a" * 64), "name has to be")
    assert flash() == before and sorted(os.listdir(loader.ROOT)) == ["a", "b", "slot.json"]
    assert os.listdir(loader.ROOT + "/b") == ["begun.json"]


def test_an_attacker_says_sizes_and_hashes():
    board()
    for key, values in (
        ("files", (0, -1, 65, 1 << 70, "3", None, 2.0, True)),
        ("bytes", (0, -1, (512 << 10) + 1, 1 << 70, "3", None, 1e9)),
        ("sha256", ("", "a" * 63, "A" * 64, "a" * 65, 5, None, "g" * 64)),
        ("version", ("", "x" * 33, '1"', "1\n", "../2", 5, None)),
    ):
        for value in values:
            refused(slots.begin("2", NEW, **{key: value}), key + " has to be")
    slots.begin("2", NEW, files=2, bytes=1000)
    for size in (-1, (96 << 10) + 1, "5", None, 5.0, False):
        refused(slots.told("file", name="app.py", bytes=size, sha256="a" * 64), "bytes has to be")
    refused(slots.told("file", name="app.py", bytes=1001, sha256="a" * 64), "more than what was begun")
    for name in ("one.py", "two.py"):
        assert slots.told("file", name=name, bytes=100, sha256="a" * 64) == {"at": 0}
    refused(slots.told("file", name="three.py", bytes=1, sha256="a" * 64), "more than what was begun")
    assert slots.told("file", name="two.py", bytes=100, sha256="a" * 64) == {"at": 0}
    for at, d in ((-1, "eA=="), (1 << 60, "eA=="), (0, ""), (0, None), (0, 5), (0, binascii.b2a_base64(b"x" * 513).decode())):
        answer = slots.told("data", at=at, d=d)
        refused(answer, " has to be ")
    refused(slots.told("data", at=0, d=binascii.b2a_base64(b"x" * 101).decode()), "do not fit")
    refused(slots.told("data"), " has to be ")


def test_a_full_flash_says_so_and_the_board_goes_on():
    board()
    free, update.free_bytes = update.free_bytes, lambda: 40000
    try:
        refused(slots.begin("2", NEW), "has no room: 40000 bytes are free")
        refused(slots.told("file", name="app.py", bytes=3, sha256="a" * 64), "update.begin comes first")
    finally:
        update.free_bytes = free
    assert restarted() == "a"
    os.mkdir(loader.ROOT + "/b")
    slots.put(loader.ROOT + "/b/more", b"a file where a folder has to be")
    slots.put(loader.ROOT + "/b/begun.json", json.dumps(_begun("2", NEW)).encode())
    slots.begin("2", NEW)
    answer = slots.told("file", name="more/new.py", bytes=1800, sha256=slots.sha256(NEW["more/new.py"]))
    refused(answer, "the flash cannot be written")


def _begun(version, files):
    return [version, slots.sha256(slots.manifest(version, files)), len(files), sum([len(data) for data in files.values()])]


def test_files_without_an_app_are_no_release():
    board()
    try:
        slots.send("2", {"lib.py": OLD["lib.py"]})
        raise AssertionError("it was taken")
    except ValueError as error:
        assert "whole release with an app" in str(error)
    assert loader.state() == {"active": "a"} and loader.verify("b") is None


def test_the_state_is_told():
    board(bad="0.9")
    said = slots.told("status")
    assert (said["slot"], said["active"], said["bad"]) == ("a", "a", "0.9") and "pending" not in said and said["free"] > 0
    assert said["manifest"] == slots.sha256(slots.manifest("1", OLD))


def test_it_needs_its_loader():
    board()
    loader.running = None
    refused(slots.begin("2", NEW), "not started by its loader")
