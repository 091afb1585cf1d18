"""Wired microcontrollers as they come, go, flood, hang and are mixed up; each a process or a person behind a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import termios
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent.bridge import serialmcus, serialport
from edgeagent.bridge.frames import MAX_FRAME_BYTES
from edgeagent.bridge.serialwire import MAX_WAITING_SAMPLES
from edgeagent.errors import Failed, Unreachable, UsageProblem
from edgeagent.machine import Machine
from edgeagent.patterns.mcu import MAX_LINES
from edgeagent.serialsettings import SerialMcu
from tests.support.fakeusb import PICO, plug, unplug
from tests.support.servers import until
from tests.support.virtualmcu import Cable, VirtualMcu, frame
from tests.support.wiring import Bench, bench


@pytest_asyncio.fixture
async def device(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def cable() -> AsyncIterator[Cable]:
    cable = Cable()
    yield cable
    cable.unplug()


def attach(device: Bench, cable: Cable, name: str = "ttyACM0", **more: str) -> None:
    plug(device.root, name, cable.plug(), **more)


# ---- coming and going ------------------------------------------------------------------------------------------------------


async def test_it_is_known_by_its_serial_number_under_any_name(device: Bench, tmp_path: Path) -> None:
    """Two of a kind: one stops, is unplugged, and comes back where the other was."""
    device.want({"a": SerialMcu(usb=PICO, serial_number="AAA"), "b": SerialMcu(usb=PICO, serial_number="BBB")})
    await device.state("a", "offline", "it is not plugged in")
    cables = Cable(), Cable()
    async with (
        VirtualMcu(tmp_path, "a", cables[0], count=400, interval=0.05) as a,
        VirtualMcu(tmp_path, "b", cables[1], count=400, interval=0.05) as b,
    ):
        attach(device, a.cable, "ttyACM0", serial="AAA", at="1-1.1")
        attach(device, b.cable, "ttyACM1", serial="BBB", at="1-1.2")
        for board in (a, b):
            await device.stored(board.id, "mcu.n", 5)
            now = device.status(board.id)
            assert (now.state, now.kind, now.firmware, now.actions) == ("online", "usb", "1.0.0", ["led"])
        assert device.status("a").where == "/dev/ttyACM0 2e8a:0005:AAA MicroPython Board in FS mode"

        for name, board, at in (("ttyACM0", a, "1-1.1"), ("ttyACM1", b, "1-1.2")):
            unplug(device.root, name, at)
            board.cable.unplug()
        await device.state("a", "offline", "unplugged")
        await device.state("b", "offline", "it is not plugged in")
        attach(device, b.cable, "ttyACM0", serial="BBB", at="1-1.1")
        await device.state("b", "online")
        assert device.status("a").state == "offline"
        attach(device, a.cable, "ttyACM1", serial="AAA", at="1-1.2")
        await device.state("a", "online")
        for board in (a, b):
            seen = len(await device.values(board.id, "mcu.n"))
            found = await device.stored(board.id, "mcu.n", seen + 5)
            assert found == list(range(1, len(found) + 1)), "each once, in order"
        assert {each.attributes["boot"] for each in await device.samples("a") if each.metric == "mcu.n"} == {a.did("made")[0][0]}


async def test_a_reset_a_stop_a_command_and_another_id(device: Bench, cable: Cable, tmp_path: Path) -> None:
    device.want({"oven": SerialMcu(usb=PICO)})
    async with VirtualMcu(tmp_path, "oven", cable, count=5, says="kiln") as board:
        attach(device, cable)
        await device.stored("oven", "mcu.n", 5)
        assert device.status("oven").problem == "it calls itself 'kiln': is it the right one?"
        assert await device.mcus.command("oven", "led", {"on": 1}, command_id="c1") == {"on": 1}
        assert await device.mcus.command("oven", "led", {"on": 1}, command_id="c1") == {"on": 1}
        assert board.did("ran") == [("c1", 1)], "the same command is done once"
        with pytest.raises(Failed, match="no such command"):
            await device.mcus.command("oven", "fly", {})

        board.signal(signal.SIGSTOP)
        waiting = asyncio.create_task(device.mcus.command("oven", "led", {"on": 0}, command_id="c2", seconds=30))
        await until(lambda: b'"c2"' in cable.heard, "it was sent")
        board.signal(signal.SIGCONT)
        assert await waiting == {"on": 0}

        boot = device.status("oven").boot
        board.reset(says="oven", fw="2.0.0")
        await until(lambda: device.status("oven").boot not in ("", boot), "its next boot is known")
        assert await device.stored("oven", "mcu.n", 10) == [1, 2, 3, 4, 5] * 2
        now = device.status("oven")
        assert (now.firmware, now.problem, now.lost) == ("2.0.0", "", 0)
        await until(lambda: "MicroPython v1.28.0" in device.lines("oven"), "what it printed is in the log")


async def test_what_is_nobodys_is_found_and_never_opened(device: Bench, cable: Cable) -> None:
    attach(device, cable, serial="NEW")
    await until(lambda: device.found() == [f"{PICO}:NEW"], "it is found")
    assert not cable.heard
    device.want({"new": SerialMcu(usb=PICO, serial_number="NEW")})
    await until(lambda: b'"t":"hi"' in cable.heard, "it is somebody's now")
    assert device.found() == [] and cable.heard.startswith(b"\n\x1e")
    device.want({})
    await until(lambda: device.found() == [f"{PICO}:NEW"], "it is nobody's again")
    await device.state("new", "unknown")


async def test_of_two_that_fit_none_is_taken(device: Bench, cable: Cable) -> None:
    other = Cable()
    attach(device, cable, "ttyACM0", serial="AAA", at="1-1.1")
    attach(device, other, "ttyACM1", serial="BBB", at="1-1.2")
    device.want({"one": SerialMcu(usb=PICO)})
    now = await device.state("one", "offline", "say which one by its `serial_number` (AAA, BBB)")
    assert now.problem.startswith("2 of 2e8a:0005 are plugged in") and not cable.heard and not other.heard
    unplug(device.root, "ttyACM1", "1-1.2")
    other.unplug()
    await until(lambda: b'"t":"hi"' in cable.heard, "the one that is left is taken")


async def test_two_ways_to_one_port_are_one(device: Bench, cable: Cable) -> None:
    attach(device, cable, serial="AAA")
    device.root.link("/dev/serial/by-id/usb-a", "/dev/ttyACM0")
    device.want({"named": SerialMcu(usb=PICO, serial_number="AAA"), "path": SerialMcu(port="/dev/serial/by-id/usb-a")})
    await device.state("path", "offline", "is another's already")
    assert device.status("named").state == "silent"


def holding(path: str) -> subprocess.Popen[bytes]:
    """A process that has locked the port, as mpremote and Thonny do; it says a line when it has."""
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b', 0); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    return subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextlib.contextmanager
def also_open(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    yield descriptor
    os.close(descriptor)


# ---- ports that can't be had ------------------------------------------------------------------------------------------------


async def test_a_port_that_another_program_has(tmp_path: Path, cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's word on who locked it is read from the real /proc."""
    monkeypatch.setattr(serialmcus, "AGAIN_SECONDS", 0.1)
    async with bench(tmp_path, real=True) as device:
        path = cable.plug()
        holder = holding(path)
        try:
            assert holder.stdout and holder.stdin
            await asyncio.to_thread(holder.stdout.readline)
            device.want({"a": SerialMcu(port=path)})
            now = await device.state("a", "offline", "uses it")
            name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
            assert f"cannot open {path}: {name} (process {holder.pid}) uses it. End that; the agent tries again" in now.problem
        finally:
            holder.kill()
            holder.communicate()
        await until(lambda: b'"t":"hi"' in cable.heard, "it is opened when the other one has ended")
        assert device.status("a").problem == ""


async def test_a_port_is_ours_alone_and_given_away_for_a_while(tmp_path: Path, cable: Cable) -> None:
    async with bench(tmp_path, real=True) as device:
        path = cable.plug()
        device.want({"a": SerialMcu(port=path)})
        await until(lambda: b'"t":"hi"' in cable.heard, "it is open")
        with also_open(path) as other:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            async with device.serial.released("a") as given:
                assert given == path
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                assert device.status("a").problem == "its port is in use for something else"
                cable.heard.clear()
                fcntl.flock(other, fcntl.LOCK_UN)
        await until(lambda: b'"t":"hi"' in cable.heard, "it is opened again")
        with pytest.raises(UsageProblem, match="no such microcontroller on a wire"):
            async with device.serial.released("b"):
                pass


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may open everything")
def test_a_port_that_this_user_may_not_open() -> None:
    """In a process of another user where we are root."""
    script = (
        "import sys; from edgeagent.bridge.serialport import set_up; from edgeagent.machine import Machine\n"
        "try: set_up(sys.argv[1], 9600, reset_on_open=True, machine=Machine())\n"
        "except PermissionError as error: print(error)"
    )
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.NamedTemporaryFile() as node:  # in a folder that everybody may enter
        os.fchmod(node.fileno(), 0)
        argv = [*become, sys.executable, "-c", script, node.name]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "this user may not. Let it into the group" in done.stdout, done.stderr


@pytest.mark.parametrize(("baud", "path"), [(115200, "/dev/no/such"), (115200, "/dev/null")], ids=["gone", "no terminal"])
def test_what_is_no_port(baud: int, path: str) -> None:
    with pytest.raises((Failed, Unreachable), match=f"cannot open {path}"):
        serialport.set_up(path, baud, reset_on_open=True, machine=Machine())


@pytest.mark.parametrize("resets", [True, False], ids=["reset", "no reset"])
async def test_whether_dtr_stays_on(tmp_path: Path, cable: Cable, resets: bool) -> None:
    opened = serialport.set_up(cable.plug(), 115200, reset_on_open=resets, machine=Machine())
    port = serialport.SerialPort(opened, on_data=lambda data: None, on_gone=lambda why: None)
    port.close()
    port.close()
    assert not port.write(b"x") and port.unsent == 1
    assert cable._fds
    assert bool(termios.tcgetattr(cable._fds[1])[2] & termios.HUPCL) == resets


# ---- what floods, hangs and prints -------------------------------------------------------------------------------------------


async def test_a_flood_holds_up_nobody(device: Bench, cable: Cable, tmp_path: Path) -> None:
    """A megabyte a second of rubbish, without an end of line and with many, beside one that measures."""
    device.want({"mad": SerialMcu(usb="2341:0043"), "good": SerialMcu(usb=PICO)})
    attach(device, cable, "ttyACM1", usb="2341:0043", at="1-1.3")
    await until(lambda: bool(cable.heard), "it is open")
    quiet = Cable()
    rubbish = [os.urandom(20_000).replace(b"\n", b"x"), os.urandom(20_000), b"\n" * 20_000, b"\x1e{}\t0000\n" * 2000]
    sent = 0
    tracemalloc.start()
    try:
        async with VirtualMcu(tmp_path, "good", quiet, count=100, interval=0.02) as good:
            attach(device, quiet, "ttyACM0", at="1-1.1")
            while len(good.did("made")) < 100:
                sent += cable.say(rubbish[sent % 4])
                await asyncio.sleep(0.01)
            assert await device.stored("good", "mcu.n", 100) == list(range(1, 101))
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    mad = device.status("mad")
    assert sent > 20 * MAX_FRAME_BYTES and mad.damaged > 0 and len(device.lines("mad")) <= MAX_LINES
    assert peak < 16 << 20
    await until(lambda: device.status("mad").problem != "", "that it floods is said") if not mad.problem else None


async def test_one_that_reads_nothing(device: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its terminal is full, and so is the room for what waits; nothing waits for it."""
    monkeypatch.setattr(serialport, "STUCK_SECONDS", 0.0)
    deaf = Cable()
    device.want({"deaf": SerialMcu(usb=PICO)})
    plug(device.root, "ttyACM0", deaf.plug())
    assert deaf._fds
    asyncio.get_running_loop().remove_reader(deaf._fds[0])
    await device.state("deaf", "silent")
    deaf.say(frame({"t": "hello", "id": "deaf", "b": "1", "seq": 0, "o": 1}))
    await device.state("deaf", "online")
    long = {"text": "x" * 900}
    for _ in range(60):
        with pytest.raises(Unreachable, match="did not answer"):
            await device.mcus.command("deaf", "led", long, seconds=0.001)
    await device.state("deaf", "online", "it does not read what it is sent")
    ((wire, _, _),) = device.serial._wires.values()
    assert wire._port.unsent > 0 and len(wire._port._waiting) <= serialport.MAX_UNSENT_BYTES
    deaf.unplug()
    unplug(device.root, "ttyACM0")
    await device.state("deaf", "offline", "it is not plugged in")


LINES = {
    "json": ({"format": "json"}, b'{"celsius": %d, "room": "hall"}\r\n'),
    "line_protocol": ({"format": "line_protocol"}, b"oven,room=hall celsius=%d\n"),
    "regex": ({"format": "regex", "pattern": r"(?P<room>\w+): T=(?P<celsius>\d+)"}, b"hall: T=%d\r\n"),
}


@pytest.mark.parametrize(("how", "line"), LINES.values(), ids=LINES.keys())
async def test_lines_are_samples_or_log(device: Bench, cable: Cable, how: dict[str, str], line: bytes) -> None:
    device.want({"uno": SerialMcu(usb="2341:0043", mode="lines", **how)})  # type: ignore[arg-type]
    attach(device, cable, "ttyACM0", usb="2341:0043")
    await device.state("uno", "online")
    for number in range(20):
        cable.say(line % number)
    cable.say(b"starting \xff...\r\n")
    metric = "mcu.oven.celsius" if how["format"] == "line_protocol" else "mcu.celsius"
    assert await device.stored("uno", metric, 20) == list(range(20))
    for each in await device.samples("uno"):
        assert each.attributes == {"mcu": "uno", "room": "hall"}
    await until(lambda: device.lines("uno") == ["starting \N{REPLACEMENT CHARACTER}..."], "the other line is in the log")
    with pytest.raises(Failed, match="it only prints lines"):
        await device.mcus.command("uno", "led", {})
    assert not cable.heard, "nothing is written to what only prints"


async def test_lines_with_much_text_are_stored_in_more_messages(device: Bench, cable: Cable) -> None:
    device.want({"uno": SerialMcu(usb=PICO, mode="lines")})
    attach(device, cable)
    await device.state("uno", "online")
    words = {f"w{number}": "x" * 150 for number in range(5)}
    for number in range(60):
        await cable.say_all(json.dumps({**words, "n": number}).encode() + b"\n")
    assert await device.stored("uno", "mcu.n", 60) == list(range(60))
    assert device.status("uno").dropped == 0


async def test_what_only_echoes_does_not_speak(device: Bench, cable: Cable) -> None:
    """A prompt shows what is typed."""
    device.want({"echo": SerialMcu(usb=PICO)})
    cable.on_heard = cable.say
    attach(device, cable)
    await until(lambda: b'"t":"hi"' in cable.heard, "it was asked")
    cable.say(b"ready\r\n")
    await until(lambda: "ready" in device.lines("echo"), "its echo was read before this")
    assert device.status("echo").state == "silent" and device.status("echo").damaged == 0


async def test_samples_of_lines_that_the_store_does_not_take_are_counted(device: Bench, cable: Cable) -> None:
    device.want({"uno": SerialMcu(usb=PICO, mode="lines")})
    attach(device, cable)
    await device.state("uno", "online")
    await device.client.jetstream().delete_stream("LOCAL_METRIC")
    more = 0

    def dropped() -> bool:
        nonlocal more
        more += cable.say(b"7\n" * 500)
        return device.status("uno").dropped > 0

    await until(dropped, "there is no room for more")
    ((wire, _, _),) = device.serial._wires.values()
    assert len(wire._samples) <= MAX_WAITING_SAMPLES
