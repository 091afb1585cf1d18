"""What goes wrong between us and an MQTT broker, in our own words. Pure."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from edgeagent.errors import EdgeError, Failed, Refused, Unreachable

if TYPE_CHECKING:
    import ssl
else:
    from edgeagent.bridge.latessl import ssl

__all__ = ["lost", "not_dialled", "not_subscribed", "refused"]

_LISTEN = "Brokers mostly listen on 1883 without TLS (mqtt://), and on 8883 with it (mqtts://)"
_PORTS = f"is the address right? {_LISTEN}"
_AUTHORITY = "name the authority that signed it in `ca_file`, PEM"
#: X509_V_ERR_* of OpenSSL (x509_vfy.h) -> (why, remedy).
_DISTRUST = {
    9: ("its certificate is not valid yet", "is this machine's clock right?"),
    10: ("its certificate has expired", "is this machine's clock right? If it is, the broker needs a new one"),
    18: ("its certificate is signed by itself and not trusted", _AUTHORITY),
    19: ("its certificate is signed by an authority that is not trusted", _AUTHORITY),
    20: ("its certificate is signed by an authority that is not trusted", _AUTHORITY),
    21: ("its certificate is signed by an authority that is not trusted", _AUTHORITY),
    62: ("its certificate is for another name than {host}", "use a name in `url` that the certificate has"),
    64: ("its certificate is for another address than {host}", "use a name or an address in `url` that the certificate has"),
}
#: Return codes of CONNACK (MQTT 3.1.1, table 3.1), as paho-mqtt's reason codes of MQTT 5 name them -> (why, remedy).
_REFUSALS = {
    132: ("it does not speak MQTT 3.1.1", "use a broker that does"),
    133: ("it does not accept the client id {client_id}", "set another `client_id`"),
    134: ("it does not accept the user or the password", "check `user` and the file that `password_file` names"),
    135: ("it does not let us in", "check `user` and the file that `password_file` names; the broker's log says more"),
    136: ("it is not ready", "the broker's log says why"),
}


def not_dialled(what: str, host: str, error: OSError | ValueError) -> EdgeError:
    """Why there is no connection. what: as for :class:`EdgeError`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why, remedy = _DISTRUST.get(error.verify_code, (f"its certificate is not trusted: {error.verify_message}", _AUTHORITY))
        return Refused(what, why.replace("{host}", host), remedy)
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or str(error)
        return Failed(what, f"TLS failed ({reason.replace('_', ' ').lower()})", _PORTS)
    if isinstance(error, socket.gaierror):
        return Unreachable(what, f"the name {host} is not known here", "is the address right, and does the network have DNS?")
    if isinstance(error, (TimeoutError, socket.timeout)):
        return Unreachable(what, "it does not answer", "is it running, and reachable from here?")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(what, "nothing listens there", f"is it running, and is the address right? {_LISTEN}")
    if isinstance(error, ConnectionError):
        return Unreachable(what, "it ended the connection at once", _PORTS)
    if isinstance(error, OSError):
        return Unreachable(what, error.strerror or str(error), "is it running, and reachable from here?")
    return Failed(what, str(error), "is the address right?")  # such as a name that no DNS can have


def refused(what: str, reason: int, client_id: str) -> EdgeError:
    """The broker answered that it does not let us in. reason: as paho-mqtt calls it."""
    why, remedy = _REFUSALS.get(reason, (f"it refused us (reason {reason})", "the broker's log says why"))
    return Refused(what, why.replace("{client_id}", client_id), remedy)


def lost(what: str, seconds: float | None, reason: str) -> EdgeError:
    """The connection ended. seconds: how long we had been let in; None: not yet. reason: as paho-mqtt calls it."""
    if reason == "Keep alive timeout":
        return Unreachable(what, "it has gone silent", "is the broker stuck, or the network between?")
    if reason == "Protocol error":
        return Failed(what, "what it sends is not MQTT 3.1.1", _PORTS)
    if seconds is None:
        return Unreachable(what, "it ended the connection before it let us in", _PORTS)
    if seconds < 5:
        return Unreachable(
            what, "it ended the connection right away", "does another client use our `client_id`? The broker's log says why"
        )
    return Unreachable(what, "the connection ended")


def not_subscribed(what: str, topics: list[str]) -> EdgeError:
    """The broker let us in, but not to these."""
    shown = ", ".join(topics[:3]) + (" and others" if len(topics) > 3 else "")
    return Refused(what, f"it does not let us subscribe to {shown}", "give our user the right to read there")
