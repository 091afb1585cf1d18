"""When the certificates of a hub end."""

from __future__ import annotations

from datetime import datetime

from edgeagent.errors import EdgeError
from edgeagent.hub import ownfiles
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tlsfolder import TlsFolder

__all__ = ["ends"]


def ends(place: HubFolder, options: HubOptions) -> dict[str, datetime]:
    """By ``server`` (the certificate) and ``authority`` (the newest that signs them); empty without TLS, and for what cannot be read."""
    found = {}
    try:
        if options.tls == "self":
            own = TlsFolder(place)
            found["server"] = ownfiles.read(own.certificate)[0].ends
            found["authority"] = ownfiles.read(own.authorities)[-1].ends
        elif options.tls == "files":
            found["server"] = ownfiles.read(place.named(options.certificate_file))[0].ends
            if options.authorities_file:
                found["authority"] = ownfiles.read(place.named(options.authorities_file))[-1].ends
    except (EdgeError, IndexError):
        pass  # `edgeagent hub doctor` says what is wrong with it
    return found
