"""A program that we start and that may outlive us: its own session, a log file, a pid file; watched by pidfd.

The leaf must go on while the agent restarts, or is killed. So a child here is never tied to our process: it has no pipe to us, and
the next run of ours finds it and takes it over (:func:`adopt`). A pid from a file proves nothing, since the kernel uses numbers
again; what counts is that a process of our user has the very arguments that we would start it with.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent import files
from edgeagent.errors import EdgeError
from edgeagent.natsserver import logtail
from edgeagent.natsserver.failures import Diagnosis, StartFailed, explain_exit

__all__ = ["Child", "Launch", "adopt", "find_pid", "program_of", "start"]

log = logging.getLogger(__name__)

#: How often a starting program is looked at, in seconds.
LOOK_SECONDS = 0.02
#: An output file longer than this is put aside (as ``<name>.1``) when the program is started.
OUTPUT_MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a program, how to know it again, and how to tell that it is ready.

    name: what errors and the log call it (``"the leaf"``).
    argv: the program's path and its arguments. The arguments identify it, so let them name a file of its own.
    output: file to which its standard output and standard error are appended.
    log: file in which it says how it is; None: the output.
    pid_file: written after the start, read by :func:`adopt`.
    environment: added to our own.
    ready: whether it is ready to be used; asked again and again until it is.
    ready_seconds: the longest that may take.
    explain: what its words and exit status mean when it ended.
    replace: end one that still runs and start anew instead of taking it over (its settings or program have changed).
    mortal: it must not outlive us, however we end; only for a process whose main thread starts it.
    """

    name: str
    argv: tuple[str, ...]
    output: Path
    pid_file: Path
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[Child], bool] = lambda child: True
    ready_seconds: float = 120.0
    explain: Callable[[str, int | None], Diagnosis] = explain_exit
    replace: bool = False
    mortal: bool = False

    @property
    def log_file(self) -> Path:
        return self.log or self.output


class Child:
    """A running program. Made by :func:`start` or :func:`adopt`, inside a running event loop.

    began: how long its files were when it was started or adopted.
    """

    def __init__(
        self, launch: Launch, pid: int, pidfd: int, popen: subprocess.Popen[bytes] | None, began: Mapping[Path, int]
    ) -> None:
        self.launch, self.pid, self.adopted = launch, pid, popen is None
        self.exit_status: int | None = None
        self._popen, self._pidfd = popen, pidfd
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(pidfd, self._on_end)

    def _on_end(self) -> None:
        self.exit_status = self._popen.wait() if self._popen else None
        self._let_go()

    def _let_go(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def has_ended(self) -> bool:
        """Whether it ended, or was released."""
        return self._ended.done()

    async def wait(self) -> int | None:
        """Wait for its end; its exit status, negative for a signal; None when it was adopted, for only a parent learns that."""
        await asyncio.shield(self._ended)
        return self.exit_status

    async def until_ready(self) -> None:
        """Return when it is ready; raise StartFailed when it ends before that, or takes longer than ``ready_seconds``."""
        deadline = self._loop.time() + self.launch.ready_seconds
        while not self.launch.ready(self):
            if self.has_ended:
                raise self.failure()
            if self._loop.time() > deadline:
                why = f"it is not ready after {self.launch.ready_seconds:g} s"
                raise StartFailed(f"start {self.launch.name}", Diagnosis(why=why, kind="slow"), self.last_log_lines())
            await asyncio.wait({self._ended}, timeout=LOOK_SECONDS)

    def failure(self) -> StartFailed:
        """Why it ended, as far as its words and its exit status tell."""
        diagnosis = self.launch.explain(self.new_text(), self.exit_status)
        return StartFailed(f"run {self.launch.name}", diagnosis, self.last_log_lines())

    def new_text(self) -> str:
        """What it wrote since it was started or adopted, the last 64 KiB of each file."""
        return "\n".join(logtail.since(path, position) for path, position in self._began.items())

    def last_log_lines(self, count: int = 12) -> list[str]:
        """The last lines of its log, after what it wrote to its output in this run."""
        if self.launch.log_file == self.launch.output:
            return logtail.last_lines(self.launch.output, count)
        output = logtail.since(self.launch.output, self._began[self.launch.output]).splitlines()
        return [*output, *logtail.last_lines(self.launch.log_file, count)][-count:]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended. The pidfd sees to it that no other process gets it."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def reload(self) -> None:
        """Ask it to read its configuration again (SIGHUP)."""
        self.send(signal.SIGHUP)

    async def terminate(self, grace_seconds: float = 10.0) -> bool:
        """End it: SIGTERM, and SIGKILL if it still runs ``grace_seconds`` later. True when it had to be killed."""
        self.send(signal.SIGTERM)
        await asyncio.wait({self._ended}, timeout=grace_seconds)
        killed = not self.has_ended
        if killed:
            log.warning("%s (pid %d) did not end within %g s and was killed", self.launch.name, self.pid, grace_seconds)
            self.send(signal.SIGKILL)
            await self.wait()
        return killed

    def release(self) -> None:
        """Stop watching it and let it run."""
        self._let_go()


def start(launch: Launch) -> Child:
    """Start the program, detached from us; it is not ready yet.

    Raises StartFailed (hopeless) when there is no such program, EdgeError when its files can't be written.
    """
    _put_aside(launch.output)
    began = _lengths(launch)  # before it can say anything: it may have ended when we come to look at it
    environment = {**os.environ, **launch.environment}
    environment.pop("NOTIFY_SOCKET", None)  # systemd's word to us; a child must not answer it
    try:
        with launch.output.open("ab") as output:
            popen = subprocess.Popen(
                launch.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_parent if launch.mortal else None,
            )
    except OSError as error:
        raise _not_started(launch, error) from None
    child = _watched(launch, popen, began)
    try:
        files.write_atomic(launch.pid_file, f"{popen.pid}\n".encode())
    except EdgeError as error:
        log.warning("%s; the process is found without it", error)
    return child


def _end_with_parent() -> None:
    """In the new process: have the kernel kill it when the thread that made it ends (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _lengths(launch: Launch) -> dict[Path, int]:
    return {path: logtail.end(path) for path in (launch.log_file, launch.output)}


def _watched(launch: Launch, popen: subprocess.Popen[bytes], began: Mapping[Path, int]) -> Child:
    try:
        return Child(launch, popen.pid, os.pidfd_open(popen.pid), popen, began)
    except OSError as error:  # no descriptor left: what can't be watched must not run
        popen.kill()
        popen.wait()
        raise files.failure(f"watch {launch.name}", error) from None


def _put_aside(output: Path) -> None:
    if logtail.end(output) > OUTPUT_MAX_BYTES:
        with contextlib.suppress(OSError):
            output.replace(output.with_name(f"{output.name}.1"))


def _not_started(launch: Launch, error: OSError) -> EdgeError:
    if error.filename != launch.argv[0]:
        return files.failure(f"write {launch.output}", error)
    reason = files.failure(f"run {launch.argv[0]}", error)
    return StartFailed(
        f"start {launch.name}",
        Diagnosis(why=f"{launch.argv[0]}: {reason.why}", remedy=reason.remedy, kind="program", hopeless=True),
    )


def adopt(launch: Launch) -> Child | None:
    """Take over the program if it still runs from an earlier run of ours; None when it does not. Raises EdgeError when we can't tell."""
    for pid in _candidates(launch):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise files.failure(f"look for {launch.name}", error) from None
            continue
        # Only now, that the number can't change hands any more, is it worth asking who it is.
        if _is_ours(pid, launch):
            return Child(launch, pid, pidfd, None, _lengths(launch))
        os.close(pidfd)
    return None


def program_of(pid: int) -> Path | None:
    """The file that a process runs; ``... (deleted)`` when that was replaced since; None when it can't be known."""
    try:
        return Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return None


def find_pid(launch: Launch) -> int | None:
    """The pid of the program if it runs, without taking it over."""
    return next((pid for pid in _candidates(launch) if _is_ours(pid, launch)), None)


def _candidates(launch: Launch) -> Iterator[int]:
    """The pid in the file first, then every process: we may have been killed before the file was written."""
    with contextlib.suppress(OSError, ValueError):
        yield int(launch.pid_file.read_text("ascii"))
    yield from (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _is_ours(pid: int, launch: Launch) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        if folder.stat().st_uid != os.geteuid():
            return False
        words = folder.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return False
    # The program itself may have moved (an upgrade), so only its arguments are compared. A zombie has none.
    return len(words) > 1 and words[1:] == [os.fsencode(word) for word in launch.argv[1:]]
