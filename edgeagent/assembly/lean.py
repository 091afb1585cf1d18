"""What libraries load with themselves and a device's agent does not use: 4 MiB of 38, and a fifth of the time that loading takes.

For the beginning of the agent's process alone: it counts for the whole process. Plugins find everything as they expect it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeagent.trust import websockets

__all__ = ["HEADERS", "jetstream", "keep_giving_back", "load_libraries"]

#: How long after its start the agent has settled, and how often its free memory goes back to the kernel then, in seconds.
STARTED_SECONDS, EVERY_SECONDS = 15.0, 600.0


def load_libraries() -> None:
    """Load msgspec and nats-py without what they can do without, or do not need at once."""
    websockets.put_off()  # they are the leaf's business here, and 10 MiB
    with _hidden("typing_extensions"):  # typing has all that msgspec (0.19) looks for there
        importlib.import_module("msgspec")
    put_off = sys.modules.setdefault("nats.js", jetstream())
    with _hidden("importlib.metadata"):  # where nats-py (2.16) looks up its own version, for its greeting to the server
        client = importlib.import_module("nats.aio.client")
    vars(client).update(__version__=_version_of(client, "nats_py"))
    vars(sys.modules["nats"]).setdefault("js", put_off)


async def keep_giving_back() -> None:
    """Give memory that is free to the kernel, for ever: soon after the start, then now and then.

    Starting needs 2 MiB more than running, as does a large configuration or file now and then, and glibc keeps what lies between.
    """
    pause = STARTED_SECONDS
    while True:
        await asyncio.sleep(pause)
        _give_back()
        pause = EVERY_SECONDS


def _give_back() -> None:
    with contextlib.suppress(AttributeError):  # a C library of another kind (musl)
        ctypes.CDLL(None).malloc_trim(0)  # malloc_trim(3): 2 ms here


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Within the block there is no module ``name``, unless it is loaded already."""
    was_loaded = name in sys.modules
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's own way to say that there is no such module
    try:
        yield
    finally:
        if not was_loaded:
            del sys.modules[name]


def _version_of(module: ModuleType, distribution: str) -> str:
    """The version that ``module`` is installed in, by the name of the folder beside it; as nats-py, ``0.0.0`` when there is none."""
    beside = Path(str(module.__file__)).parents[module.__name__.count(".")]
    found = next(beside.glob(f"{distribution}-*.dist-info"), None)
    return found.stem.partition("-")[2] if found else "0.0.0"


class _Header(str):
    """A member of ``nats.js.api.Header``."""

    __slots__ = ()

    @property
    def value(self) -> str:
        return str(self)


#: What nats-py's client (2.16) looks at in answers.
HEADERS = {
    "STATUS": _Header("Status"),
    "DESCRIPTION": _Header("Description"),
    "CONSUMER_STALLED": _Header("Nats-Consumer-Stalled"),
}


class _Later(ModuleType):
    """A module that is loaded when somebody wants more of it than has been set."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # as importlib.util.LazyLoader does
        vars(self).pop("api", None)
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


class _Known:
    """Something whose most wanted attributes are known before it is loaded."""

    def __init__(self, load: Callable[[], Any], **known: Any) -> None:
        self._load = load
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def jetstream() -> ModuleType:
    """``nats.js``, loaded when it is first used; the names of :data:`HEADERS` are no use."""
    package = importlib.util.find_spec("nats")
    found = PathFinder.find_spec("nats.js", package.submodule_search_locations if package else None)
    assert found is not None, "nats-py has it"
    made = _Later("nats.js")
    header = _Known(lambda: importlib.import_module("nats.js.api").Header, **HEADERS)
    made.__spec__, made.__path__ = found, list(found.submodule_search_locations or ())
    vars(made)["api"] = _Known(lambda: importlib.import_module("nats.js.api"), Header=header)
    return made
