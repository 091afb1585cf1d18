"""What a board says to what it hears, and when."""

import frames
from session import Session
from store import Store
from ticks import ticks_add

START = ticks_add(0, -3000)


def made(count=0, **options):
    store = Store(START, **dict({"ring_bytes": 4 << 10}, **options))
    for number in range(1, count + 1):
        store.put({"n": number}, START)
    session = Session("oven", "0.1.0", "Pico", ["led"], store, START)
    return session, store


def connected(count=0):
    """One that was greeted, and has said hello and the first readings."""
    session, store = made(count)
    session.connected()
    session.hear({"t": "hi"}, START)
    said = session.due(START)
    assert said[0]["t"] == "hello" and [each["s"] for each in said[1:]] == list(range(1, min(count, 16) + 1))
    return session, store


def sent(session, after_ms):
    """The numbers of the readings that are due."""
    return [each["s"] for each in session.due(ticks_add(START, after_ms)) if each["t"] == "r"]


def results(session):
    return [each for each in session.due(START) if each["t"] == "res"]


def test_it_says_who_it_is_and_what_it_has():
    session, store = made(3)
    session.bad = "0.2.0"
    assert session.due(START) == [], "nobody is there"
    session.connected()
    hello, first = session.due(START)[:2]
    assert hello == {
        "t": "hello", "id": "oven", "fw": "0.1.0", "hw": "Pico", "acts": ["led"], "b": store.boot, "seq": 3, "o": 1, "lost": 0, "bad": "0.2.0", "new": True,
    }  # fmt: skip
    assert first == {"t": "r", "b": store.boot, "s": 1, "o": 1, "v": {"n": 1}, "a": 0}
    assert not session.answered


def restarted(count, folder):
    """One with readings of before its reset, of which it knows the time as soon as it knows what time it is."""
    before = Store(START, folder)
    for number in range(1, count + 1):
        before.put({"n": number}, START)
    before.know_time(1700000000000, START)
    assert before.save()
    session = Session("oven", "0.1.0", "Pico", ["led"], Store(START, folder), START)
    session.connected()
    return session


def after(session, ms):
    return [(each["t"], each.get("a")) for each in session.due(ticks_add(START, ms))]


def test_what_it_kept_waits_for_the_time():
    session = restarted(2, "few")
    assert after(session, 0) == [("hello", None)] and after(session, 1900) == []
    session.hear({"t": "cfg", "v": {}}, START)
    assert after(session, 2100) == [("hello", None)], "nobody has told it the time yet"
    session.hear({"t": "hi", "u": 1700000060000}, ticks_add(START, 2200))
    assert after(session, 2200) == [("hello", None), ("r", 60000), ("r", 60000)]


def test_and_is_delivered_at_last_to_who_does_not_know_it():
    session = restarted(40, "many")
    assert len(after(session, 0)) == 1 and len(after(session, 4900)) == 1
    assert after(session, 5000) == [("r", None)] * 16
    session.hear({"t": "ack", "b": session._store.boot, "s": 16}, ticks_add(START, 5100))
    assert after(session, 5100) == [("r", None)] * 16, "that pause was the only one"
    session = restarted(16, "some")
    session.hear({"t": "hi"}, START)
    assert after(session, 0) == [("hello", None)] + [("r", None)] * 16, "an agent that does not know it either"


def test_a_version_that_is_dismissed_is_no_longer_told():
    session = connected(1)[0]
    session.bad = "0.2.0"
    session.on_command = lambda command_id, action, args: session.tell_bad("")
    session.hear({"t": "cmd", "id": "1", "a": "dismiss"}, START)
    said = session.due(START)
    assert [(each["t"], "bad" in each) for each in said if each["t"] != "r"] == [("hello", False)]
    assert session.due(START) == [], "and that once"


def test_a_hello_that_nobody_answers_is_said_again_and_again_later():
    session, _ = made()
    session.connected()
    said = [second for second in range(300) if any(each["t"] == "hello" for each in session.due(ticks_add(START, second * 1000)))]
    assert said == [0, 2, 6, 14, 30, 62, 122, 182, 242]
    session.hear({"t": "hi"}, ticks_add(START, 300000))
    assert session.answered
    said = [second for second in range(300, 500) if session.due(ticks_add(START, second * 1000))]
    assert said == [300]


def test_sixteen_are_on_their_way_and_an_ack_lets_more_go():
    session, store = connected(40)
    assert sent(session, 10) == []
    session.hear({"t": "ack", "b": store.boot, "s": 5}, START)
    assert sent(session, 20) == [17, 18, 19, 20, 21] and store.oldest == 6
    session.hear({"t": "ack", "b": store.boot, "s": 4}, START)
    session.hear({"t": "ack", "b": "other", "s": 30}, START)
    session.hear({"t": "ack", "b": store.boot, "s": 41}, START)
    assert sent(session, 30) == [] and store.oldest == 6
    session.hear({"t": "ack", "b": store.boot, "s": 40}, START)
    assert sent(session, 40) == [] and store.oldest == 41


def test_without_an_ack_it_goes_back_and_asks_less_and_less():
    session, _ = connected(20)
    again = []
    for after in range(100, 60000, 100):
        numbers = sent(session, after)
        if numbers:
            again.append((after, len(numbers)))
    assert again == [
        (800, 16),
        (1600, 16),
        (2400, 1),
        (3200, 1),
        (4800, 1),
        (8000, 1),
        (14400, 1),
        (27200, 1),
        (40000, 1),
        (52800, 1),
    ]


def test_an_ack_ends_the_patience_and_a_greeting_begins_anew():
    session, store = connected(40)
    for after in (800, 1600, 2400):
        sent(session, after)
    session.hear({"t": "ack", "b": store.boot, "s": 16}, ticks_add(START, 2500))
    assert sent(session, 2500) == list(range(17, 33))
    session.hear({"t": "hi"}, ticks_add(START, 2600))
    assert sent(session, 2600) == list(range(17, 33))


def test_a_new_connection_begins_with_the_oldest_and_its_greeting():
    session, _ = connected(20)
    session.disconnected()
    assert session.due(ticks_add(START, 5000)) == []
    session.connected()
    assert [each["t"] for each in session.due(ticks_add(START, 5000))] == ["hello"] + ["r"] * 16


def test_what_was_dropped_while_waiting_moves_the_oldest():
    session, store = made(10, ring_bytes=20 * 13)
    session.connected()
    session.due(START)
    for number in range(130, 160):
        store.put({"n": number}, START)
    assert sent(session, 900) == list(range(21, 37))
    session.hear({"t": "hi"}, START)
    hello = session.due(START)[0]
    assert (hello["o"], hello["lost"], hello["seq"]) == (21, 20, 40)


def test_the_boot_of_what_was_kept_is_said_first_and_then_the_new_one():
    store = Store(START, "kept-session", ring_bytes=4 << 10)
    store.put({"n": 1}, START)
    old = store.boot
    store.save()
    session, store = made(2, folder="kept-session")
    session.connected()
    hello, first = session.due(START)
    assert (hello["b"], hello["seq"], hello["o"], first["b"], first["s"]) == (old, 1, 1, old, 1)
    session.hear({"t": "ack", "b": old, "s": 1}, START)
    hello, one, two = session.due(START)
    assert hello["b"] == one["b"] == two["b"] == store.boot != old and (hello["seq"], two["s"]) == (2, 2)


def test_losses_are_told_until_that_is_acknowledged_though_nothing_is_left():
    for final in (64, 10):
        store = Store(START, "kept-%d" % final, ring_bytes=4 << 10)
        for number in range(64):
            store.put({"n": number}, START)
        store.save()
        old, path = store.boot, "kept-%d/1.%s.1.64" % (final, store.boot)
        with open(path, "wb"):
            pass
        session, store = made(1, folder="kept-%d" % final)
        session.connected()
        session.hear({"t": "hi"}, START)
        session.due(START)
        session.due(START)
        session.hear({"t": "ack", "b": old, "s": 10}, START)  # of something else: it is not told yet
        told = []
        for second in range(1, 40):
            said = session.due(ticks_add(START, second * 1000))
            told += [(each["b"], each["o"], each["lost"]) for each in said if each["t"] == "hello"]
            if second == 20:
                session.hear({"t": "ack", "b": old, "s": final}, START)
        assert told == [(old, 65, 64)] * 3 + [(store.boot, 1, 0)], told


def test_time_and_configuration_reach_who_wants_them():
    session, _ = made()
    heard = []
    session.on_time = session.on_config = heard.append
    for u in (1790000000000, None, "x", True, 5, -1, 1 << 60, 1.5):
        session.hear({"t": "hi", "u": u}, START)
    for v in ({"interval_seconds": 5}, [], None):
        session.hear({"t": "cfg", "v": v}, START)
    session.hear({"t": "cfg"}, START)
    assert heard == [1790000000000, {"interval_seconds": 5}, {}] and session.ignored == 2


def test_a_command_is_done_once_and_its_answer_said_again():
    session, _ = connected()
    done = []

    def do(command_id, action, args):
        done.append((command_id, action, args))
        session.answer(command_id, True, {"nan": float("nan"), "on": 1})

    session.on_command = do
    for _ in range(3):
        session.hear({"t": "cmd", "id": "c1", "a": "led", "args": {"on": 1}}, START)
        assert results(session) == [{"t": "res", "id": "c1", "ok": True, "v": {"nan": None, "on": 1}}]
    assert done == [("c1", "led", {"on": 1})] and results(session) == []


def test_an_answer_may_come_later_and_only_once():
    session, _ = connected()
    session.on_command = lambda *words: None
    session.hear({"t": "cmd", "id": "c1", "a": "slow"}, START)
    session.hear({"t": "cmd", "id": "c1", "a": "slow"}, START)
    assert results(session) == []
    session.answer("c1", False, None, "the lamp is broken")
    session.answer("c1", True)
    session.answer("unknown", True)
    assert results(session) == [{"t": "res", "id": "c1", "ok": False, "why": "the lamp is broken"}]


def test_a_command_that_fails_says_why_and_one_that_is_none_too():
    session, _ = connected()

    def fail(command_id, action, args):
        if action == "silent":
            raise KeyError
        raise ValueError("on is 1 or 0")

    session.on_command = fail
    session.hear({"t": "cmd", "id": "c1", "a": "led"}, START)
    session.hear({"t": "cmd", "id": "c2", "a": "silent"}, START)
    session.hear({"t": "cmd", "id": "c3", "a": 5}, START)
    session.hear({"t": "cmd", "id": "c4", "a": "led", "args": [1]}, START)
    found = results(session)
    assert [each["ok"] for each in found] == [False] * 4
    assert [each["why"] for each in found[:2]] == ["on is 1 or 0", "KeyError"] and found[2]["why"] == found[3]["why"]


def test_an_answer_that_no_frame_holds_says_so():
    session, _ = connected()
    session.on_command = lambda command_id, action, args: session.answer(command_id, True, "x" * 2000, "\u00e4" * 5000)
    session.hear({"t": "cmd", "id": "c1", "a": "led"}, START)
    (found,) = results(session)
    assert found["ok"] and "v" not in found and "fit" in found["why"] and frames.encode(found)


def test_a_long_reason_is_said_as_far_as_a_frame_holds_it():
    session, _ = connected()
    reasons = ["x" * 300, "y" * 1000, "\u00e4" * 300, "\U0001f600" * 300]
    session.on_command = lambda command_id, action, args: session.answer(command_id, False, None, reasons[args["at"]])
    for at in range(4):
        session.hear({"t": "cmd", "id": "\u00e4" * 63 + str(at), "a": "led", "args": {"at": at}}, START)
    found = results(session)
    assert [each["why"] for each in found[:2]] == ["x" * 300, "y" * 300]
    for each in found:
        assert frames.encode(each) and len(each["why"]) >= 25 and each["why"] in reasons[int(each["id"][-1])]


def test_who_floods_it_with_commands_is_told_so_and_memory_is_bounded():
    session, _ = connected()
    done = []
    session.on_command = lambda command_id, action, args: done.append(command_id)
    for number in range(500):
        session.hear({"t": "cmd", "id": "c%d" % number, "a": "slow"}, START)
    found = results(session)
    assert len(done) == 8 and len(found) == 8 and all("under way" in each["why"] for each in found)
    session.answer("c3", True)
    session.hear({"t": "cmd", "id": "new", "a": "slow"}, START)
    assert done[-1] == "new" and len(session._answers) == 8


def test_nonsense_is_ignored_and_counted():
    session, store = connected(3)
    nonsense = [
        {},
        {"t": []},
        {"t": "ack"},
        {"t": "ack", "b": [], "s": 1},
        {"t": "ack", "b": store.boot, "s": -1},
        {"t": "cfg", "v": 1},
    ]
    nonsense += [{"t": "ack", "b": store.boot, "s": value} for value in (True, "1", 1.0, None, 1 << 60)]
    nonsense += [{"t": "cmd", "id": value, "a": "led"} for value in (None, "", 5, "x" * 65, ["x"])] + [
        {"t": "r"},
        {"t": "hello"},
        {"t": 1},
    ]
    for message in nonsense:
        session.hear(message, START)
    assert session.ignored == len(nonsense) and store.oldest == 1 and session.due(START) == []


def test_a_hello_that_would_not_fit_names_fewer_commands():
    acts = [{"a": "a-long-name.%d" % number + "x" * 40, "sw": "on", "v": "value"} for number in range(40)]
    session = Session("o" * 900, "f" * 900, "h" * 900, acts, Store(START), START)
    session.connected()
    (hello,) = session.due(START)
    assert frames.encode(hello) and 3 < len(hello["acts"]) < 32


def test_after_a_week_without_a_connection_it_says_hello_at_once():
    session, _ = connected()
    session.disconnected()
    session.connected()
    assert session.due(ticks_add(START, 7 * 86400000))[0]["t"] == "hello"


def test_a_long_reason_is_told_whole():
    session, _ = connected()
    why = "there is no command beep; there are " + ", ".join("pin.output%d" % number for number in range(16))
    session.on_command = lambda command_id, action, args: session.answer(command_id, False, None, why)
    session.hear({"t": "cmd", "id": "1", "a": "beep"}, START)
    assert results(session)[0]["why"] == why and 200 < len(why) < 300
