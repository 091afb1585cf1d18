"""``edgeagent`` in processes of their own that need not import it first: forks of one process that has.

Starting Python and importing the package is nine tenths of what most command lines cost, and the tests run hundreds. What runs is the same
``python -m edgeagent``, with its own process id, environment, folder and standard streams, and its own end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import typer.main

from edgeagent.trust import websockets
from tests.support.madeonce import make_commands_once

__all__ = ["Parent"]

ROOT = Path(__file__).parent.parent.parent
#: Of one request, in bytes: the environment is most of it.
_REQUEST_BYTES = 1 << 17
_STREAMS = ("stdin", "stdout", "stderr")
#: The package, and what most commands import later.
_IMPORTED = (
    *("edgeagent.cli", "edgeagent.fleet", "edgeagent.fleet.admin", "edgeagent.assembly.hub", "edgeagent.assembly.hubmake"),
    *("edgeagent.assembly.people", "edgeagent.assembly.enrol", "nacl.signing", "platformdirs", "rich.console", "rich.table"),
)


class Parent:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        self._python = _of_python(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _REQUEST_BYTES)
        self._lock = threading.Lock()
        with theirs:
            argv = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, cwd=ROOT, pass_fds=[theirs.fileno()])

    def run(
        self, words: tuple[str, ...], *, cwd: Path | None, env: Mapping[str, str], input: str | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` with all output captured; env: the whole of it. Raises TimeoutExpired, after it was killed."""
        if _of_python(env) != self._python:  # which a Python reads at its start
            argv = [sys.executable, "-m", "edgeagent", *words]
            return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=env, input=input, timeout=timeout)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _given(input) as given:
            status = self._fork(words, cwd, env, (given, out.fileno(), err.fileno()))
            with os.fdopen(
                status, "rb", buffering=0
            ) as told:  # else both lines may be read at once, of which select knows nothing
                pid = int(told.readline())
                if not select.select([told], [], [], timeout)[0]:
                    os.kill(pid, signal.SIGKILL)
                    told.readline()
                    raise subprocess.TimeoutExpired(["edgeagent", *words], timeout, _text(out), _text(err))
                code = int(told.readline())
            return subprocess.CompletedProcess(["edgeagent", *words], code, _text(out), _text(err))

    def _fork(self, words: tuple[str, ...], cwd: Path | None, env: Mapping[str, str], streams: tuple[int, int, int]) -> int:
        """Where its process id is to be read, and at its end its exit code, a line each."""
        request = json.dumps({"words": words, "cwd": str(cwd or Path.cwd()), "env": dict(env)}).encode()
        assert len(request) < _REQUEST_BYTES
        told, tell = os.pipe()
        with self._lock:
            socket.send_fds(self._socket, [request], [*streams, tell])
        os.close(tell)
        return told


def _of_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


@contextlib.contextmanager
def _given(text: str | None) -> Iterator[int]:
    """What it reads: this, from a pipe; None: what we do."""
    if text is None:
        yield 0
        return
    read, write = os.pipe()
    writer = threading.Thread(target=_write, args=(write, text))
    writer.start()
    try:
        yield read
    finally:
        os.close(read)
        writer.join()


def _write(pipe: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError), open(pipe, "w") as file:
        file.write(text)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


# ---- the process that forks ----


def _serve(requests: socket.socket) -> None:
    websockets.put_off()  # as the command line does first
    for name in _IMPORTED:
        importlib.import_module(name)
    make_commands_once()
    typer.main.get_command(importlib.import_module("edgeagent.cli").app)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a command
    while True:
        data, received, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 4)
        if not data:
            return
        if os.fork() == 0:
            requests.close()
            _wait_for_it(json.loads(data), received)
        for descriptor in received:
            os.close(descriptor)


def _wait_for_it(request: dict[str, Any], received: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, tell = received
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        _become(request, streams)
    os.write(tell, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(tell, f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """What ``python -m edgeagent`` does once it has imported everything."""
    for number, (name, descriptor) in enumerate(zip(_STREAMS, streams, strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream: Any = os.fdopen(number, "w" if number else "r", 1 if name == "stderr" else -1, encoding="utf-8", errors=errors)
        setattr(sys, name, stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["words"]
    code = 0
    try:
        runpy.run_module("edgeagent", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
