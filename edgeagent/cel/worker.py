"""The process that evaluates filters. A program of its own: started by path, without site-packages, and killed at will.

It reads requests from stdin and answers on stdout, each a length of 4 bytes (big-endian) and JSON, and ends when stdin does, so
it never outlives the agent. First it says ``{"ready": true}`` or ``{"absent": why}``. Then, to
``{"expression": text, "facts": [...]}``, either ``{"syntax": the parser's words}`` or ``{"verdicts": [...]}``, one for each of the
facts: true, false, null (something that the expression needs is missing) or text (why it cannot be evaluated).

Arguments: path of the engine's extension module, CPU seconds for one evaluation, bytes of memory.

The kernel does the killing. Neither Python nor a thread can stop the engine's native code: SIGPROF (CPU time used up) and SIGABRT
(the engine found no memory) end this process, and whoever started it reads the reason from the signal.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec

TYPE_CHECKING = False  # as typing's; importing typing costs more than all of this file
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

#: What a result that is no bool is called.
_KINDS = {"int": "a number", "float": "a number", "str": "a text", "list": "a list", "dict": "a map", "NoneType": "null"}


def main(extension: str, cpu_seconds: float, memory_bytes: int) -> None:
    """Serve until stdin ends."""
    try:
        engine = _load("cel", ExtensionFileLoader("cel", extension))
    except (ImportError, OSError) as error:
        _send({"absent": str(error)})
        return
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "semver.py")  # noqa: PTH100,PTH118,PTH120  # pathlib: 1 MB
    worker = _Worker(engine, _load("semver", SourceFileLoader("semver", beside)).precedence_key, cpu_seconds)
    worker.warm_up()
    _limit(memory_bytes)
    _send({"ready": True})
    while (request := _receive()) is not None:
        _send(worker.answer(request["expression"], request["facts"]))


def _load(name: str, loader: ExtensionFileLoader | SourceFileLoader) -> Any:
    """The module alone: importing the engine's package would pull in its command line, and ours the whole agent."""
    module = module_from_spec(ModuleSpec(name, loader, origin=loader.path))
    loader.exec_module(module)
    return module


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})


class _Worker:
    def __init__(self, engine: Any, semver: Any, cpu_seconds: float) -> None:
        self._engine, self._semver, self._cpu_seconds = engine, semver, cpu_seconds
        self._expression, self._program = "", None

    def warm_up(self) -> None:
        """Use the engine once: it imports datetime then, and would crash (SIGSEGV) where no file may be opened any more."""
        self.answer("timestamp('2020-01-01T00:00:00Z') < timestamp(a)", [{"a": "2021-01-01T00:00:00Z"}])

    def answer(self, expression: str, many: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            program = self._compiled(expression)
            return {"verdicts": [self._judge(program, facts) for facts in many]}
        except _Syntax as error:
            return {"syntax": str(error)}
        except MemoryError:
            os.abort()  # the same end as when the engine itself finds none
        finally:
            self._allow(0)

    def _allow(self, cpu_seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)

    def _compiled(self, expression: str) -> Any:
        if self._program is None or expression != self._expression:
            self._allow(self._cpu_seconds)
            try:
                self._expression, self._program = expression, self._engine.compile(expression)
            except ValueError as error:
                raise _Syntax(str(error)) from None
        return self._program

    def _judge(self, program: Any, facts: dict[str, Any]) -> bool | str | None:
        self._allow(self._cpu_seconds)
        try:
            result = program.execute(self._engine.Context(facts, {"semver": self._semver}))
        except (KeyError, IndexError):
            return None
        except MemoryError:
            raise
        except Exception as error:
            name = _undefined(str(error))
            return None if name in program.references()["variables"] and name not in facts else _reason(error, name)
        if isinstance(result, bool):
            return result
        kind = type(result).__name__
        return f"its result is {_KINDS.get(kind, 'a ' + kind)}, not true or false"


class _Syntax(Exception):
    """The engine's parser refused the expression."""


def _undefined(message: str) -> str:
    """The name that the engine did not find, empty if that is not what it says."""
    start = "Undefined variable or function: '"
    return message[len(start) :].partition("'")[0] if message.startswith(start) else ""


def _reason(error: Exception, undefined: str) -> str:
    """The engine's error in plain words. Its types: ZeroDivisionError, OverflowError, TypeError, RuntimeError."""
    if undefined:
        return f"there is no function {undefined} for what it is given"
    if isinstance(error, ZeroDivisionError):
        return "it divides by zero"
    if isinstance(error, OverflowError):
        return "a number in it leaves the range of 64 bits"
    if isinstance(error, TypeError):
        return "it compares or combines values of different types; convert them with int(), double() or string()"
    words = str(error).replace("Python function call failed: ", "").replace("ValueError: ", "")
    return words.partition(". Check function arguments")[0].replace("\n", " ")


def _receive() -> dict[str, Any] | None:
    """The next request, None at the end of stdin."""
    head = sys.stdin.buffer.read(4)
    body = sys.stdin.buffer.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
    return dict(json.loads(body)) if body else None


def _send(message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
