import asyncio

import log
import measuring
import ticks

said = []
log.listen(said.append)


class Sensor:
    def __init__(self, name, seconds=None, values=None):
        self.name, self.interval_seconds = name, seconds
        self.values = {"": 1} if values is None else values
        self.opened = self.reads = 0

    def make(self):
        self.opened += 1
        return self

    def read(self):
        self.reads += 1
        if isinstance(self.values, Exception):
            raise self.values
        return self.values


class Watched(Sensor):
    has_changed = False

    def changed(self, now):
        if isinstance(self.has_changed, Exception):
            raise self.has_changed
        return self.has_changed


class Board:
    def __init__(self, *sensors, states=None, now=0):
        self.now, self.seconds = now, 10
        self.sensors, self.readings = {each.name: each for each in sensors}, []
        self.measuring = measuring.Measuring(sensors, self, self.put, lambda: states or {}, now=lambda: self.now)

    def of(self, name):
        return (self.sensors[name].interval_seconds if name is not None else None) or self.seconds

    def put(self, values, now):
        assert now == self.now
        self.readings.append(dict(values))

    async def until(self, seconds, step=0.25):
        """The readings of this time."""
        begun = len(self.readings)
        while self.now < seconds * 1000:
            await self.measuring.step()
            self.now += int(step * 1000)
        return self.readings[begun:]


async def test_each_at_its_interval_and_those_due_together_in_one_reading():
    board = Board(Sensor("a"), Sensor("b", 5), Sensor("c", 60), Sensor("", values={"temperature": 3}))
    found = await board.until(60)
    assert [sorted(each) for each in found[:4]] == [["a", "b", "c", "temperature"], ["b"], ["a", "b", "temperature"], ["b"]]
    assert len(found) == 12
    assert sorted((await board.until(61))[0]) == ["a", "b", "c", "temperature"]


async def test_names():
    board = Board(Sensor("air", values={"temperature": 1.5, "": 2}), Sensor("", values={"temperature": 3}))
    assert await board.until(1) == [{"air.temperature": 1.5, "air": 2, "temperature": 3}]


async def test_one_that_fails_stops_nothing_and_is_said_once():
    del said[:]
    good, bad = Sensor("good", 5), Sensor("bad", 5, OSError(5, "no answer"))
    board = Board(good, bad)
    assert await board.until(300) == [{"good": 1}] * 60
    assert len(said) == 1 and "sensor bad" in said[0] and "no answer" in said[0]
    assert 4 < bad.reads < 10 and bad.opened == bad.reads  # pauses grow; it is opened anew each time
    assert board.measuring.failing == ["bad"]
    bad.values = {"": 7}
    assert {"good": 1, "bad": 7} in await board.until(800)
    assert len(said) == 2 and "works again" in said[1] and board.measuring.failing == []
    assert [each["bad"] for each in await board.until(830)] == [7] * 6


async def test_one_that_is_not_there_at_first():
    late = Sensor("late", 1)
    opened = late.make

    def fails():
        raise OSError(19)

    late.make = fails
    board = Board(late)
    assert await board.until(3) == []
    late.make = opened
    board.measuring._probes[0]._make = opened
    assert await board.until(20)


async def test_one_that_never_ends_is_given_up():
    measuring._READ_SECONDS = 0.01

    class Slow(Sensor):
        async def read(self):
            await asyncio.sleep(1000)

    assert await Board(Slow("slow"), Sensor("quick")).until(1) == [{"quick": 1}]


async def test_nonsense_of_a_sensor():
    for nonsense in (None, 5, [1], "x"):
        board = Board(
            Sensor("odd", values=nonsense) if nonsense is not None else Sensor("odd", values=ValueError("x")), Sensor("good")
        )
        assert await board.until(1) == [{"good": 1}]


async def test_a_change_is_a_reading_at_once():
    door = Watched("door", 60)
    board = Board(door, Sensor("other", 60))
    await board.until(1)
    door.has_changed, door.values = True, {"": 0}
    await board.measuring.step()
    door.has_changed = False
    assert board.readings[1:] == [{"door": 0}]
    await board.until(59)
    assert len(board.readings) == 2
    door.has_changed = RuntimeError("a bad driver")
    assert {"other": 1} in await board.until(62)


async def test_another_interval_counts_from_the_next_time_on():
    sensor = Sensor("a")
    board = Board(sensor)
    board.seconds = 3600
    assert len(await board.until(100)) == 1
    board.seconds = 10
    assert len(await board.until(131)) == 3  # at 110, 120 and 130
    board.seconds = 0.5
    assert len(await board.until(133)) == 3


async def test_ticks_wrap_and_nothing_is_missed():
    board = Board(Sensor("a"), now=ticks.ticks_add(0, -5000))
    for _ in range(80):
        await board.measuring.step()
        board.now = ticks.ticks_add(board.now, 250)
    assert len(board.readings) == 2 and board.now == 15000


async def test_how_it_is_switched_is_told_now_and_then():
    board = Board(Sensor("a", 60), states={"led": 1})
    assert await board.until(21) == [{"a": 1, "led": 1}, {"led": 1}, {"led": 1}]


async def test_read_is_all_of_it_at_once():
    board = Board(Sensor("a", 60), Sensor("b", 60, OSError(5)), states={"led": 0})
    assert await board.measuring.read() == {"a": 1, "led": 0} and board.readings == [{"a": 1, "led": 0}]


async def test_it_beats_and_sleeps_until_something_is_due():
    beats = []
    board = Board(Sensor("a"))
    running = asyncio.create_task(board.measuring.run(lambda: beats.append(1)))
    for _ in range(100):
        if beats and board.readings:
            break
        await asyncio.sleep(0.001)
    running.cancel()
    assert board.readings == [{"a": 1}] and board.measuring._pause_ms() == 1000
    board.now = 9900
    assert board.measuring._pause_ms() == 100


async def test_it_beats_between_sensors_of_which_each_is_waited_for():
    beats, seen = [], []

    class Slow(Sensor):
        async def _answer(self):
            seen.append(len(beats))
            return {"": 1}

        def read(self):
            return self._answer()

    board = Board(Slow("a"), Slow("b"), Slow("c"))
    running = asyncio.create_task(board.measuring.run(lambda: beats.append(1)))
    for _ in range(100):
        if board.readings:
            break
        await asyncio.sleep(0.001)
    running.cancel()
    assert seen == [2, 3, 4]
