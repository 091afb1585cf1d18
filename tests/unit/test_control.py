"""`edgeagent demo cut` finds the demo that runs and speaks with it."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.demo import control
from edgeagent.demo.control import Running
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, and the place of the note in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "edgeagent" / "demo.json"


async def echo(request: dict[str, Any]) -> str:
    return f"did {request['do']} küche"


async def refuse(request: dict[str, Any]) -> str:
    raise UsageProblem("work the cable of 'pi-09'", "the demo has no such device", "it has pi-01")


async def in_thread(work: Callable[[], str]) -> str:
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def test_a_request_and_its_answer(tmp_path: Path, note: Path) -> None:
    async with control.offer(tmp_path / "demo", echo):
        running = control.find()
        assert running and (running.pid, running.folder) == (os.getpid(), str(tmp_path / "demo"))
        assert await in_thread(lambda: control.tell({"do": "cut"})) == "did cut küche"
        assert await in_thread(lambda: control.tell({"do": "restore"})) == "did restore küche"
        assert stat.S_IMODE(Path(running.socket).parent.stat().st_mode) == 0o700
    assert control.find() is None
    assert not note.exists() and not Path(running.socket).parent.exists()


async def test_the_demos_own_error_comes_back_whole(tmp_path: Path) -> None:
    async with control.offer(tmp_path, refuse):
        with pytest.raises(Failed) as caught:
            await in_thread(lambda: control.tell({"do": "cut"}))
    assert str(caught.value) == "cannot work the cable of 'pi-09': the demo has no such device. It has pi-01"


async def test_what_is_no_request_harms_nobody(tmp_path: Path) -> None:
    async with control.offer(tmp_path, echo):
        running = control.find()
        assert running
        for words in (b"", b"no json\n", b"\xff\n"):
            reader, writer = await asyncio.open_unix_connection(running.socket)
            writer.write(words)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert await in_thread(lambda: control.tell({"do": "cut"})) == "did cut küche"


async def test_only_one_at_a_time(tmp_path: Path) -> None:
    async with control.offer(tmp_path / "one", echo):
        with pytest.raises(Refused, match=r"one runs already in .*/one \(pid \d+\)"):
            async with control.offer(tmp_path / "two", echo):
                raise AssertionError("a second demo started")
        assert await in_thread(lambda: control.tell({"do": "cut"})) == "did cut küche"


def test_none_runs() -> None:
    with pytest.raises(Unreachable, match="no demo is running"):
        control.tell({"do": "cut"})


def ended_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("content", [b"", b"{}", b'{"pid":1,"folder":"\xff","socket":"/"}'])
def test_a_damaged_note_means_none(note: Path, content: bytes) -> None:
    note.parent.mkdir(parents=True)
    note.write_bytes(content)
    assert control.find() is None


@pytest.mark.parametrize("alive", [True, False])
def test_a_note_that_a_killed_demo_left(note: Path, tmp_path: Path, alive: bool) -> None:
    socket = tmp_path / "socket"
    pid = os.getpid() if alive else ended_pid()
    note.parent.mkdir(parents=True)
    note.write_bytes(msgspec.json.encode(Running(pid=pid, folder="x", socket=str(socket))))
    assert control.find() is None
    socket.touch()
    assert (control.find() is not None) is alive
    if alive:  # a file that is no socket: something answers to the pid, but not the demo
        with pytest.raises(EdgeError, match="cannot reach the demo"):
            control.tell({"do": "cut"})
