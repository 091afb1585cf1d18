"""`edgeagent demo cut` finds the demo that runs and speaks with it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.demo import control
from edgeagent.demo.control import Running
from edgeagent.errors import Failed, Refused, Unreachable, UsageProblem


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


async def test_no_socket_where_the_path_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(Failed, match=r"AF_UNIX path too long.*TMPDIR"):
        async with control.offer(tmp_path, echo):
            pass
    assert list(long.iterdir()) == []


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


@pytest.mark.parametrize("content", [b"", b"{}", b'{"pid":1,"folder":"\xff","socket":"/"}'])
def test_a_damaged_note_means_none(note: Path, content: bytes) -> None:
    note.parent.mkdir(parents=True)
    note.write_bytes(content)
    assert control.noted() is None and control.find() is None


def leave(note: Path, address: Path) -> Running:
    """The note that a killed demo leaves."""
    left = Running(pid=os.getpid(), folder="x", socket=str(address))
    note.parent.mkdir(parents=True)
    note.write_bytes(msgspec.json.encode(left))
    return left


async def test_a_killed_demos_note_is_no_running_demo_and_is_written_over(note: Path, tmp_path: Path) -> None:
    left = leave(note, tmp_path / "socket")
    for _ in range(2):
        assert control.find() is None and control.noted() == left
        (tmp_path / "socket").touch()  # nor is a file that nobody listens on
    async with control.offer(tmp_path / "new", echo):
        running = control.find()
        assert running and running.folder == str(tmp_path / "new")


def test_a_demo_that_ends_without_an_answer(note: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        leave(note, tmp_path / "socket")

        def hang_up() -> None:
            for _ in range(2):  # the look whether it runs, and the request
                listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unreachable, match="cannot reach the demo"):
            control.tell({"do": "cut"})
        thread.join()
