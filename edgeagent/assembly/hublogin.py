"""How a program of the hub signs in, on the machine of one of its servers."""

from __future__ import annotations

from edgeagent.hub import authorities
from edgeagent.hub.address import local_url
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring, Service
from edgeagent.link import Callback, Client, connect
from edgeagent.trust import creds

__all__ = ["sign_in"]


async def sign_in(
    place: HubFolder,
    keyring: Keyring,
    service: Service,
    *,
    on_reconnected: Callback | None = None,
    on_closed: Callback | None = None,
) -> Client:
    """A connection to the hub: to this machine's server, or to another one of the cluster while it is away."""
    options, login = place.options(), keyring.service_credentials(service)
    trusted = authorities.local(place, options)
    return await connect(
        local_url(options, place.cluster()),
        in_order=True,
        what="reach the hub",
        name=f"edgeagent hub ({service})",
        inbox_prefix=f"_INBOX.{service}",
        jwt=creds.callbacks(login),
        authorities=trusted.file,
        server_name=trusted.server_name,
        on_reconnected=on_reconnected,
        on_closed=on_closed,
    )
