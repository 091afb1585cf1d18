"""What libraries load with themselves and a device's agent does not use: a quarter of its memory, and a fifth of the time that loading takes.

For the beginning of the agent's process alone, before anything has loaded asyncio: it counts for the whole process. Plugins find
everything as they expect it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeagent.assembly.latemodule import put_off
from edgeagent.bridge.latessl import LateSsl
from edgeagent.trust import websockets

__all__ = ["HEADERS", "load_libraries"]


def load_libraries() -> None:
    """Load asyncio, msgspec and nats-py without what they can do without, or do not need at once."""
    _put_off_openssl()
    websockets.put_off()  # they are the leaf's business here, and 10 MiB
    put_off("msgspec.inspect")  # for JSON schemas
    with _hidden("typing_extensions"):  # typing has all that msgspec (0.19) looks for there
        importlib.import_module("msgspec")
    put_off("urllib.request")  # with all of HTTP and of e-mail: paho-mqtt (2.1) asks it for a proxy, if PySocks is there
    vars(importlib.import_module("urllib")).setdefault("request", sys.modules.get("urllib.request"))
    put_off("nats.js", api=_api())
    with _hidden("importlib.metadata"):  # where nats-py (2.16) looks up its own version, for its greeting to the server
        client = importlib.import_module("nats.aio.client")
    vars(client).update(__version__=_version_of(client, "nats_py"))
    vars(sys.modules["nats"]).setdefault("js", sys.modules["nats.js"])


def _put_off_openssl() -> None:
    """Load asyncio without ssl, and have hashlib know SHA-256 without OpenSSL's: 5 MiB, as the agent speaks to its own leaf alone.

    TLS to the hub is the leaf's. OpenSSL is loaded when new certificate authorities are looked at or a file is pushed or pulled.
    """
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    put_off("ssl")
    put_off("asyncio.sslproto")
    if (sha256 := _own_sha256()) is not None:
        put_off("hashlib", sha256=sha256)
        put_off("hmac", compare_digest=importlib.import_module("_operator")._compare_digest)  # for secrets
    asyncio = importlib.import_module("asyncio")
    vars(asyncio).setdefault("sslproto", sys.modules["asyncio.sslproto"])
    vars(sys.modules["asyncio.base_events"]).update(ssl=LateSsl())


def _own_sha256() -> Any:
    """Python's own, which has no OpenSSL; None where it is built without (``--with-builtin-hashlib-hashes``)."""
    for name in ("_sha2", "_sha256"):  # Python 3.12, and before
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).sha256
    return None


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


def _version_of(module: Any, distribution: str) -> str:
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


class _Known:
    """Something whose most wanted attributes are known before it is loaded."""

    def __init__(self, load: Callable[[], Any], **known: Any) -> None:
        self._load = load
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def _api() -> _Known:
    """``nats.js.api`` with the names of :data:`HEADERS`, loaded when more is wanted."""
    header = _Known(lambda: importlib.import_module("nats.js.api").Header, **HEADERS)
    return _Known(lambda: importlib.import_module("nats.js.api"), Header=header)
