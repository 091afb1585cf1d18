"""The last known good configuration on a device: ``config.json`` in the state folder.

It is what the agent starts with when there is no link, and what a document must be newer than.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import files
from edgeagent.config import Layer, Value, defaults, flat, is_taken, nested, of_settings
from edgeagent.errors import Failed
from edgeagent.profiles import merged
from edgeagent.settings import Settings
from edgeagent.subjects import scopes_of

__all__ = ["FILE", "Documents", "Kept", "effective", "load", "save"]

FILE = "config.json"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document of a scope that this device follows. It was checked before it was kept.

    generation, at: as signed; at in Unix seconds. signer: who signed it. key, issued: of the signer's login, the public user key and when
    it was issued, Unix seconds. digest: SHA-256 of the whole envelope, in hex.
    """

    generation: int
    at: int
    signer: str
    digest: str
    key: str = ""
    issued: int = 0
    values: dict[str, Any] = {}
    note: str = ""


#: By scope, ``<kind>.<name>``.
Documents = Mapping[str, Kept]


class _File(msgspec.Struct, omit_defaults=True):
    documents: dict[str, Kept] = {}
    v: int = 1


def load(folder: Path) -> dict[str, Kept]:
    """What was kept last; nothing when there is no file. Raises Failed when it is damaged, EdgeError when it can't be read."""
    data = files.read_if_there(folder / FILE)
    if data is None:
        return {}
    try:
        return msgspec.json.decode(data, type=_File).documents
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(
            f"read {folder / FILE}", str(error), "remove it; the agent reads its configuration from the hub again"
        ) from None


def save(folder: Path, documents: Documents) -> None:
    """Keep them; when this returns they are on the disk, and before that the old ones are. Raises EdgeError."""
    data = msgspec.json.format(msgspec.json.encode(_File(documents=dict(documents)), order="deterministic")) + b"\n"
    files.write_atomic(folder / FILE, data, 0o600)


def effective(settings: Settings, device_id: str, groups: Iterable[str], documents: Documents) -> dict[str, Value]:
    """Every key with its value and layer. Documents of groups that the device has left do not count, nor do names that are not known.

    The values must be valid.
    """
    wanted = [str(scope) for scope in scopes_of(device_id, groups)]
    layers = [Layer(scope, _taken(documents[scope].values, settings)) for scope in wanted if scope in documents]
    own = settings.agent.profile == "metered"
    return merged([defaults(), of_settings(settings), *layers], lambda name: own or is_taken(name, settings))


def _taken(values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    return nested({name: value for name, value in flat(values).items() if is_taken(name, settings)})
