"""Runs a program for a command: no shell, nothing of our environment, its own session; watched by pidfd, ended as a whole.

A program may flood, never end, ignore SIGTERM, leave children behind or hand its output to one that goes away. None of it may hold up
the agent or outlive a cancellation. What it leaves in its session ends with it; what took a session of its own (a daemon that it was
asked to start) goes on, unless the run was cancelled or took too long: then everything that carries its mark ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgeagent import files
from edgeagent.errors import Failed
from edgeagent.patterns.processes import started_by
from edgeagent.patterns.programs import MARK, Program, Tail, environment, identity

__all__ = ["Ended", "run"]

log = logging.getLogger(__name__)

Write = Callable[[bytes], None]
How = Literal["ended", "timed_out", "cancelled"]

#: How much is read at once, in bytes. A program that fills it is read again only after the pause, in seconds: so one that floods
#: takes a few per cent of the agent's time and waits for the rest, at 6 MB a second.
CHUNK_BYTES, FLOOD_PAUSE_SECONDS = 64 << 10, 0.01
#: How much is still read of a program that ended; another may hold its output and write for ever.
MAX_REST_BYTES = 1 << 20
#: How often what shall end is looked for, and how long what was killed may take to be gone (it hangs in the kernel), in seconds.
LOOK_SECONDS, KILLED_SECONDS = 0.05, 5.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended. exit_code: as a shell counts, 128 and the number for a signal; None: it could not be ended.

    signal: the name of the signal that ended it, else empty. output: the end of what it wrote. answer: its standard output where that
    was wanted apart, answer_is_whole: whether that is all of it.
    """

    how: How
    exit_code: int | None
    signal: str
    output: Tail
    answer: bytes = b""
    answer_is_whole: bool = True


async def run(program: Program, write: Write, cancelled: asyncio.Event, *, answer: Write | None = None) -> Ended:
    """Run it to its end, and say how it ended. write: gets its output as it comes. cancelled: ends it when it is set. answer: gets its
    standard output, where that is wanted apart, as it comes; it is not kept then.

    Raises EdgeError when it can't be started. When the task is cancelled the program gets SIGTERM; it is killed at the next
    cancellation, or when its grace is over.
    """
    running = _Running(program, write, answer)
    try:
        how = await running.until_end(cancelled, program.timeout_seconds)
        if how != "ended":
            await running.terminate(program.grace_seconds)
    except asyncio.CancelledError:
        how = "cancelled"
        await running.terminate(program.grace_seconds)
        raise
    finally:
        running.close()
    return running.ended(how)


class _Running:
    """One program that runs. Its first process is not reaped before :meth:`close`, so its number is nobody else's meanwhile."""

    def __init__(self, program: Program, write: Write, answer: Write | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._mark = secrets.token_hex(16)
        self._output, self._write = Tail(), write
        self._answer, self._room = bytearray(), program.answer_bytes or 0
        self._answer_bytes = 0
        self._everything_ends = program.everything_ends
        self._exit_code: int | None = None
        self._command_line = shlex.join(program.argv)
        self._popen, reading = _start(program, self._mark)
        self._pidfd = _watched(self._popen, reading)
        self._loop.add_reader(self._pidfd, self._ended_itself)
        takers = [self._take_output] if program.answer_bytes is None else [self._take_output, answer or self._take_answer]
        self._streams = [_Stream(self._loop, each, take) for each, take in zip(reading, takers, strict=True)]

    def _ended_itself(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._gone.set()

    def _take_output(self, data: bytes) -> None:
        self._output.add(data)
        self._write(data)

    def _take_answer(self, data: bytes) -> None:
        self._answer_bytes += len(data)
        self._answer += data[: self._room - len(self._answer)]

    async def until_end(self, cancelled: asyncio.Event, seconds: float) -> How:
        """Wait for its end, but no longer than that."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._gone, cancelled)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        if self._gone.is_set():
            return "ended"
        return "cancelled" if cancelled.is_set() else "timed_out"

    async def terminate(self, grace_seconds: float) -> None:
        """End everything that it started: SIGTERM, and after the grace SIGKILL."""
        self._everything_ends = True
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # one that was stopped hears nothing
        if await self._empty_within(grace_seconds):
            return
        log.warning("%s did not end within %g s of SIGTERM and is killed", self._command_line, grace_seconds)
        self._signal(signal.SIGKILL)
        if not await self._empty_within(KILLED_SECONDS):
            log.error("%s can't be killed", self._command_line)

    async def _empty_within(self, seconds: float) -> bool:
        deadline = self._loop.time() + seconds
        while self._members():
            if self._loop.time() > deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _members(self) -> list[int]:
        return list(started_by(self._popen.pid, self._mark if self._everything_ends else ""))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def close(self) -> None:
        """Kill what is left of it, read what it still said, and let go of it."""
        for _ in range(10):  # it may fork meanwhile
            if not self._members():
                break
            self._signal(signal.SIGKILL)
        for stream in self._streams:
            stream.close()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A moment at most, and only after SIGKILL: what hangs in the kernel is left to it.
            self._exit_code = self._popen.wait(timeout=0.5)

    def ended(self, how: How) -> Ended:
        code = self._exit_code
        killed = code is not None and code < 0
        return Ended(
            how=how,
            exit_code=128 - code if code is not None and killed else code,
            signal=_signal_name(-code) if code is not None and killed else "",
            output=self._output,
            answer=bytes(self._answer),
            answer_is_whole=self._answer_bytes == len(self._answer),
        )


class _Stream:
    """Reads a pipe as it fills. take: gets each piece."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, take: Write) -> None:
        self._loop, self._descriptor, self._take = loop, descriptor, take
        self._pause: asyncio.TimerHandle | None = None
        os.set_blocking(descriptor, False)
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        data = self._piece()
        if data == b"":  # closed by all who could write to it
            self._loop.remove_reader(self._descriptor)
        elif data is not None and len(data) == CHUNK_BYTES:
            self._loop.remove_reader(self._descriptor)
            self._pause = self._loop.call_later(FLOOD_PAUSE_SECONDS, self._listen)

    def _piece(self) -> bytes | None:
        """What there is to read, None when there is nothing yet."""
        try:
            data = os.read(self._descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return None
        if data:
            self._take(data)
        return data

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if self._pause:
            self._pause.cancel()
        left = MAX_REST_BYTES
        while left > 0 and (data := self._piece()):
            left -= len(data)
        os.close(self._descriptor)


def _start(program: Program, mark: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start it: the process, and what to read, output first. Raises EdgeError."""
    user, become = identity(program.user)
    pipes = [os.pipe() for _ in range(1 if program.answer_bytes is None else 2)]
    output, answer = pipes[0][1], pipes[-1][1]
    try:
        with _input(program.stdin) as stdin:
            popen = subprocess.Popen(
                program.argv,
                executable=program.path,
                stdin=stdin,
                stdout=answer,
                stderr=output,
                cwd="/",
                env=environment(user, {**program.environment, MARK: mark}),
                umask=0o022,
                start_new_session=True,
                preexec_fn=functools.partial(_end_with_parent, _libc(), os.getpid()),
                **become,
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        for reading, _ in pipes:
            os.close(reading)
        raise _not_started(program, error) from None
    finally:
        for _, writing in pipes:
            os.close(writing)
    return popen, [reading for reading, _ in pipes]


def _watched(popen: subprocess.Popen[bytes], reading: list[int]) -> int:
    try:
        return os.pidfd_open(popen.pid)
    except OSError as error:  # no descriptor left: what can't be watched must not run
        popen.kill()
        popen.wait()
        for each in reading:
            os.close(each)
        raise files.failure("watch a program", error) from None


def _not_started(program: Program, error: Exception) -> Exception:
    what = f"run {program.path}"
    return files.failure(what, error) if isinstance(error, OSError) else Failed(what, str(error))


@contextlib.contextmanager
def _input(data: bytes) -> Iterator[int]:
    """A descriptor to read ``data`` from: in memory, so that it waits for nobody and never comes to a disk."""
    descriptor = os.memfd_create("stdin")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)


def _end_with_parent(libc: Any, parent: int) -> None:
    """In the new process: have the kernel kill it when the agent is killed (prctl(2), PR_SET_PDEATHSIG), or end if that was just now.
    What runs again after a crash must not find its former self still running."""
    libc.prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
