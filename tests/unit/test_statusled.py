"""The LED that shows how the agent is, on a /sys of files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.assembly import statusled
from edgeagent.assembly.statusled import FILE, Light, StatusLed
from edgeagent.errors import UsageProblem
from edgeagent.machine import Machine
from tests.support.servers import until

KERNEL = "none rc-feedback kbd-scrolllock [mmc0] timer heartbeat default-on"


class Board:
    """A board whose LED ACT flickers with its card."""

    def __init__(self, root: Path) -> None:
        self.root, self.machine, self.state = root, Machine(root), root / "state"
        self.state.mkdir()
        self.boot("first")
        self.led("ACT")

    def led(self, name: str) -> Path:
        led = self.root / "sys/class/leds" / name
        led.mkdir(parents=True)
        (led / "trigger").write_text(KERNEL)
        (led / "brightness").write_text("255\n")
        return led

    def boot(self, name: str) -> None:
        path = self.root / "proc/sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def trigger(self, name: str = "ACT") -> str:
        return (self.root / "sys/class/leds" / name / "trigger").read_text()

    def set(self, trigger: str) -> None:
        (self.root / "sys/class/leds/ACT/trigger").write_text(trigger)

    async def until(self, trigger: str) -> None:
        await until(lambda: self.trigger() == trigger, f"it shows {trigger}")

    @contextlib.asynccontextmanager
    async def shown(self, name: str = "ACT", *, killed: bool = False) -> AsyncIterator[StatusLed]:
        """An agent's life. killed: it ends without a word."""
        led = StatusLed(self.machine, name, self.state)
        keeping = asyncio.create_task(led.keep())
        try:
            yield led
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            if not killed:
                led.close()


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setattr(statusled, "AGAIN_SECONDS", 0.01)
    return Board(tmp_path)


async def test_each_state_has_a_trigger_and_the_led_is_left_as_it_was_found(board: Board) -> None:
    async with board.shown() as led:
        await board.until("none")
        assert (board.root / "sys/class/leds/ACT/brightness").read_text() == "0", "dark while it starts"
        for light in (Light.LINKED, Light.UNLINKED, Light.TROUBLE, Light.LINKED):
            led.show(light)
            await board.until(light.value)
    assert board.trigger() == "mmc0" and not (board.state / FILE).exists()


async def test_identify_wins_while_it_blinks(board: Board) -> None:
    async with board.shown() as led:
        led.show(Light.LINKED)
        await board.until("default-on")
        board.set("none")  # as identify does
        led.show(Light.TROUBLE)
        await asyncio.sleep(0)
        for _ in range(10):
            assert not led._try() and board.trigger() == "none"
        board.set("default-on")  # what it found
        await board.until("timer")


async def test_one_that_was_dark_when_it_was_found_is_dark_again(board: Board) -> None:
    board.set("[none] timer")
    async with board.shown() as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    assert board.trigger() == "none" and (board.root / "sys/class/leds/ACT/brightness").read_text() == "255"


async def test_how_it_was_found_is_known_after_a_kill_and_forgotten_after_a_boot(board: Board) -> None:
    async with board.shown(killed=True) as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    async with board.shown() as led:
        led.show(Light.UNLINKED)
        await board.until("heartbeat")
    assert board.trigger() == "mmc0"
    async with board.shown(killed=True) as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    board.boot("second")
    board.set("mmc1")
    async with board.shown() as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    assert board.trigger() == "mmc1"


@pytest.mark.parametrize("name", ["", "PWR"])
async def test_after_a_kill_another_setting_gives_the_first_one_back(board: Board, name: str) -> None:
    board.led("PWR")
    async with board.shown(killed=True) as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    async with board.shown(name) as led:
        await board.until("mmc0")
        assert board.trigger("PWR") == (Light.STARTING.value if name else KERNEL)


@pytest.mark.parametrize("broken", ["{", "[]", "null", '{"led": 1}'])
async def test_rubbish_in_its_file_is_nothing(board: Board, broken: str) -> None:
    (board.state / FILE).write_text(broken)
    async with board.shown() as led:
        led.show(Light.LINKED)
        await board.until("default-on")
    assert board.trigger() == "mmc0"


async def test_what_a_person_chose_meanwhile_stays(board: Board) -> None:
    async with board.shown() as led:
        led.show(Light.LINKED)
        await board.until("default-on")
        board.set("cpu")
    assert board.trigger() == "cpu"


async def test_without_the_led_or_the_right_to_it_that_is_said_once(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    async with board.shown("led9") as led:
        led.show(Light.LINKED)
        await until(lambda: "there is no led9; there are: ACT" in caplog.text, "it is said")
    caplog.clear()
    (board.root / "sys/class/leds/ACT/trigger").unlink()
    async with board.shown() as led:
        for light in (Light.LINKED, Light.TROUBLE, Light.LINKED):
            led.show(light)
            assert led._try()
    assert len(caplog.records) == 1 and "agent.status_led" in caplog.text


@pytest.mark.parametrize("name", ["../../power", "..", "a/b", "ACT\n", "x" * 64])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageProblem, match=r"agent\.status_led"):
        settings.parse(f"[agent]\nstatus_led = {name!r}".replace("'", '"'), tmp_path / "agent.toml")
