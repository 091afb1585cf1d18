"""Whose ``/metrics`` it is: a hub names itself there, and its doctor asks. A port may be another program's, or another hub's."""

from __future__ import annotations

import asyncio
import http.client
import re
import urllib.error
import urllib.request

from edgeagent.hub.address import authority, is_wildcard
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring

__all__ = ["INFO", "asked", "labels_of"]

#: The first family there.
INFO = "edgeagent_hub_info"
#: How long the answer may take, in seconds, and how much of it is read, in bytes: a hub's name stands at its beginning.
TIMEOUT_SECONDS, READ_BYTES = 5.0, 8192
_INFO = re.compile(rf"^{INFO}\{{(.*)\}} 1", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def labels_of(place: HubFolder) -> dict[str, str]:
    """What tells this hub from others: its name, and the public key of its account, which no other has. Raises EdgeError."""
    return {"hub": place.options().name, "account": Keyring.load(place.path).account_public("HUB")}


async def asked(address: tuple[str, int]) -> dict[str, str] | None:
    """The labels of the hub that answers there; empty: it is no hub; None: nothing answers. address: as in ``[metrics] listen``."""
    return await asyncio.to_thread(_ask, f"http://{_reached(address[0], address[1])}/metrics")


def _reached(host: str, port: int) -> str:
    """From this machine."""
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return authority(host, port)


def _ask(url: str) -> dict[str, str] | None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT_SECONDS) as answer:
            found = _INFO.search(answer.read(READ_BYTES).decode("utf-8", "replace"))
    except (urllib.error.HTTPError, http.client.HTTPException):
        return {}
    except OSError:
        return None
    return dict(_LABEL.findall(found[1])) if found else {}
