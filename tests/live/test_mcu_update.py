"""`edgeagent firmware update|status`, and the action `mcu.update`: from the command line and from the hub to a board that really takes it."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent import actions
from edgeagent.actions import Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions import mcu_update
from edgeagent.errors import Failed, UsageProblem
from edgeagent.firmware.release import SOURCE, Release, pack
from edgeagent.patterns import mcuupdate
from edgeagent.subjects import file_piece
from edgeagent.transfer import PIECE_BYTES, pieces_of
from tests.support.acting import Board
from tests.support.fleet import Said, cli
from tests.support.mcurig import Rig
from tests.support.servers import kill_leftovers, until
from tests.support.updatingboard import UpdatingBoard, release

assert builtin_actions.__path__  # has them registered

OLD, NEW = release("1.0", lib="x = 1\n" * 900), release("1.1", lib="x = 2\n" * 900)
UPLOAD = "c" * 32


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path).running() as rig:
        yield rig
    kill_leftovers(tmp_path)


@pytest_asyncio.fixture
async def oven(rig: Rig, tmp_path: Path) -> AsyncIterator[UpdatingBoard]:
    """The microcontroller of the rig takes updates: a real board behind it. It is only asked for what it has not been asked before."""
    with UpdatingBoard(tmp_path / "flash", OLD) as board:

        def answer(action: str, args: dict[str, Any]) -> dict[str, Any] | None:
            board.asked.append(action)
            if board.state.get("pending") and board.confirms and action == "update.status":
                board.do("confirm", {})
            return board.do(action, args)

        rig.oven.answer = answer
        rig.oven.actions = ("led", "update.begin")
        yield board


def folder_of(release: Release, folder: Path) -> Path:
    for name, data in release.files.items():
        (folder / "app").mkdir(parents=True, exist_ok=True)
        (folder / "app" / name).write_bytes(data)
    return folder


async def said(rig: Rig, *words: str) -> Said:
    return await asyncio.to_thread(cli, "firmware", *words, "--settings", str(rig.settings))


async def test_on_the_device(rig: Rig, oven: UpdatingBoard, tmp_path: Path) -> None:
    new = folder_of(NEW, tmp_path / "new")
    done = await said(rig, "update", "oven", "--source", str(new))
    assert done.code == 0 and done.out.startswith("oven: 1.0 -> 1.1, ") and "has to prove itself" in done.err, done
    assert oven.state == {"active": "b"}
    again = await said(rig, "update", "oven", "--source", str(new), "--json")
    assert json.loads(again.out) == {"mcu": "oven", "version": "1.1", "before": "1.1", "sent": 0, "unchanged": True}

    rig.oven.hello(fw="1.1", bad="1.2")
    rig.write()
    rows = (await said(rig, "status")).out.splitlines()
    assert rows[0].split() == ["DEVICE", "ID", "FIRMWARE", "NEWEST", "STATE"]
    assert rows[1].split()[:3] == ["pi-1", "oven", "1.1"] and rows[1].endswith("went back from 1.2")
    (row,) = json.loads((await said(rig, "status", "--json")).out)
    assert row["state"] == "went back from 1.2"
    shown = await rig.said("show", "oven")
    assert "it went back from version 1.2, which did not prove itself" in shown.out


REFUSALS: dict[str, tuple[list[str], str]] = {
    "unknown": (["ofen"], "there is no such microcontroller here"),
    "for-the-fleet": (["oven", "--note", "why"], "these options are for one of the fleet"),
    "no-id": (["Oven"], "1 to 63 of a-z"),
}


@pytest.mark.parametrize(("words", "why"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_is_not_done(rig: Rig, oven: UpdatingBoard, tmp_path: Path, words: list[str], why: str) -> None:
    done = await said(rig, "update", *words, "--source", str(folder_of(NEW, tmp_path / "new")))
    assert done.code != 0 and done.out == "" and why in done.err and oven.asked == []


# ---- the action ----


class Device(Board):
    """A device with the board ``oven`` behind it. hub: what was uploaded."""

    def __init__(self, folder: Path, oven: UpdatingBoard) -> None:
        folder.mkdir()
        super().__init__(folder, '[commands]\nallow = ["mcu.update"]\n')
        self.oven, self.reads = oven, 0

    async def _read(self, stream: str, subject: str, seconds: float) -> bytes | None:
        self.reads += 1
        return await super()._read(stream, subject, seconds)

    async def command(
        self, mcu_id: str, action: str, args: Mapping[str, Any], *, command_id: str = "", seconds: float = 10.0
    ) -> Any:
        return await self.oven.command(action, args, seconds)

    def uploaded(self, packed: bytes, **other: Any) -> dict[str, Any]:
        for number in range(pieces_of(len(packed))):
            self.hub[file_piece(UPLOAD, number + 1)] = packed[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        digest = hashlib.sha256(packed).hexdigest()
        args = {"upload": UPLOAD, "pieces": pieces_of(len(packed)), "bytes": len(packed), "sha256": digest}
        return {**args, "mcu": "oven", "version": "1.1", **other}

    async def updated(self, args: dict[str, Any], *, behind: Any = None) -> Outcome:
        found = actions.find("mcu.update")
        assert found
        context = dataclasses.replace(self.context, mcus=behind or self)
        return await found.run(context, actions.arguments(found, args))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(mcuupdate, "PAUSE_SECONDS", 0.0)
    with UpdatingBoard(tmp_path / "flash", OLD) as board:
        yield Device(tmp_path / "device", board)


async def test_from_the_hub(device: Device) -> None:
    done = await device.updated(device.uploaded(pack({SOURCE: NEW})))
    assert done.state == "succeeded" and done.value["version"] == "1.1" and device.oven.state == {"active": "b"}
    lines = device.written.decode().splitlines()
    assert (
        lines[0] == "fetched 100 %" and lines[-1] == "it runs the new version, which has to prove itself" and "sent 30 %" in lines
    )
    assert list((device.settings.state_folder / "file").iterdir()) == [], "nothing is left on the disk"
    assert device.refusal("mcu.update", **device.uploaded(b"x")) == ""
    assert "commands.allow" in Board(device.folder).refusal("mcu.update", **device.uploaded(b"x"))


def test_who_may_command_all_that_it_does_may_not_replace_its_firmware(device: Device) -> None:
    everything = Board(device.folder, '[commands]\nallow = ["mcu.oven.*"]\n')
    assert everything.refusal("mcu.oven.led") == "" and "no action" in everything.refusal("mcu.oven.update.begin")
    assert "`mcu.update` in `commands.allow`" in everything.refusal("mcu.update", **device.uploaded(b"x"))


async def test_a_version_that_goes_back_has_failed(device: Device) -> None:
    broken = release("1.1", "raise RuntimeError('no oven')")
    done = await device.updated(device.uploaded(pack({SOURCE: broken})))
    assert done.state == "failed" and "version 1.1 did not prove itself, and it runs 1.0 again" in done.reason


async def test_what_the_hub_has_and_nobody_signed(device: Device) -> None:
    args = device.uploaded(pack({SOURCE: NEW}))
    with pytest.raises(Failed, match="not what was signed"):
        await device.updated({**args, "sha256": "a" * 64})
    with pytest.raises(Failed, match=r"it is version 1\.1, and 1\.3 was signed"):
        await device.updated({**args, "version": "1.3"})
    with pytest.raises(Failed, match="it is no release"):
        await device.updated(device.uploaded(b"x" * 5000))
    with pytest.raises(UsageProblem, match="at most 2,097,152 bytes"):
        await device.updated(device.uploaded(b"x" * ((2 << 20) + 1)))
    assert "update.begin" not in device.oven.asked and device.oven.state == {"active": "a"}


async def test_it_is_cancelled_and_goes_on_later(device: Device) -> None:
    def before(action: str, args: Mapping[str, Any]) -> None:
        if device.oven.asked.count("update.data") == 5:
            device.cancelled.set()

    device.oven.before = before
    args = device.uploaded(pack({SOURCE: NEW}))
    assert (await device.updated(args)).state == "cancelled" and device.oven.state == {"active": "a"}
    device.oven.before = lambda action, args: None
    device.cancelled.clear()
    assert (await device.updated(args)).state == "succeeded"


async def test_nothing_is_fetched_for_one_that_is_not_there(rig: Rig, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    args = device.uploaded(pack({SOURCE: NEW}))
    rig.oven.answer = lambda action, args: {"ok": False, "why": "no such command"}
    done = await device.updated(args, behind=rig.mcus)
    assert done.state == "refused" and "oven takes no updates: no such command" in done.reason
    rig.mcus.detach("oven", rig.oven, "it was unplugged")
    await until(lambda: rig.mcus.status()[0].state == "offline", "it is gone")
    done = await device.updated(args, behind=rig.mcus)
    assert done.state == "refused" and "it is offline" in done.reason and device.reads == 0
    assert (await mcu_update.update_mcu(device.context, mcu_update.Update(**args))).state == "refused"
