"""Keeps the devices' leafs sending what they say, whatever becomes of the account FLEET's imports.

A leaf sends only what the hub says that it wants. Each push of FLEET, so each revocation, makes its imports anew, and nats-server
2.15.1 then withdraws some of these wishes by chance (``LS- edge.from.*.reply.*.*``) and never renews them: the links of all devices
stay up, and their answers, results or requests go nowhere. So a client of the hub's wants the same as well, all the time. It is
given none of it: its login denies what its subscriptions cover, which nats-server looks at when it delivers, not when it counts.
"""

from __future__ import annotations

from typing import Any

from edgeagent.direct import in_our_words
from edgeagent.link import Client
from edgeagent.subjects import API_PREFIX

__all__ = ["RIGHTS", "hold"]

#: Above all that FLEET imports as a service. The server adds a wish to a link only where the device may publish.
_WANTED = ("edge.from", API_PREFIX, "_INBOX.srv")

#: Of the login in FLEET: it says nothing and hears nothing.
RIGHTS: dict[str, Any] = {
    "pub": {"deny": [">"]},
    "sub": {"allow": [f"{subject}.>" for subject in _WANTED], "deny": [f"{subject}.*.>" for subject in _WANTED]},
}


async def hold(fleet: Client) -> None:
    """Want it for as long as ``fleet`` is connected: a client of the account FLEET with :data:`RIGHTS`. Raises EdgeError."""
    with in_our_words("want what devices say"):
        for subject in _WANTED:
            await fleet.subscribe(f"{subject}.>", cb=_ignore)


async def _ignore(message: Any) -> None:
    pass  # the server gives it none
